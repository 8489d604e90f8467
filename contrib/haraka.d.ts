// Types of what plugins in JavaScript find, for editors: put `/// <reference path="…/haraka.d.ts" />`
// at the top of a plugin. Which members are the same as in Haraka 3.3 stands in docs/js-api.md.

declare namespace Haraka {
    type Code = number
    /** Answers a hook: a code and what to say. Only the first call counts. */
    type Next = (code?: Code, message?: string | string[] | DSN | Error | number | Route | Route[]) => void

    type LogMethod = (...args: unknown[]) => boolean
    interface Logging {
        logdata: LogMethod
        logprotocol: LogMethod
        logdebug: LogMethod
        loginfo: LogMethod
        lognotice: LogMethod
        logwarn: LogMethod
        logerror: LogMethod
        logcrit: LogMethod
        logalert: LogMethod
        logemerg: LogMethod
    }

    /** A tree with dotted access. */
    interface Notes {
        [name: string]: any
        get(path: string | string[]): any
        set(path: string | string[], value: unknown, onlyWhenUndefined?: boolean): void
    }

    interface Result {
        pass?: string | string[]
        fail?: string | string[]
        msg?: string | string[]
        err?: string | Error | (string | Error)[]
        skip?: string | string[]
        emit?: boolean
        human?: string
        [name: string]: any
    }
    type Named = Plugin | { name: string } | string
    interface Results {
        conn: Connection
        store: Record<string, any>
        add(plugin: Named, result: Result): string
        incr(plugin: Named, result: Record<string, number | string>): void
        push(plugin: Named, result: Record<string, unknown>): string
        get(plugin: Named): any
        get_all(): Record<string, any>
        has(plugin: Named, list: string, wanted: string | number | boolean | RegExp): boolean
        collate(plugin: Named): string | undefined
        private_collate(result: any, name: string): string[]
        resolve_plugin_name(plugin: Named): string | undefined
        redis_publish(plugin: Named, result: any): void
    }

    class Address {
        constructor(text: string)
        constructor(user: string, host: string)
        original: string
        user: string | null
        host: string | null
        original_host?: string
        is_utf8?: boolean
        readonly address: string
        /** Of addresses in headers. */
        phrase?: string
        comment?: string
        group?: string | null
        /** Becomes what the text says. */
        parse(text: string): this
        isNull(): boolean
        format(punycode?: boolean): string
        name(): string
        toString(): string
        toJSON(): object
    }
    interface Group {
        phrase: string
        addresses: Address[]
        name(): string
    }

    interface Tally {
        accept: number
        tempfail: number
        reject: number
    }

    interface Connection extends Logging {
        readonly uuid: string
        readonly remote: { ip: string; port: number; host: string | null; info: string | null; closed: boolean; is_private: boolean; is_local: boolean }
        readonly local: { ip: string; port: number; host: string; info: string }
        readonly hello: { verb: 'HELO' | 'EHLO' | null; host: string | null }
        readonly tls: { enabled: boolean; advertised: boolean; verified: boolean; cipher: { name?: string; standardName?: string; version?: string }; verifyError?: string | null; peerCertificate?: any }
        readonly proxy: { allowed: boolean; ip: string | null; type: string | null }
        readonly transaction: Transaction | null
        readonly notes: Notes
        readonly results: Results
        readonly server: Server
        readonly client: { remoteAddress: string; remotePort: number; pause(): void; resume(): void; [name: string]: any }
        /** The hook that runs. */
        hook: string | null
        relaying: boolean
        esmtp: boolean
        pipelining: boolean
        early_talker: boolean
        errors: number
        capabilities: string[]
        tran_count: number
        readonly tran_uuid: string
        readonly rcpt_count: Tally
        readonly msg_count: Tally
        readonly totalbytes: number
        readonly start_time: number
        readonly state: number
        last_response: string | null
        last_reject: string
        last_rcpt_msg: string | null
        current_line: string | null
        hooks_to_run: unknown[]
        encoding: string
        authheader: string | null
        respond(code: number, message: string | string[] | DSN, done?: () => void): void
        loop_respond(code: number, message: string | string[]): void
        reset_transaction(done?: () => void): void
        disconnect(): void
        pause(): void
        resume(): void
        auth_results(finding?: string): string | undefined
        get(path: string): any
        set(path: string, value: unknown): void
        [name: string]: any
    }

    interface Header {
        get(name: string): string
        get_all(name: string): string[]
        get_decoded(name: string): string
        get_addresses(name: string): (Address | Group)[]
        add(name: string, value: string): void
        add_end(name: string, value: string): void
        remove(name: string): void
        lines(): string[]
        parse(lines: string[]): void
        decode_header(value: string): string
        readonly header_list: string[]
        readonly headers: Record<string, string[]>
        readonly headers_decoded: Record<string, string[]>
        toString(): string
    }

    interface Body {
        readonly ct: string
        readonly header: Header
        bodytext: string
        readonly body_encoding: string
        readonly is_html: boolean
        readonly children: Body[]
        readonly filename: string
        readonly state: string
        /** The decoded octets. */
        stream(): AttachmentStream
        /** Of a body that has not come. */
        add_filter(filter: (ct: string, encoding: string, octets: any, disposition: string) => Uint8Array | string | void): void
        set_banner(banners: [text: string, html?: string]): void
    }

    interface AttachmentStream {
        connection: Connection | null
        header: Header
        filename: string
        pause(): this
        resume(): this
        pipe<T>(to: T, options?: { end?: boolean }): T
        on(event: string, listener: (...args: any[]) => void): this
        [name: string]: any
    }

    interface ReadOptions {
        line_endings?: '\r\n' | '\n'
        dot_stuffed?: boolean
        ending_dot?: boolean
        skip_headers?: boolean
        clamd_style?: boolean
        end?: boolean
    }
    interface MessageStream {
        pipe<T>(to: T, options?: ReadOptions): T
        get_data(done: (data: any) => void): void
        get_data(options: ReadOptions, done?: (data: any) => void): Promise<any> | void
        on(event: string, listener: (...args: any[]) => void): this
        [name: string]: any
    }

    interface Transaction {
        readonly uuid: string
        mail_from: Address
        rcpt_to: Address[]
        readonly header: Header
        body: Body | null
        readonly message_stream: MessageStream
        notes: Notes
        readonly results: Results
        readonly rcpt_count: Tally
        readonly mime_part_count: number
        readonly msg_status: string | null
        data_bytes: number
        parse_body: boolean
        discard_data: boolean
        encoding: string
        add_header(name: string, value: string): void
        add_leading_header(name: string, value: string): void
        remove_header(name: string): void
        /** A line in wire form: dots doubled, with CRLF. */
        add_data(line: string | Uint8Array): void
        end_data(done?: () => void): void
        /** `body` before the message is there. */
        ensure_body(): void
        attachment_hooks(start: (ct: string, filename: string, body: Body, stream: AttachmentStream) => void): void
        set_banner(text: string, html?: string): void
        add_body_filter(match: RegExp | string, filter: (ct: string, encoding: string, octets: any) => Uint8Array | string | void): void
        remove_final_cr(data: Uint8Array): Uint8Array
        add_dot_stuffing_and_ensure_crlf_newlines(data: Uint8Array | string): Uint8Array
        incr_mime_count(): void
        [name: string]: any
    }

    interface Route {
        exchange?: string
        path?: string
        port?: number
        priority?: number
        bind?: string
        bind_helo?: string
        using_lmtp?: boolean
        auth_user?: string
        auth_pass?: string
        auth_type?: string
    }

    interface HMail extends Logging {
        readonly path: string
        readonly filename: string
        readonly num_failures: number
        readonly notes: Notes
        readonly todo: Todo
        readonly file_size: number
        readonly next_process: number
        readonly pid: number
        hook: string | null
        name: string
        temp_fail(reason: string | Error, extra?: object): void
        bounce(reason: string | Error, extra?: object): void
        convert_temp_failed_to_bounce(reason: string | Error, extra?: object): void
        double_bounce(reason: string | Error): void
        discard(): void
        delivered(ip: string, port: number, mode: string, host: string, response: string, ok_recips: Address[], fail_recips: Address[], bounce_recips: Address[], secured: boolean, authenticated: boolean): void
        extend_rcpt_with_dsn(rcpt: Address, dsn: DSN): void
        data_stream(): any
    }
    interface Todo {
        readonly queue_time: number
        domain: string
        mail_from: Address
        rcpt_to: Address[]
        readonly notes: Notes
        readonly uuid: string
        force_tls: boolean
    }

    interface SendOptions {
        dot_stuffed?: boolean
        notes?: Record<string, unknown>
        remove_msgid?: boolean
        remove_date?: boolean
        origin?: object
    }
    interface QueueStat {
        queue_dir: string
        queue_count: number
    }
    interface QueueItem extends Todo {
        file: string
        full_path: string
        pid: number
    }
    interface Outbound {
        send_email(from: string | Address, to: string | Address | (string | Address)[], contents: unknown, next?: (code: Code, message: unknown) => void, options?: SendOptions): void
        send_trans_email(transaction: Transaction, next?: (code: Code, message: unknown) => void): void
        list_queue(done?: (err: Error | null, items: QueueItem[]) => void): Promise<QueueItem[]> | void
        config: Config
        net_utils: any
        name: string
        HMailItem: new (...args: any[]) => HMail
        TODOItem: new (domain: string, recipients: Address[], transaction: Transaction) => Todo
        stat_queue(done?: (err: Error | null, stat: QueueStat) => void): Promise<QueueStat> | void
        /** In progress, these and what is due, put off; of this worker. */
        get_stats(): string
        /** What this worker has put off; with a domain what goes there, of all workers. */
        flush_queue(domain?: string): Promise<void>
        readonly delivery_queue: { length(): number; readonly tasks: { filename: string; path: string }[] }
        readonly temp_fail_queue: {
            length(): number
            drain(): void
            /** Throws. */
            discard(id: string): never
            readonly queue: { id: string; fire_time: number; cb(): void }[]
        }
    }

    interface DSN {
        code: number
        msg?: string | string[]
        cls: number
        sub: number
        det: number
        reply: string | string[]
    }

    type Changed = () => void
    interface Config {
        root_path: string
        overrides_path: string
        get(name: string, type?: string, changed?: Changed, options?: { booleans?: string[] }): any
        get(name: string, changed?: Changed): any
        get(name: string, options: { booleans?: string[] }, changed?: Changed): any
        getInt(name: string, fallback?: number): number
        arrange_args(args: any[]): [string, string, Changed | undefined, object | undefined]
        module_config(defaults: string, overrides?: string): Config
        stop_watching(name: string): void
        getDir(name: string, options: object, done?: (err: Error | null, files: { path: string; data: any }[]) => void): Promise<{ path: string; data: any }[]> | void
    }

    interface Server extends Logging {
        notes: Record<string, any>
        cfg: any
        config: Config
        http: { cfg: any }
        get_http_docroot(): string
        /** Throws: the master takes no commands from scripts. */
        sendToMaster(command: string, params?: unknown): void
        /** As the module `cluster` in a worker; undefined where `nodes` is not set. */
        cluster?: any
        plugins: { registered_plugins: Record<string, Plugin>; plugin_list: string[] }
    }

    interface Plugin extends Logging {
        name: string
        config: Config
        base: Record<string, Plugin>
        hooks: Record<string, unknown[]>
        timeout: number
        plugin_path: string
        hasPackageJson: boolean
        register(): void
        register_hook(hook: string, method: string | Function, priority?: number): void
        inherits(parent: string): void
        haraka_require(name: 'outbound'): Outbound
        haraka_require(name: string): any
        [name: string]: any
    }
}

declare const server: Haraka.Server
declare const CONT: 900
declare const STOP: 901
declare const DENY: 902
declare const DENYSOFT: 903
declare const DENYDISCONNECT: 904
declare const DISCONNECT: 905
declare const OK: 906
declare const NEXT_HOOK: 907
declare const DELAY: 908
declare const DENYSOFTDISCONNECT: 909

/** `this` in a plugin's methods, and what it exports. */
declare const exports: Haraka.Plugin & ThisType<Haraka.Plugin>
