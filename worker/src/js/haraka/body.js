// `transaction.body`: the parts of a message, read when they are asked for.

const { Readable } = require('stream')
const Header = require('internal/header')

const { body: ops, message } = natives

const hidden = (body, name, value) => Object.defineProperty(body, name, { value, writable: true, configurable: true })

// Where Haraka's reader stands behind a multipart.
const multipart = (part) => (part.children.length > 0 ? 'end' : 'multipart_preamble')

class Body {
    constructor(tree, parts, index) {
        if (parts) this.fill(tree, parts, index)
    }

    fill(tree, parts, index) {
        hidden(this, 'tree', tree)
        hidden(this, 'index', index)
        hidden(this, 'said', undefined)
        const part = parts[index]
        this.ct = part.ct
        this.state = part.kind === 'multipart' ? multipart(part) : part.kind === 'text' ? 'body' : 'attachment'
        this.is_html = part.html
        this.filename = part.filename
        this.children = part.children.map((child) => new Body(tree, parts, child))
    }

    get header() {
        const header = new Header(ops.header(this.tree, this.index))
        Object.defineProperty(this, 'header', { value: header, writable: true, configurable: true, enumerable: true })
        return header
    }

    text() {
        this.said ??= ops.text(this.tree, this.index)
        return this.said
    }

    get bodytext() {
        return this.text()[0]
    }

    set bodytext(text) {
        this.said = [String(text), this.text()[1]]
    }

    get body_encoding() {
        return this.text()[1] || 'UTF-8'
    }

    // Filters change what has not come yet: this is there already.
    add_filter() {}

    set_banner() {}

    // The decoded octets, from their beginning.
    stream() {
        return new PartStream(ops.open(this.tree, this.index))
    }
}

// The body of a message that has not come: it says what is to become of it, and is filled then.
class Coming extends Body {
    constructor(transaction) {
        super()
        hidden(this, 'transaction', transaction)
        hidden(this, 'said', ['', null])
        Object.assign(this, { ct: null, state: 'start', is_html: undefined, filename: '', children: [] })
    }

    fill(tree, parts, index) {
        super.fill(tree, parts, index)
        hidden(this, 'transaction', undefined)
    }

    get header() {
        return this.transaction ? this.transaction.header : super.header
    }

    add_filter(filter) {
        this.transaction?.add_body_filter('', filter)
    }

    set_banner([text, html]) {
        this.transaction?.set_banner(text, html)
    }

    on(event, listener) {
        if (event === 'attachment_start') this.transaction?.attachment_hooks(listener)
        return this
    }
}

// The octets of a part. Whoever reads sets the pace; `connection` is there for plugins that set it.
class PartStream extends Readable {
    constructor(reading) {
        super()
        Object.defineProperty(this, 'reading', { value: reading })
        this.connection = null
        this.begun = false
    }

    _read() {
        this.begun = true
        natives.outcome(message.next(this.reading)).then(
            (piece) => this.push(piece === null ? null : Buffer.from(piece.buffer)),
            (err) => this.destroy(err),
        )
    }
}

// Hooks of `attachment_hooks`, and filters of `add_body_filter`, by number. They go with their
// transaction.
const hooks = new Map()
let numbers = 0

exports.keep = (held) => {
    numbers += 1
    hooks.set(numbers, held)
    return numbers
}

exports.drop = (held) => held.forEach((number) => hooks.delete(number))

const reads = (stream) => stream.connection || stream.begun || stream.listenerCount('data') > 0 || stream.listenerCount('readable') > 0

// Resolves when a stream is at its end. One that stands still is waited for if the plugin gave it its
// connection, which then stands still as well.
function over(stream) {
    return new Promise((resolve) => {
        const still = () => stream.isPaused() && !stream.connection
        for (const event of ['end', 'error', 'close']) stream.once(event, resolve)
        stream.on('pause', () => still() && resolve())
        if (still() || stream.readableEnded || stream.destroyed) resolve()
    })
}

// The message is there, and this is one of its attachments: the next one's turn comes when it is read.
exports.attachment = (number, ct, filename, tree, index, reading) => {
    const hook = hooks.get(number)
    if (!hook) return
    const { streams } = hook.transaction
    const begin = () => {
        if (!hooks.has(number)) return undefined
        const body = new Body(tree, ops.parts(tree), index)
        const stream = new PartStream(reading)
        stream.header = body.header
        stream.filename = filename
        hook.start(ct, filename, body, stream)
        streams.push(stream)
        return reads(stream) ? over(stream) : undefined
    }
    // What a plugin throws is told as a promise that nobody handled.
    streams.turn = streams.turn ? streams.turn.then(begin).catch((err) => void Promise.reject(err)) : begin()
}

exports.filterWants = (number, ct) => {
    const { match } = hooks.get(number) ?? {}
    if (match === undefined) return false
    if (match instanceof RegExp) return new RegExp(match.source, match.flags.replace(/[gy]/g, '')).test(ct)
    return ct.startsWith(String(match).toLowerCase())
}

exports.filterRun = (number, ct, encoding, octets, disposition) => {
    const made = hooks.get(number)?.filter(ct, encoding, Buffer.from(octets.buffer), disposition)
    if (made === undefined || made === null) return undefined
    return typeof made === 'string' ? Buffer.from(made) : made
}

// Resolves when every stream that a plugin reads is at its end: what is read of a message is read
// before its hooks go on.
exports.settled = async (streams) => {
    while (streams.turn) {
        const { turn } = streams
        await turn
        if (streams.turn === turn) streams.turn = undefined
    }
    await Promise.all(streams.splice(0).map((stream) => {
        if (!reads(stream)) {
            if (stream.listenerCount('end') === 0 || stream.isPaused()) return undefined
            stream.resume()
        }
        return over(stream)
    }))
}

// The parts of the message as they are now; none before they were asked for.
exports.of = (handle, known) => {
    const tree = ops.tree(handle)
    if (!tree) return known?.transaction ? known : null
    if (known?.transaction) known.fill(tree, ops.parts(tree), 0)
    if (known && ops.same(known.tree, tree)) return known
    return new Body(tree, ops.parts(tree), 0)
}

exports.Body = Body
exports.Coming = Coming
