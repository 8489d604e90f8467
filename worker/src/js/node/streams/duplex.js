// Streams of both sides, and those whose one side is made of the other.

const Readable = require('internal/streams/readable')
const Stream = require('internal/streams/legacy')
const Writable = require('internal/streams/writable')
const { construct } = require('internal/streams/destroy')
const { coded } = require('internal/streams/common')

function Duplex(options) {
    if (!(this instanceof Duplex)) return new Duplex(options)
    Stream.call(this, options)
    const given = options ?? {}
    Readable.begin(this, given, true)
    Writable.begin(this, given, true)
    this.allowHalfOpen = given.allowHalfOpen !== false
    if (given.readable === false) Object.assign(this._readableState, { readable: false, ended: true, endEmitted: true })
    if (given.writable === false) {
        Object.assign(this._writableState, { writable: false, ending: true, ended: true, finished: true })
    }
    construct(this, () => {
        if (this._readableState.needReadable) this.read(0)
        Writable.constructed(this)
    })
}

Object.setPrototypeOf(Duplex.prototype, Readable.prototype)
Object.setPrototypeOf(Duplex, Readable)
const { _destroy } = Readable.prototype
Writable.into(Duplex.prototype)
Duplex.prototype._destroy = _destroy
Object.defineProperty(Duplex.prototype, 'destroyed', {
    get() {
        return Boolean(this._readableState?.destroyed && this._writableState?.destroyed)
    },
    set(value) {
        if (!this._readableState || !this._writableState) return
        this._readableState.destroyed = value
        this._writableState.destroyed = value
    },
    configurable: true,
})

// From what can be read or written: a pair of streams, an iterable, a function of an iterable.
Duplex.from = (source) => {
    if (source instanceof Duplex) return source
    if (source?.readable || source?.writable) {
        return pair(source.readable instanceof Stream ? source.readable : undefined, source.writable instanceof Stream ? source.writable : undefined)
    }
    if (typeof source === 'function') {
        const input = new PassThrough({ objectMode: true })
        return pair(Readable.from(source(input)), input)
    }
    return pair(Readable.from(source), undefined)
}

function pair(from, to) {
    const both = new Duplex({
        objectMode: true,
        readable: Boolean(from),
        writable: Boolean(to),
        read() {
            from?.resume()
        },
        write: (chunk, encoding, done) => to.write(chunk, encoding, done),
        final: (done) => to.end(done),
        destroy(err, done) {
            from?.destroy(err)
            to?.destroy(err)
            done(err)
        },
    })
    from?.on('data', (chunk) => both.push(chunk) || from.pause())
    from?.on('end', () => both.push(null))
    for (const one of [from, to]) one?.on('error', (err) => both.destroy(err))
    return both
}

const HELD = Symbol('held')

function Transform(options) {
    if (!(this instanceof Transform)) return new Transform(options)
    const mark = options?.readableHighWaterMark === 0 ? { ...options, highWaterMark: null, readableHighWaterMark: 0 } : options
    Duplex.call(this, mark)
    this._readableState.sync = false
    this[HELD] = null
    if (typeof options?.transform === 'function') this._transform = options.transform
    if (typeof options?.flush === 'function') this._flush = options.flush
    this.on('prefinish', () => {
        if (this._final !== Transform.prototype._final) Transform.prototype._final.call(this)
    })
}

Object.setPrototypeOf(Transform.prototype, Duplex.prototype)
Object.setPrototypeOf(Transform, Duplex)

Transform.prototype._final = function _final(done) {
    const over = (err, last) => {
        if (err) {
            if (done) done(err)
            else this.destroy(err)
            return
        }
        if (last !== null && last !== undefined) this.push(last)
        this.push(null)
        done?.()
    }
    if (typeof this._flush === 'function' && !this.destroyed) this._flush(over)
    else over()
}

Transform.prototype._transform = () => {
    throw coded('ERR_METHOD_NOT_IMPLEMENTED', 'The _transform() method is not implemented')
}

Transform.prototype._write = function _write(chunk, encoding, done) {
    const r = this._readableState
    const w = this._writableState
    const before = r.length
    this._transform(chunk, encoding, (err, out) => {
        if (err) {
            done(err)
            return
        }
        if (out !== null && out !== undefined) this.push(out)
        // With the other side full, the next piece waits until it is read.
        if (w.ended || before === r.length || r.length < r.highWaterMark) done()
        else this[HELD] = done
    })
}

Transform.prototype._read = function _read() {
    const done = this[HELD]
    if (!done) return
    this[HELD] = null
    done()
}

function PassThrough(options) {
    if (!(this instanceof PassThrough)) return new PassThrough(options)
    Transform.call(this, options)
}

Object.setPrototypeOf(PassThrough.prototype, Transform.prototype)
Object.setPrototypeOf(PassThrough, Transform)

PassThrough.prototype._transform = (chunk, _encoding, done) => done(null, chunk)

module.exports = { Duplex, Transform, PassThrough }
