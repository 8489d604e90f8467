// The transaction, over the server's own. What it does not know plugins may add.

const { Address, partsOf } = require('internal/address')
const bodies = require('internal/body')
const Header = require('internal/header')
const MessageStream = require('internal/message_stream')
const live = require('internal/live')
const logger = require('internal/logger')

const { transaction, body: bodyOps, outbound } = natives

const READ = ['rcpt_count', 'mime_part_count', 'msg_status']
const WRITE = ['data_bytes', 'parse_body', 'discard_data']

// Octets of a message that a script makes itself.
const MOST = 64 << 20

// Where an address has its parameters until a script looks at them, and may change them.
const UNSEEN = Symbol('unseen')

const PARAMS = {
    get() {
        const given = this[UNSEEN]
        this.params = given
        return given
    },
    set(value) {
        this[UNSEEN] = undefined
        Object.defineProperty(this, 'params', { value, writable: true, configurable: true })
    },
    configurable: true,
}

function withParams(parts) {
    const made = Address.of(parts)
    Object.defineProperty(made, UNSEEN, { value: parts.params, writable: true })
    return Object.defineProperty(made, 'params', PARAMS)
}

const told = (address) => ({ ...partsOf(address), params: address.params })

// What an address was when it was last compared with the server's. Most have no parameters, and most
// hooks change nothing, so that this is cheaper than the text of all of it.
function noted(address) {
    if (typeof address.user === 'function') return { address, text: JSON.stringify(told(address)) }
    const { original, user, host, original_host, is_utf8 } = address
    const text = paramsText(address[UNSEEN] ?? address.params)
    return { address, original, user, host, original_host, is_utf8, text }
}

function paramsText(params) {
    return params && Object.keys(params).length > 0 ? JSON.stringify(params) : ''
}

function isAs(note) {
    const { address } = note
    const { user } = address
    if (user !== note.user) return typeof user === 'function' && JSON.stringify(told(address)) === note.text
    return (
        address.host === note.host &&
        address.original === note.original &&
        address.original_host === note.original_host &&
        address.is_utf8 === note.is_utf8 &&
        (address[UNSEEN] !== undefined || paramsText(address.params) === note.text)
    )
}

const isSame = (address, parts) => address && address.user === parts.user && address.host === parts.host

function isAsNoted(list, notes) {
    if (list.length !== notes.length) return false
    for (let at = 0; at < notes.length; at += 1) {
        if (list[at] !== notes[at]?.address || !isAs(notes[at])) return false
    }
    return true
}

const read = (name) => transaction.reader(name)
const [sender, senderVersion, recipients] = ['mail_from', 'mail_from version', 'rcpt_to'].map(read)

// Notes of a list that the server does not have.
const UNKNOWN = [undefined]

class Transaction {
    #handle
    #connection
    #rcpts
    #known
    #sender
    #senderVersion
    #asked
    #askedCount
    #body
    #made
    #held = []
    #uuid

    constructor(handle, connection) {
        this.#handle = handle
        this.#connection = connection
        this.encoding = 'utf8'
        Object.defineProperty(this, 'streams', { value: [] })
        // One that belongs to no connection is known while it is sent only; else nothing would end it.
        if (connection) live.owners.set(this.uuid, this)
    }

    #kept(name, make) {
        const value = make()
        Object.defineProperty(this, name, { value, writable: true, configurable: true, enumerable: true })
        return value
    }

    get uuid() {
        return (this.#uuid ??= transaction.get(this.#handle, 'uuid'))
    }

    set uuid(_uuid) {}

    get notes() {
        return this.#kept('notes', () => {
            const notes = live.notes(this.#handle, this.uuid)
            notes.skip_plugins ??= []
            return notes
        })
    }

    // What replaces the notes is taken over, so that the server goes on seeing them.
    set notes(given) {
        Object.assign(this.notes, given)
    }

    get results() {
        return this.#kept('results', () => live.results(this.#handle, this.uuid, this.#connection ?? logger))
    }

    get header() {
        this.#finish()
        return this.#kept('header', () => new Header(this.#handle))
    }

    get message_stream() {
        this.#finish()
        return this.#kept('message_stream', () => new MessageStream(this.#handle))
    }

    get body() {
        if (this.#body?.own) return this.#body.own
        this.#body = bodies.of(this.#handle, this.#body)
        return this.#body
    }

    set body(given) {
        this.#body = given ? { own: given } : undefined
    }

    // `body` before the message is there, to have a say in what becomes of it.
    ensure_body() {
        if (!this.body) this.#body = new bodies.Coming(this)
    }

    get mail_from() {
        const version = senderVersion(this.#handle)
        if (this.#senderVersion !== version) this.#note(withParams(sender(this.#handle)))
        return this.#sender.address
    }

    set mail_from(given) {
        const address = given instanceof Object ? given : new Address(given)
        transaction.set(this.#handle, 'mail_from', told(address))
        this.#note(address)
    }

    #note(address) {
        this.#senderVersion = senderVersion(this.#handle)
        this.#sender = noted(address)
    }

    // The server's list as it is at the beginning of a hook; changes go back with the answer.
    get rcpt_to() {
        if (this.#rcpts && this.#known === undefined) this.#refresh()
        if (!this.#rcpts) {
            this.#rcpts = recipients(this.#handle).map(withParams)
            this.#known = this.#rcpts.map(noted)
        }
        return this.#rcpts
    }

    set rcpt_to(list) {
        this.#known ??= UNKNOWN
        this.#rcpts = list
    }

    // Addresses that are still the same stay the same objects.
    #refresh() {
        const before = this.#rcpts
        const now = recipients(this.#handle)
        before.splice(0, before.length, ...now.map((parts, i) => (isSame(before[i], parts) ? before[i] : withParams(parts))))
        this.#known = before.map(noted)
    }

    // The recipient that plugins are asked about: the same object for all of them. `parts` where it is not the last.
    asked(count, parts) {
        if (this.#askedCount !== count) {
            const last = this.rcpt_to.at(-1)
            const address = parts === undefined || isSame(last, parts) ? last : withParams(parts)
            this.#asked = noted(address)
            this.#askedCount = count
        }
        return this.#asked.address
    }

    // As that, for one that a plugin has accepted.
    accepted(parts) {
        const last = this.rcpt_to.at(-1)
        return parts === null || isSame(last, parts) ? last : Address.of(parts)
    }

    // A hook begins: what the server has counts.
    begin() {
        this.#known = undefined
    }

    // A hook answers: what the plugin has changed counts.
    end(hook) {
        if (this.#made) this.#finish()
        const sender = this.#sender
        if (sender !== undefined && !isAs(sender)) this.mail_from = sender.address
        // The others that are asked about a recipient get it as this one has left it.
        if (hook === 'rcpt') this.#pass()
        if (this.#known === undefined || !this.#rcpts || isAsNoted(this.#rcpts, this.#known)) return
        transaction.set(this.#handle, 'rcpt_to', this.#rcpts.map(told))
        this.#known = this.#rcpts.map(noted)
    }

    #pass() {
        const asked = this.#asked
        if (asked === undefined || isAs(asked)) return
        transaction.set(this.#handle, 'asked', told(asked.address))
        this.#asked = noted(asked.address)
    }

    // It was sent, or its connection let it go; nothing is asked of its hooks any more.
    over() {
        bodies.drop(this.#held)
    }

    // Native code sends it; its object in scripts is up to date before.
    handle() {
        this.end()
        if (this.#made) live.owners.set(this.uuid, this)
        return this.#handle
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
        transaction.banner(this.#handle, String(text), html === undefined || html === null ? undefined : String(html))
    }

    attachment_hooks(start) {
        const number = bodies.keep({ start, transaction: this })
        this.#held.push(number)
        bodyOps.onAttachment(this.#handle, number)
    }

    add_body_filter(match, filter) {
        const number = bodies.keep({ match, filter })
        this.#held.push(number)
        bodyOps.filter(this.#handle, number)
    }

    // A line in wire form: dot-stuffed, with CRLF. Makes up a message that a script creates; is
    // added to the end of one that has come.
    add_data(line) {
        const octets = typeof line === 'string' ? Buffer.from(line, this.encoding) : Buffer.from(line)
        if (!this.#made) {
            bodyOps.append(this.#handle, octets)
            return
        }
        this.#made.size += octets.length
        if (this.#made.size > MOST) throw new RangeError('the message is too big')
        this.#made.pieces.push(octets)
    }

    end_data(done) {
        this.#finish()
        if (done) setImmediate(done)
    }

    // What was added becomes the message.
    #finish() {
        if (!this.#made || this.#made.pieces.length === 0) return
        const all = Buffer.concat([...(this.#made.before ?? []), ...this.#made.pieces])
        this.#made.before = [all]
        this.#made.pieces = []
        outbound.fill(this.#handle, all)
    }

    remove_final_cr(data) {
        const octets = Buffer.isBuffer(data) ? data : Buffer.from(data)
        if (octets.length < 2 || octets.at(-2) !== 13 || octets.at(-1) !== 10) return octets
        return Buffer.concat([octets.subarray(0, -2), Buffer.from('\n')])
    }

    add_dot_stuffing_and_ensure_crlf_newlines(data) {
        const octets = Buffer.isBuffer(data) ? data : Buffer.from(data)
        const text = octets.toString('latin1')
        return Buffer.from(text.replace(/\r?\n/g, '\r\n').replace(/^\./gm, '..'), 'latin1')
    }

    incr_mime_count() {}

    // Whether a script made it, so that no connection ends it.
    get isDetached() {
        return this.#made !== undefined
    }

    // One that belongs to no connection: a message that a script sends.
    static create(uuid) {
        const handle = outbound.create(uuid ?? require('crypto').randomUUID().toUpperCase())
        const made = new Transaction(handle, null)
        made.#made = { pieces: [], size: 0 }
        return made
    }

    static {
        Object.defineProperty(Transaction.prototype, 'uuid', { enumerable: true })
        for (const name of [...READ, ...WRITE]) {
            const value = read(name)
            Object.defineProperty(Transaction.prototype, name, {
                get() {
                    return value(this.#handle)
                },
                set(value) {
                    if (WRITE.includes(name)) transaction.set(this.#handle, name, name === 'data_bytes' ? Number(value) : Boolean(value))
                },
                enumerable: true,
                configurable: true,
            })
        }
    }
}

// The parameters of an address as the server has them, in an object of their own.
function paramsOf(address) {
    const given = address[UNSEEN] ?? address.params ?? {}
    const out = {}
    for (const key of Object.keys(given)) out[key] = typeof given[key] === 'string' ? given[key] : true
    return out
}

exports.Transaction = Transaction
exports.paramsOf = paramsOf
exports.createTransaction = (uuid) => Transaction.create(uuid)
