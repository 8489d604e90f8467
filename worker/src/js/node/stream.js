// Streams: enough of Node's for reading, writing, piping and transforming with back-pressure.

const EventEmitter = require('events')
const { Buffer } = require('buffer')
const { StringDecoder } = require('string_decoder')

const LEVEL = 64 * 1024

class Stream extends EventEmitter {
    constructor(options = {}) {
        super()
        this.destroyed = false
        this.objectMode = Boolean(options.objectMode)
        this.level = options.highWaterMark ?? (this.objectMode ? 16 : LEVEL)
        if (options.destroy) this._destroy = options.destroy
    }

    _destroy(err, done) {
        done(err)
    }

    destroy(err) {
        if (this.destroyed) return this
        this.destroyed = true
        this._destroy(err ?? null, (failed) => {
            queueMicrotask(() => {
                if (failed) this.emit('error', failed)
                this.emit('close')
            })
        })
        return this
    }

    pipe(to, options = {}) {
        this.on('data', (chunk) => {
            if (to.write(chunk) === false) this.pause?.()
        })
        to.on('drain', () => this.resume?.())
        if (options.end !== false) this.on('end', () => to.end())
        to.emit('pipe', this)
        return to
    }
}

class Readable extends Stream {
    constructor(options = {}) {
        super(options)
        this.readable = true
        this.readableEnded = false
        this.waiting = []
        this.size = 0
        this.flowing = null
        this.asked = false
        this.over = false
        if (options.read) this._read = options.read
        if (options.encoding) this.setEncoding(options.encoding)
    }

    _read() {}

    setEncoding(encoding) {
        this.decoder = new StringDecoder(encoding)
        return this
    }

    push(chunk, encoding) {
        this.asked = false
        if (this.over) return false
        if (chunk === null) {
            const rest = this.decoder?.end()
            if (rest) this.waiting.push(rest)
            this.over = true
        } else {
            const octets = typeof chunk === 'string' && !this.objectMode && !this.decoder ? Buffer.from(chunk, encoding) : chunk
            const held = this.decoder && typeof octets !== 'string' ? this.decoder.write(octets) : octets
            if (this.objectMode || held.length > 0) {
                this.waiting.push(held)
                this.size += this.objectMode ? 1 : held.length
            }
        }
        this.emitSoon()
        return this.size < this.level
    }

    emitSoon() {
        if (this.emitting) return
        this.emitting = true
        queueMicrotask(() => {
            this.emitting = false
            this.turn()
        })
    }

    // Hands out what is there, asks for more, or ends.
    turn() {
        if (this.destroyed) return
        if (this.flowing) {
            while (this.flowing && this.waiting.length > 0) this.emit('data', this.take())
        } else if (this.waiting.length > 0 || this.over) {
            this.emit('readable')
        }
        if (this.over && this.waiting.length === 0 && !this.readableEnded && this.flowing !== false) {
            if (this.flowing || this.listenerCount('readable') > 0) {
                this.readableEnded = true
                this.readable = false
                this.emit('end')
                this.emit('close')
            }
        } else if (!this.over && !this.asked && this.size < this.level && (this.flowing || this.listenerCount('readable') > 0)) {
            this.asked = true
            this._read(this.level)
        }
    }

    take() {
        const chunk = this.waiting.shift()
        this.size -= this.objectMode ? 1 : chunk.length
        return chunk
    }

    read() {
        if (this.waiting.length === 0) {
            this.emitSoon()
            return null
        }
        const all = this.objectMode || this.waiting.length === 1 ? this.take() : this.joined()
        this.emitSoon()
        return all
    }

    joined() {
        const all = this.waiting.splice(0)
        this.size = 0
        return typeof all[0] === 'string' ? all.join('') : Buffer.concat(all)
    }

    on(event, listener) {
        super.on(event, listener)
        if (event === 'data' && this.flowing !== false) this.resume()
        if (event === 'readable') this.emitSoon()
        return this
    }

    resume() {
        this.flowing = true
        this.emitSoon()
        return this
    }

    pause() {
        this.flowing = false
        return this
    }

    isPaused() {
        return this.flowing === false
    }

    unpipe() {
        this.removeAllListeners('data')
        this.flowing = false
        return this
    }

    async *[Symbol.asyncIterator]() {
        const ended = new Promise((resolve, reject) => {
            this.once('end', resolve)
            this.once('error', reject)
        })
        let wake
        this.on('readable', () => wake?.())
        let done = false
        ended.then(
            () => {
                done = true
                wake?.()
            },
            () => wake?.(),
        )
        for (;;) {
            const chunk = this.waiting.length > 0 ? this.read() : null
            if (chunk !== null) yield chunk
            else if (done) return
            else {
                await Promise.race([ended, new Promise((resolve) => (wake = resolve))])
            }
        }
    }

    static from(items, options) {
        const stream = new Readable({ objectMode: true, ...options })
        const iterator = items[Symbol.asyncIterator]?.() ?? items[Symbol.iterator]()
        stream._read = () => {
            Promise.resolve(iterator.next()).then(
                ({ done, value }) => stream.push(done ? null : value),
                (err) => stream.destroy(err),
            )
        }
        return stream
    }
}

// What a stream needs to be written to; shared by Writable and Duplex.
const writing = {
    begin(stream, options) {
        stream.writable = true
        stream.writableEnded = false
        stream.writableFinished = false
        Object.defineProperty(stream, 'queue', { value: { items: [], size: 0, busy: false, full: false } })
        if (options.write) stream._write = options.write
        if (options.final) stream._final = options.final
    },
    write(chunk, encoding, done) {
        if (typeof encoding === 'function') [encoding, done] = [undefined, encoding]
        if (this.writableEnded || this.destroyed) {
            const err = Object.assign(new Error('write after end'), { code: 'ERR_STREAM_WRITE_AFTER_END' })
            queueMicrotask(() => {
                done?.(err)
                this.destroy(err)
            })
            return false
        }
        const octets = typeof chunk === 'string' && !this.objectMode && this.decodeStrings !== false ? Buffer.from(chunk, encoding) : chunk
        const size = this.objectMode ? 1 : octets.length
        this.queue.items.push({ octets, encoding: encoding ?? 'buffer', done, size })
        this.queue.size += size
        this.work()
        const room = this.queue.size < this.level
        if (!room) this.queue.full = true
        return room
    },
    end(chunk, encoding, done) {
        if (typeof chunk === 'function') [chunk, done] = [undefined, chunk]
        if (typeof encoding === 'function') [encoding, done] = [undefined, encoding]
        if (chunk !== undefined && chunk !== null) this.write(chunk, encoding)
        if (done) this.once('finish', done)
        this.writableEnded = true
        this.work()
        return this
    },
    work() {
        const { queue } = this
        if (queue.busy || this.destroyed) return
        const next = queue.items.shift()
        if (!next) {
            if (this.writableEnded && !this.writableFinished) this.finish()
            return
        }
        queue.busy = true
        this._write(next.octets, next.encoding, (err) => {
            queue.busy = false
            queue.size -= next.size
            next.done?.(err ?? null)
            if (err) return this.destroy(err)
            if (queue.full && queue.size === 0) {
                queue.full = false
                queueMicrotask(() => this.emit('drain'))
            }
            return queueMicrotask(() => this.work())
        })
    },
    finish() {
        this.writableFinished = true
        this.writable = false
        this._final((err) => {
            if (err) return this.destroy(err)
            return queueMicrotask(() => {
                this.emit('finish')
                if (!(this instanceof Readable)) this.emit('close')
            })
        })
    },
    cork() {},
    uncork() {},
    setDefaultEncoding() {
        return this
    },
    _write(_chunk, _encoding, done) {
        done()
    },
    _final(done) {
        done()
    },
}

function writable(to) {
    for (const [name, value] of Object.entries(writing)) {
        if (name !== 'begin') Object.defineProperty(to.prototype, name, { value, writable: true, configurable: true })
    }
}

class Writable extends Stream {
    constructor(options = {}) {
        super(options)
        writing.begin(this, options)
    }
}
writable(Writable)

class Duplex extends Readable {
    constructor(options = {}) {
        super(options)
        writing.begin(this, options)
    }
}
writable(Duplex)

class Transform extends Duplex {
    constructor(options = {}) {
        super(options)
        if (options.transform) this._transform = options.transform
        if (options.flush) this._flush = options.flush
    }

    _transform(chunk, _encoding, done) {
        done(null, chunk)
    }

    _flush(done) {
        done()
    }

    _write(chunk, encoding, done) {
        this._transform(chunk, encoding, (err, out) => {
            if (!err && out !== undefined && out !== null) this.push(out)
            done(err)
        })
    }

    _final(done) {
        this._flush((err, out) => {
            if (!err && out !== undefined && out !== null) this.push(out)
            if (!err) this.push(null)
            done(err)
        })
    }
}

class PassThrough extends Transform {}

function finished(stream, options, done) {
    if (typeof options === 'function') done = options
    let called = false
    const once = (err) => {
        if (!called) done(err)
        called = true
    }
    stream.on('error', once)
    stream.on('end', () => once())
    stream.on('finish', () => once())
}

function pipeline(...streams) {
    const done = typeof streams.at(-1) === 'function' ? streams.pop() : () => {}
    let called = false
    const once = (err) => {
        if (called) return
        called = true
        if (err) for (const stream of streams) stream.destroy?.()
        done(err)
    }
    for (const stream of streams) stream.on('error', once)
    streams.at(-1).on('finish', () => once())
    return streams.reduce((from, to) => from.pipe(to))
}

module.exports = Object.assign(Stream, {
    Stream,
    Readable,
    Writable,
    Duplex,
    Transform,
    PassThrough,
    finished,
    pipeline,
    promises: {
        pipeline: (...streams) => new Promise((resolve, reject) => pipeline(...streams, (err) => (err ? reject(err) : resolve()))),
        finished: (stream) => new Promise((resolve, reject) => finished(stream, (err) => (err ? reject(err) : resolve()))),
    },
})
