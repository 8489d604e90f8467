// The connection, over the server's own. What it does not know plugins may add.

const EventEmitter = require('events')
const logger = require('internal/logger')
const live = require('internal/live')
const server = require('internal/server')
const { Transaction } = require('internal/transaction')

const { connection } = natives

// Properties that the server has; the second list can be set.
const READ = ['current_line', 'totalbytes', 'rcpt_count', 'msg_count', 'start_time']
const WRITE = ['tran_count', 'relaying', 'esmtp', 'pipelining', 'early_talker', 'errors', 'last_reject', 'authheader']
const GROUPS = {
    remote: ['ip', 'port', 'host', 'info', 'closed', 'is_private', 'is_local'],
    local: ['ip', 'port', 'host', 'info'],
    hello: ['host', 'verb'],
    tls: ['enabled', 'advertised', 'verified', 'cipher', 'verifyError', 'peerCertificate'],
    proxy: ['allowed', 'ip', 'type'],
}

// What a part of a connection stands for: the server's connection, and values that it cannot take.
const OF = Symbol('of')

// The properties of a part such as `remote`: they read the server's value until a plugin sets one that
// the server cannot take.
const PARTS = Object.fromEntries(
    Object.entries(GROUPS).map(([part, names]) => [part, Object.fromEntries(names.map((name) => [name, member(part, name)]))]),
)

function member(part, name) {
    const path = `${part}.${name}`
    const read = connection.reader(path)
    return {
        get() {
            const { handle, own } = this[OF]
            if (own !== null && name in own) return own[name]
            const value = read(handle)
            // Without TLS some of what it knows is not even there.
            return value === null && part === 'tls' && !this.enabled ? undefined : value
        },
        set(value) {
            const of = this[OF]
            if (of.own !== null) delete of.own[name]
            if (!connection.set(of.handle, path, value ?? null)) (of.own ??= Object.create(null))[name] = value
        },
        enumerable: true,
        configurable: true,
    }
}

function group(handle, part) {
    const out = {}
    Object.defineProperty(out, OF, { value: { handle, own: null } })
    return Object.defineProperties(out, PARTS[part])
}

// What a command is about, for `state`.
const { state: STATES } = require('haraka-constants').connection

// The socket, as far as plugins get to see it: addresses, and what they listen to or pause.
function clientOf(connection) {
    const client = new EventEmitter()
    const part = (name, group, key) =>
        Object.defineProperty(client, name, { get: () => connection[group][key], enumerable: true })
    part('remoteAddress', 'remote', 'ip')
    part('remotePort', 'remote', 'port')
    part('localAddress', 'local', 'ip')
    part('localPort', 'local', 'port')
    // The server reads no further command while a hook runs, so that there is nothing to stop.
    client.pause = () => client
    client.resume = () => client
    client.end = () => connection.disconnect()
    client.destroy = () => connection.disconnect()
    client.getPeerCertificate = () => connection.tls.peerCertificate ?? {}
    client.getCipher = () => connection.tls.cipher
    client.authorized = connection.tls.verified
    return client
}

// What `begin` is told.
const [CLOSED, OPENED, FOUND] = [4, 8, 16]

// Findings kept of a connection and of a transaction each, as the server keeps its own.
const MOST_FINDINGS = 100

class Connection {
    #handle
    #capabilities
    // The transaction that is open, if any script has looked at it.
    #open = null
    // The core has found something that was not told yet.
    #found = false
    #uuid

    constructor(handle, number) {
        this.#handle = handle
        Object.defineProperty(this, 'number', { value: number })
        // Those whose objects were made here and go with this one at the latest.
        Object.defineProperty(this, 'transactions', { value: new Set() })
        this.hook = null
        Object.defineProperty(this, 'resumed', { value: undefined, writable: true })
        Object.defineProperty(this, 'goOn', { value: undefined, writable: true })
        this.encoding = 'utf8'
        this.last_response = null
        this.last_rcpt_msg = null
        this.hooks_to_run = []
        live.owners.set(number, this)
    }

    #kept(name, make) {
        const value = make()
        Object.defineProperty(this, name, { value, writable: true, configurable: true, enumerable: true })
        return value
    }

    get client() {
        return this.#kept('client', () => clientOf(this))
    }

    // Where the session stands; a plugin may set it, which changes nothing.
    get state() {
        if (this.remote.closed || this.hook === 'disconnect') return STATES.DISCONNECTING
        return this.resumed ? STATES.PAUSE_DATA : STATES.CMD
    }

    set state(_state) {}

    get uuid() {
        return (this.#uuid ??= connection.get(this.#handle, 'uuid'))
    }

    set uuid(_uuid) {}

    get tran_uuid() {
        return `${this.uuid}.${this.tran_count}`
    }

    get server() {
        return server
    }

    get notes() {
        return this.#kept('notes', () => live.notes(this.#handle, this.number))
    }

    get results() {
        return this.#kept('results', () => {
            const core = (name) => connection.get(this.#handle, `${name} result`)
            const news = (marks) => connection.coreNews(this.#handle, marks[0], marks[1], marks[2], marks[3], marks[4])
            return live.results(this.#handle, this.number, this, core, news)
        })
    }

    // Of one that is open and was looked at, the object is in the place of this: plugins look some eighty times a message.
    get transaction() {
        const handle = connection.transaction(this.#handle)
        if (!handle) return null
        const uuid = natives.transaction.get(handle, 'uuid')
        const known = live.owners.get(uuid)
        // One that a script made ends by itself.
        if (!known) this.transactions.add(uuid)
        this.#open = known ?? new Transaction(handle, this)
        Object.defineProperty(this, 'transaction', { value: this.#open, configurable: true })
        return this.#open
    }

    #close() {
        if (this.#open === null) return
        this.#open = null
        delete this.transaction
    }

    // What the reply to EHLO offers, as it was after the last script of the hook `capabilities`; a list
    // to add to while that runs.
    get capabilities() {
        this.#capabilities ??= connection.get(this.#handle, 'capabilities')
        return this.#capabilities
    }

    set capabilities(list) {
        this.#capabilities = list
    }

    // `news` is what the server has seen to be new since the last call: see `live.rs`.
    begin(hook, news) {
        const another = hook !== this.hook
        this.hook = hook
        if (hook === 'capabilities') this.#capabilities = undefined
        // `over` tells of each end, but where memory was out.
        if (news & CLOSED) this.#close()
        if (news & FOUND) this.#found = true
        const open = this.#open
        if (open !== null) open.begin()
        if (!server.notes.redis) return
        // What native plugins and the core find is published as well, so it comes here as it is found. The core
        // finds nothing between two plugins of one hook.
        if (another && this.#found && this.results.followed()) {
            this.#found = false
            this.results.publishCore()
        }
        void (news & OPENED ? this.transaction : open)?.results
    }

    end(hook) {
        if (this.#capabilities && this.hook === 'capabilities') connection.set(this.#handle, 'capabilities', this.#capabilities)
        this.#open?.end(hook)
    }

    // Holds back what comes after the message: its hooks wait for `resume`, in their time limits.
    pause() {
        this.resumed ??= new Promise((resolve) => (this.goOn = resolve))
    }

    resume() {
        this.goOn?.()
        this.resumed = undefined
        this.goOn = undefined
    }

    // Answers the same to whatever the client says, as after a denial at the start.
    loop_respond(code, message) {
        this.respond(code, message)
    }

    // The open transaction, if any script has looked at it.
    transactionSeen() {
        return this.#open ?? undefined
    }

    // A transaction of this connection has ended.
    over(uuid) {
        this.transactions.delete(uuid)
        this.#close()
    }

    respond(code, message, done) {
        let lines = Array.isArray(message) ? message : [message]
        if (message !== null && message?.constructor?.name === 'DSN') {
            code = message.code
            lines = [message.reply]
        }
        const texts = lines.flat().flatMap((line) => String(line ?? '').split(/\r?\n/))
        connection.respond(this.#handle, Number(code), texts)
        const mark = (i) => (i + 1 < texts.length ? '-' : ' ')
        this.last_response = texts.map((text, i) => `${code}${mark(i)}${text}\r\n`).join('')
        if (done) setImmediate(done)
    }

    // Ends the session, once what was said has been written; the hook `disconnect` runs.
    disconnect() {
        connection.disconnect(this.#handle)
    }

    reset_transaction(done) {
        const over = natives.outcome(connection.resetTransaction(this.#handle))
        if (done) over.then(() => done())
    }

    // Adds to what the field Authentication-Results will say, and gives what it says so far.
    auth_results(finding) {
        const { transaction } = this
        const notes = transaction?.notes ?? this.notes
        // What a client sent must not add a line to a header.
        const clean = String(finding ?? '').replace(/[\x00-\x1f\x7f]/g, '')
        const list = (notes.authentication_results ??= [])
        if (clean && list.length < MOST_FINDINGS) list.push(clean)
        const found = new Set([this.notes.authentication_results, list].flatMap((all) => all ?? []))
        return found.size > 0 ? [this.local.host, ...found].join(';\r\n\t') : undefined
    }

    get(path) {
        return String(path)
            .split('.')
            .reduce((at, name) => (at ? at[name] : undefined), this)
    }

    set(...args) {
        const value = args.pop()
        const names = args.join('.').split('.')
        if (names.some((name) => ['__proto__', 'constructor', 'prototype'].includes(name))) return
        const last = names.pop()
        let at = this
        for (const name of names) {
            at[name] ??= {}
            at = at[name]
        }
        at[last] = value
    }

    static {
        Object.defineProperty(Connection.prototype, 'uuid', { enumerable: true })
        for (const part of Object.keys(GROUPS)) {
            Object.defineProperty(Connection.prototype, part, {
                get() {
                    return this.#kept(part, () => group(this.#handle, part))
                },
                enumerable: true,
                configurable: true,
            })
        }
        for (const name of [...READ, ...WRITE]) {
            const read = connection.reader(name)
            Object.defineProperty(Connection.prototype, name, {
                get() {
                    return read(this.#handle)
                },
                set(value) {
                    if (WRITE.includes(name)) connection.set(this.#handle, name, value ?? null)
                },
                enumerable: true,
                configurable: true,
            })
        }
    }
}

logger.add_log_methods(Connection)
exports.Connection = Connection
