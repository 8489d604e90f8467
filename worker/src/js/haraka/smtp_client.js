// `require('./smtp_client')`: an SMTP client for queue plugins, driven by its events (SMC rows).

const EventEmitter = require('events')
const net_utils = require('haraka-net-utils')
const utils = require('haraka-utils')
const logger = require('internal/logger')
const tls_socket = require('internal/tls_socket')

const STATE = { IDLE: 1, ACTIVE: 2, RELEASED: 3, DESTROYED: 4 }

// `Username:` in base64, also in small letters, and `Password:`.
const ASK_USER = ['VXNlcm5hbWU6', 'dXNlcm5hbWU6']
const ASK_PASSWORD = 'UGFzc3dvcmQ6'

// Lines of a reply that are kept; a server that says more is no server.
const MOST_LINES = 1000

// Commands whose good reply is told under their own name.
const TOLD = new Set(['helo', 'mail', 'rcpt', 'data', 'dot', 'rset', 'auth'])

const OWN_EVENTS = [
    'auth', 'bad_code', 'capabilities', 'client_protocol', 'connection-error', 'data', 'dot', 'error', 'greeting', 'helo', 'mail',
    'rcpt', 'rset', 'server_protocol', 'xclient',
]

class SMTPClient extends EventEmitter {
    constructor(options = {}) {
        super()
        this.uuid = utils.uuid()
        this.connect_timeout = parseInt(options.connect_timeout, 10) || 30
        this.host = options.host
        this.port = options.port
        this.socket = options.socket || this.get_socket(options)
        this.socket.setTimeout(this.connect_timeout * 1000)
        this.socket.setKeepAlive(true)
        this.state = STATE.IDLE
        this.command = 'greeting'
        this.response = []
        this.connected = false
        this.authenticating = false
        this.authenticated = false
        this.auth_capabilities = []
        this.smtputf8 = false

        this.socket.on('line', (line) => this.#line(String(line)))
        this.socket.on('connect', () => {
            this.socket.setTimeout((options.idle_timeout || 300) * 1000)
            const { remoteAddress } = this.socket
            if (remoteAddress) this.remote_ip = net_utils.normalize_ip(remoteAddress) ?? remoteAddress
        })
        for (const [event, word] of Object.entries({ error: 'errored', timeout: 'timed out', close: 'closed', end: 'ended' })) {
            this.socket.on(event, (why) => this.#closed(word, why))
        }
    }

    #line(line) {
        this.emit('server_protocol', line)
        const found = /^(\d{3})([ -])(.*)/.exec(line)
        if (!found || this.response.length >= MOST_LINES) {
            this.emit('error', `${this.uuid}: Unrecognized response from upstream server: ${line}`)
            this.destroy()
            return
        }
        const [, code, mark, text] = found
        this.response.push(text)
        if (mark === ' ') this.#reply(code, text)
    }

    // The whole of a reply is there.
    #reply(code, text) {
        if ((this.command === 'auth' || this.authenticating) && this.#login(code, text)) return
        if (this.command === 'ehlo') {
            if (code.startsWith('5')) {
                this.emit('greeting', 'HELO')
                return
            }
            this.emit('capabilities')
            // Somebody has said more, such as STARTTLS.
            if (this.command !== 'ehlo') return
        }
        if (this.command === 'xclient' && code.startsWith('5')) {
            this.command = 'helo'
        } else if (/^[45]/.test(code)) {
            this.emit('bad_code', code, this.response.join(' '))
            if (this.state !== STATE.ACTIVE) return
        }
        if (code === '441' && /Connection timed out/i.test(text)) this.destroy()
        this.#go_on()
    }

    // Steps of logging in that others drive; true if that was one.
    #login(code, text) {
        if (code.startsWith('3') && ASK_USER.includes(text)) return this.emit('auth_username') || true
        if (code.startsWith('3') && text === ASK_PASSWORD) return this.emit('auth_password') || true
        if (!code.startsWith('2') || !this.authenticating) return false
        this.authenticating = false
        this.authenticated = true
        this.emit('auth')
        return true
    }

    #go_on() {
        const { command } = this
        if (TOLD.has(command)) {
            this.emit(command)
        } else if (command === 'xclient') {
            this.xclient = true
            this.emit('xclient', 'EHLO')
        } else if (command === 'starttls') {
            this.upgrade(this.tls_options)
        } else if (command === 'greeting') {
            this.connected = true
            this.emit('greeting', 'EHLO')
        } else if (command === 'ehlo') {
            this.emit('helo')
        } else if (command === 'quit') {
            this.emit('quit')
            this.destroy()
        } else {
            throw new Error(`Unknown command: ${command}`)
        }
    }

    #closed(word, why) {
        const text = `${this.uuid}: [${this.host}:${this.port}] SMTP connection ${word} ${why || ''}`
        const { state } = this
        if (state !== STATE.DESTROYED) this.destroy()
        // Whoever waits is told once, whatever state it was in: none must wait for its time limit.
        if (state === STATE.ACTIVE) this.emit('error', text)
        else if (word === 'errored' || word === 'timed out') this.emit('connection-error', text)
        logger.debug(`[smtp_client] ${text} (state=${this.state})`)
    }

    load_tls_options(options = {}) {
        this.tls_options = { servername: this.host, ...options }
    }

    send_command(command, data) {
        const line = command === 'dot' ? '.' : command + (data ? ` ${data}` : '')
        this.emit('client_protocol', line)
        this.command = command.toLowerCase()
        this.response = []
        this.socket.write(`${line}\r\n`)
    }

    // The message of a transaction, to its final dot.
    start_data(data) {
        this.response = []
        this.command = 'dot'
        data.pipe(this.socket, { dot_stuffed: false, ending_dot: true, end: false })
    }

    release() {
        if (this.state === STATE.DESTROYED) return
        for (const event of OWN_EVENTS) this.removeAllListeners(event)
        if (this.connected) this.send_command('QUIT')
        this.destroy()
    }

    destroy() {
        if (this.state === STATE.DESTROYED) return
        this.state = STATE.DESTROYED
        this.socket.destroy()
    }

    upgrade(options) {
        this.socket.upgrade(options, (verified, why, _cert, cipher) => {
            const named = cipher ? ` cipher=${cipher.name} version=${cipher.version}` : ''
            logger.info(`secured:${named} verified=${verified}${why ? ` error="${why}"` : ''}`)
        })
    }

    is_dead_sender(plugin, connection) {
        if (connection?.transaction) return false
        connection.logwarn(plugin, 'transaction went away, releasing smtp_client')
        this.release()
        return true
    }

    get_socket({ host, port }) {
        const socket = tls_socket.connect({ host, port, timeout: this.connect_timeout })
        net_utils.add_line_processor(socket)
        return socket
    }
}

exports.smtp_client = SMTPClient

exports.get_client = (_server, done, options = {}) => done(new SMTPClient(options))

// What the host offers: XCLIENT, SMTPUTF8, STARTTLS and AUTH are acted on.
exports.onCapabilitiesOutbound = (client, secured, connection, { host, enable_tls }, on_secured) => {
    for (const line of client.response) {
        if (/^XCLIENT/.test(line) && !client.xclient) {
            client.send_command('XCLIENT', `ADDR=${connection.remote.ip}`)
            return
        }
        if (/^SMTPUTF8/.test(line)) client.smtputf8 = true
        if (/^STARTTLS/.test(line) && !secured && enable_tls) {
            const banned = client.tls_options?.no_tls_hosts
            if (![host, client.remote_ip].some((one) => banned && net_utils.ip_in_list(banned, one))) {
                client.socket.on('secure', on_secured)
                client.secured = false
                client.send_command('STARTTLS')
                return
            }
        }
        const offered = /^AUTH (.*)$/.exec(line)
        if (offered) client.auth_capabilities = offered[1].toLowerCase().split(' ')
    }
}

function login(client, { type, user, pass }) {
    if (type === null || type === undefined) return undefined
    const method = type.toLowerCase()
    const offered = client.auth_capabilities
    if (!offered.includes(method)) {
        return client.emit('error', `Auth type "${method}" not supported by server (supports: ${offered.join(',')})`)
    }
    if (method === 'cram-md5') return client.emit('error', `AUTH ${method} not implemented`)
    if (method !== 'plain') return client.emit('error', `Unknown AUTH type: ${method}`)
    if (!user || !pass) return client.emit('error', 'Must include auth.user and auth.pass for PLAIN auth.')
    return client.send_command('AUTH', `PLAIN ${utils.base64(`${user}\0${user}\0${pass}`)}`)
}

// A client with what plugins that forward have in common: greeting, TLS, login and MAIL.
exports.get_client_plugin = (plugin, connection, cfg, done) => {
    if (cfg.auth_type || cfg.auth_user || cfg.auth_pass) {
        cfg.auth = { type: cfg.auth_type, user: cfg.auth_user, pass: cfg.auth_pass }
    }
    const to = host_and_port(connection, cfg)
    const client = new SMTPClient(to)
    logger.info(`[smtp_client] uuid=${client.uuid} host=${to.host} port=${to.port} created`)
    connection.logdebug(plugin, `Got smtp_client: ${client.uuid}`)
    client.load_tls_options(plugin.tls_options)

    client.call_next = function (code, message) {
        const { next } = this
        delete this.next
        next?.(code, message)
    }
    // What a login says is nobody's business.
    const safe = (line) => String(line).replace(/^(AUTH\s+\S+\s+).+$/i, '$1[redacted]')
    client.on('client_protocol', (line) => connection.logprotocol(plugin, `C: ${safe(line)}`))
    client.on('server_protocol', (line) => connection.logprotocol(plugin, `S: ${line}`))

    const greet = (command) => client.send_command(command, client.xclient ? connection.hello.host : connection.local.host)
    client.on('greeting', greet)
    client.on('xclient', greet)

    let secured = false
    const on_secured = () => {
        if (secured) return
        secured = true
        client.secured = true
        client.emit('greeting', 'EHLO')
    }
    client.on('capabilities', () => exports.onCapabilitiesOutbound(client, secured, connection, cfg, on_secured))

    const mail = () => {
        if (client.is_dead_sender(plugin, connection)) return
        client.send_command('MAIL', `FROM:${connection.transaction.mail_from.format(!client.smtputf8)}`)
    }
    client.on('helo', () => {
        if (!cfg.auth || client.authenticated) mail()
        else login(client, cfg.auth)
    })
    client.on('auth', () => {
        // Some plugin drives the login itself.
        if (client.authenticating) return
        client.authenticated = true
        mail()
    })
    client.on('error', (why) => {
        connection.logwarn(plugin, why)
        client.call_next()
    })
    client.on('connection-error', (why) => {
        logger.error(`backend failure: ${client.host}:${client.port} - ${why}`)
        connection.server.notes.host_pool?.failed(client.host, client.port)
        client.call_next()
    })
    done(null, client)
}

function host_and_port({ server, logwarn }, cfg) {
    if (cfg.forwarding_host_pool) {
        if (!server.notes.host_pool) {
            logwarn(`creating host_pool from ${cfg.forwarding_host_pool}`)
            const { HostPool } = net_utils
            server.notes.host_pool = new HostPool(cfg.forwarding_host_pool, cfg.dead_forwarding_host_retry_secs, { logger })
        }
        const host = server.notes.host_pool.get_host()
        if (host) return host
        throw new Error('no backend hosts found in pool!')
    }
    if (cfg.host && cfg.port) return { host: cfg.host, port: cfg.port }
    throw new Error('You must specify either forwarding_host_pool or host and port')
}
