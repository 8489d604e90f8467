// `transaction.message_stream`: the message, read out in any of the forms of Haraka's.

const { Readable } = require('stream')
const { message } = natives

class MessageStream extends Readable {
    constructor(handle, options = {}) {
        super()
        Object.defineProperty(this, 'handle', { value: handle })
        Object.defineProperty(this, 'options', { value: options })
        Object.defineProperty(this, 'reading', { value: undefined, writable: true })
    }

    _read() {
        this.reading ??= message.open(this.handle, this.options)
        natives.outcome(message.next(this.reading)).then(
            (piece) => this.push(piece === null ? null : Buffer.from(piece.buffer)),
            (err) => this.destroy(err),
        )
    }

    // Each pipe reads the message from its beginning.
    pipe(to, options = {}) {
        if (this.reading === undefined && Object.keys(this.options).length > 0) return super.pipe(to, options)
        const fresh = new MessageStream(this.handle, { line_endings: '\r\n', ...options })
        fresh.on('error', (err) => to.emit('error', err))
        return Readable.prototype.pipe.call(fresh, to, options)
    }

    get_data(options, done) {
        if (typeof options === 'function') [options, done] = [{}, options]
        const all = natives.outcome(message.all(this.handle, options ?? {})).then((bytes) => Buffer.from(bytes.buffer))
        if (!done) return all
        all.then(done, () => done(Buffer.alloc(0)))
        return undefined
    }
}

module.exports = MessageStream
