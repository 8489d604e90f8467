// The connection, over the server's own. What it does not know plugins may add.

const logger = require('internal/logger')
const live = require('internal/live')
const { Transaction } = require('internal/transaction')

const { connection } = natives

// Properties that the server has; the second list can be set.
const READ = ['uuid', 'tran_count', 'totalbytes', 'rcpt_count', 'msg_count', 'start_time']
const WRITE = ['relaying', 'esmtp', 'pipelining', 'early_talker', 'errors', 'last_reject', 'authheader']
const GROUPS = {
    remote: ['ip', 'port', 'host', 'info', 'closed', 'is_private', 'is_local'],
    local: ['ip', 'port', 'host', 'info'],
    hello: ['verb', 'host'],
    tls: ['enabled', 'advertised', 'verified', 'cipher', 'verifyError', 'peerCertificate'],
    proxy: ['allowed', 'ip', 'type'],
}

// A part such as `remote`: reads the server's value until a plugin sets one that the server cannot
// take.
function group(handle, part) {
    const own = Object.create(null)
    const out = {}
    for (const name of GROUPS[part]) {
        Object.defineProperty(out, name, {
            get: () => (name in own ? own[name] : connection.get(handle, part)[name]),
            set(value) {
                delete own[name]
                if (!connection.set(handle, `${part}.${name}`, value ?? null)) own[name] = value
            },
            enumerable: true,
            configurable: true,
        })
    }
    return out
}

class Connection {
    #handle
    #capabilities

    constructor(handle, number) {
        this.#handle = handle
        for (const part of Object.keys(GROUPS)) this[part] = group(handle, part)
        Object.defineProperty(this, 'number', { value: number })
        // Those whose objects were made here and go with this one at the latest.
        Object.defineProperty(this, 'transactions', { value: new Set() })
        this.hook = null
        this.encoding = 'utf8'
        this.last_response = null
        this.state = 1
        live.owners.set(number, this)
    }

    #kept(name, make) {
        const value = make()
        Object.defineProperty(this, name, { value, writable: true, configurable: true, enumerable: true })
        return value
    }

    get server() {
        return globalThis.server
    }

    get notes() {
        return this.#kept('notes', () => live.notes(this.#handle, this.number))
    }

    get results() {
        return this.#kept('results', () => live.results(this.#handle, this.number, this, (name) => connection.get(this.#handle, `${name} result`)))
    }

    get transaction() {
        const handle = connection.transaction(this.#handle)
        if (!handle) return null
        const uuid = natives.transaction.get(handle, 'uuid')
        const known = live.owners.get(uuid)
        if (known) return known
        this.transactions.add(uuid)
        return new Transaction(handle, this)
    }

    // A list while the hook `capabilities` runs; it goes back with the answer.
    get capabilities() {
        this.#capabilities ??= connection.get(this.#handle, 'capabilities')
        return this.#capabilities
    }

    set capabilities(list) {
        this.#capabilities = list
    }

    begin(hook) {
        this.hook = hook
        this.#capabilities = undefined
        this.transactionSeen()?.begin()
    }

    end() {
        if (this.#capabilities) connection.set(this.#handle, 'capabilities', this.#capabilities)
        this.transactionSeen()?.end()
    }

    // The open transaction, if any script has looked at it.
    transactionSeen() {
        const handle = connection.transaction(this.#handle)
        return handle ? live.owners.get(natives.transaction.get(handle, 'uuid')) : undefined
    }

    respond(code, message, done) {
        let lines = Array.isArray(message) ? message : [message]
        if (message !== null && message?.constructor?.name === 'DSN') {
            code = message.code
            lines = [message.reply]
        }
        connection.respond(this.#handle, Number(code), lines.map((line) => String(line ?? '')))
        this.last_response = `${code} ${lines.join(' ')}`
        if (done) setImmediate(done)
    }

    reset_transaction(done) {
        connection.resetTransaction(this.#handle)
        if (done) setImmediate(done)
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
        for (const name of [...READ, ...WRITE]) {
            Object.defineProperty(Connection.prototype, name, {
                get() {
                    return connection.get(this.#handle, name)
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
