// The transaction, over the server's own. What it does not know plugins may add.

const { Address } = require('internal/address')
const Header = require('internal/header')
const MessageStream = require('internal/message_stream')
const live = require('internal/live')

const { transaction } = natives

const READ = ['uuid', 'data_bytes', 'rcpt_count', 'mime_part_count', 'msg_status']
const WRITE = ['parse_body', 'discard_data']

function withParams(parts) {
    const made = Address.of(parts)
    Object.defineProperty(made, 'params', { value: parts.params, writable: true, configurable: true })
    return made
}

const shown = (list) => JSON.stringify(list.map((a) => ({ ...a, params: a.params })))

class Transaction {
    #handle
    #connection
    #rcpts
    #known
    #sender

    constructor(handle, connection) {
        this.#handle = handle
        this.#connection = connection
        this.encoding = 'utf8'
        this.body = null
        live.owners.set(this.uuid, this)
    }

    #kept(name, make) {
        const value = make()
        Object.defineProperty(this, name, { value, writable: true, configurable: true, enumerable: true })
        return value
    }

    get notes() {
        return this.#kept('notes', () => {
            const notes = live.notes(this.#handle, this.uuid)
            notes.skip_plugins ??= []
            return notes
        })
    }

    get results() {
        return this.#kept('results', () => live.results(this.#handle, this.uuid, this.#connection))
    }

    get header() {
        return this.#kept('header', () => new Header(this.#handle))
    }

    get message_stream() {
        return this.#kept('message_stream', () => new MessageStream(this.#handle))
    }

    get mail_from() {
        this.#sender ??= withParams(transaction.get(this.#handle, 'mail_from'))
        return this.#sender
    }

    // The server's list as it is at the beginning of a hook; changes go back with the answer.
    get rcpt_to() {
        if (this.#rcpts && this.#known === undefined) this.#refresh()
        if (!this.#rcpts) {
            this.#rcpts = transaction.get(this.#handle, 'rcpt_to').map(withParams)
            this.#known = shown(this.#rcpts)
        }
        return this.#rcpts
    }

    set rcpt_to(list) {
        this.#known ??= ''
        this.#rcpts = list
    }

    // Addresses that are still the same stay the same objects.
    #refresh() {
        const before = this.#rcpts
        const now = transaction.get(this.#handle, 'rcpt_to')
        const same = (a, parts) => a && a.user === parts.user && a.host === parts.host
        before.splice(0, before.length, ...now.map((parts, i) => (same(before[i], parts) ? before[i] : withParams(parts))))
        this.#known = shown(before)
    }

    // A hook begins: what the server has counts.
    begin() {
        this.#known = undefined
    }

    // A hook answers: what the plugin has changed counts.
    end() {
        if (!this.#rcpts || this.#known === undefined) return
        const now = shown(this.#rcpts)
        if (now === this.#known) return
        transaction.set(this.#handle, 'rcpt_to', JSON.parse(now))
        this.#known = now
    }

    add_header(name, value) {
        this.header.add_end(name, value)
    }

    add_leading_header(name, value) {
        this.header.add(name, value)
    }

    remove_header(name) {
        this.header.remove(name)
    }

    set_banner(text, html) {
        transaction.banner(this.#handle, text, html)
    }

    incr_mime_count() {}

    static {
        for (const name of [...READ, ...WRITE]) {
            Object.defineProperty(Transaction.prototype, name, {
                get() {
                    return transaction.get(this.#handle, name)
                },
                set(value) {
                    if (WRITE.includes(name)) transaction.set(this.#handle, name, Boolean(value))
                },
                enumerable: true,
                configurable: true,
            })
        }
    }
}

exports.Transaction = Transaction
