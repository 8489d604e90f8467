// The side of a stream that is read: what was pushed waits here until somebody reads or listens.

const Stream = require('internal/streams/legacy')
const { construct, destroy, fail, undestroy } = require('internal/streams/destroy')
const { Buffer } = require('buffer')
const { StringDecoder } = require('string_decoder')
const { coded, levels, octetsOf } = require('internal/streams/common')

const process = require('process')

const { nextTick } = process

class ReadableState {
    constructor(options, side) {
        this.objectMode = Boolean(options.objectMode || (side && options.readableObjectMode))
        this.highWaterMark = levels.of(options, this.objectMode, side && 'readableHighWaterMark')
        this.buffer = []
        this.length = 0
        this.pipes = []
        this.flowing = null
        this.ended = false
        this.endEmitted = false
        this.reading = false
        this.constructing = false
        // Whether _read is on the stack: what it pushes at once is handed out later.
        this.sync = true
        this.needReadable = false
        this.emittedReadable = false
        this.readableListening = false
        this.resumeScheduled = false
        this.errorEmitted = false
        this.emitClose = options.emitClose !== false
        this.autoDestroy = options.autoDestroy !== false
        this.destroyed = false
        this.errored = null
        this.closed = false
        this.closeEmitted = false
        this.defaultEncoding = options.defaultEncoding ?? 'utf8'
        this.awaiting = new Set()
        this.readingMore = false
        this.dataEmitted = false
        this.paused = false
        this.decoder = options.encoding ? new StringDecoder(options.encoding) : null
        this.encoding = options.encoding ?? null
    }
}

function Readable(options) {
    if (!(this instanceof Readable)) return new Readable(options)
    Stream.call(this, options)
    Readable.begin(this, options ?? {}, false)
    construct(this, () => this._readableState.needReadable && more(this, this._readableState))
}

// Gives a stream this side. A stream of both sides has options for each.
Readable.begin = (stream, options, side) => {
    const state = new ReadableState(options, side)
    Object.defineProperty(stream, '_readableState', { value: state, writable: true, configurable: true, enumerable: false })
    if (typeof options.read === 'function') stream._read = options.read
    if (typeof options.destroy === 'function') stream._destroy = options.destroy
    if (typeof options.construct === 'function') stream._construct = options.construct
    if (options.signal) require('internal/streams/pipeline').addAbortSignal(options.signal, stream)
}

Object.setPrototypeOf(Readable.prototype, Stream.prototype)
Object.setPrototypeOf(Readable, Stream)

const proto = Readable.prototype

proto.destroy = destroy
proto._undestroy = undestroy
proto._destroy = (err, done) => done(err)
proto._read = () => {
    throw coded('ERR_METHOD_NOT_IMPLEMENTED', 'The _read() method is not implemented')
}

proto.push = function push(chunk, encoding) {
    return add(this, chunk, encoding, false)
}

proto.unshift = function unshift(chunk, encoding) {
    return add(this, chunk, encoding, true)
}

function add(stream, given, encoding, front) {
    const state = stream._readableState
    if (given === null) {
        state.reading = false
        ended(stream, state)
        return false
    }
    let chunk = given
    if (!state.objectMode) {
        if (typeof chunk === 'string') {
            const as = encoding || state.defaultEncoding
            if (front && state.encoding) chunk = state.encoding === as ? chunk : Buffer.from(chunk, as).toString(state.encoding)
            else if (!state.decoder || as !== state.encoding) chunk = Buffer.from(chunk, as)
        } else if (chunk !== undefined) {
            chunk = octetsOf(chunk)
            if (!chunk) {
                fail(stream, coded('ERR_INVALID_ARG_TYPE', badChunk(given), TypeError))
                return false
            }
        }
    }
    if (chunk === undefined || (!state.objectMode && chunk.length === 0)) {
        if (!front) {
            state.reading = false
            readMore(stream, state)
        }
    } else if (front) {
        if (state.endEmitted) fail(stream, coded('ERR_STREAM_UNSHIFT_AFTER_END_EVENT', 'stream.unshift() after end event'))
        else if (state.destroyed || state.errored) return false
        else take(stream, state, chunk, true)
    } else if (state.ended) {
        fail(stream, coded('ERR_STREAM_PUSH_AFTER_EOF', 'stream.push() after EOF'))
    } else if (state.destroyed || state.errored) {
        return false
    } else {
        state.reading = false
        if (state.decoder && typeof chunk !== 'string') {
            chunk = state.decoder.write(chunk)
            if (chunk.length > 0) take(stream, state, chunk, false)
            else readMore(stream, state)
        } else take(stream, state, chunk, false)
    }
    return !state.ended && (state.length < state.highWaterMark || state.length === 0)
}

// As `push` of octets, for a source that gives nothing at once when it is asked: it is asked again in the same turn
// where all that comes goes straight to listeners.
Readable.arrived = (stream, chunk) => {
    const state = stream._readableState
    if (stream.push !== proto.push || state.decoder !== null || state.ended || state.errored || !goesOn(stream, state)) {
        stream.push(chunk)
        return
    }
    state.reading = false
    state.awaiting.clear()
    state.dataEmitted = true
    try {
        stream.emit('data', chunk)
    } finally {
        if (!state.reading && !state.ended && !state.errored && goesOn(stream, state)) more(stream, state)
        else readMore(stream, state)
    }
}

const goesOn = (stream, state) =>
    state.flowing && state.length === 0 && !state.sync && !state.readingMore && !state.destroyed && stream.listenerCount('data') > 0

const badChunk = (chunk) =>
    `The "chunk" argument must be of type string or an instance of Buffer or Uint8Array. Received type ${typeof chunk}`

function take(stream, state, chunk, front) {
    if (state.flowing && state.length === 0 && !state.sync && stream.listenerCount('data') > 0) {
        state.awaiting.clear()
        state.dataEmitted = true
        // A listener that throws does not stop the source.
        try {
            stream.emit('data', chunk)
        } finally {
            readMore(stream, state)
        }
        return
    }
    state.length += state.objectMode ? 1 : chunk.length
    if (front) state.buffer.unshift(chunk)
    else state.buffer.push(chunk)
    if (state.needReadable) announce(stream)
    readMore(stream, state)
}

function ended(stream, state) {
    if (state.ended) return
    const rest = state.decoder?.end()
    if (rest) {
        state.buffer.push(rest)
        state.length += state.objectMode ? 1 : rest.length
    }
    state.ended = true
    if (state.sync) announce(stream)
    else {
        state.needReadable = false
        state.emittedReadable = true
        announceNow(stream)
    }
}

// 'readable' comes once for all that arrives in a turn.
function announce(stream) {
    const state = stream._readableState
    state.needReadable = false
    if (state.emittedReadable) return
    state.emittedReadable = true
    nextTick(() => announceNow(stream))
}

function announceNow(stream) {
    const state = stream._readableState
    if (!state.destroyed && !state.errored && (state.length > 0 || state.ended)) {
        stream.emit('readable')
        state.emittedReadable = false
    }
    state.needReadable = !state.flowing && !state.ended && state.length <= state.highWaterMark
    flow(stream)
}

// Fills up to the mark while nobody reads.
function readMore(stream, state) {
    if (state.readingMore || state.constructing) return
    state.readingMore = true
    nextTick(() => {
        while (
            !state.reading &&
            !state.ended &&
            (state.length < state.highWaterMark || (state.flowing && state.length === 0))
        ) {
            const before = state.length
            stream.read(0)
            if (state.length === before) break
        }
        state.readingMore = false
    })
}

function flow(stream) {
    const state = stream._readableState
    while (state.flowing && stream.read() !== null);
}

function amount(n, state) {
    if (n <= 0 || (state.length === 0 && state.ended)) return 0
    if (state.objectMode) return 1
    // Who listens for data gets chunk by chunk, who reads gets all.
    if (Number.isNaN(n)) return state.flowing && state.length > 0 ? state.buffer[0].length : state.length
    return n <= state.length ? n : state.ended ? state.length : 0
}

proto.read = function read(given) {
    const state = this._readableState
    let n = given === undefined ? NaN : Number.parseInt(given, 10)
    if (n > state.highWaterMark) state.highWaterMark = levels.above(n)
    if (n !== 0) state.emittedReadable = false
    const enough = state.highWaterMark === 0 ? state.length > 0 : state.length >= state.highWaterMark
    if (n === 0 && state.needReadable && (enough || state.ended)) {
        if (state.length === 0 && state.ended) finish(this)
        else announce(this)
        return null
    }
    n = amount(n, state)
    if (n === 0 && state.ended) {
        if (state.length === 0) finish(this)
        return null
    }
    const low = state.needReadable || state.length === 0 || state.length - n < state.highWaterMark
    if (low && !state.ended && !state.reading && !state.destroyed && !state.errored && !state.constructing) {
        more(this, state)
        if (!state.reading) n = amount(given === undefined ? NaN : Number.parseInt(given, 10), state)
    }
    const out = n > 0 ? cut(n, state) : null
    if (out === null) {
        state.needReadable = state.length <= state.highWaterMark
    } else {
        state.length -= state.objectMode ? 1 : out.length
        state.awaiting.clear()
    }
    if (state.length === 0) {
        if (!state.ended) state.needReadable = true
        if (out !== null && state.ended) finish(this)
    }
    if (out !== null && !state.errorEmitted && !state.closeEmitted) {
        state.dataEmitted = true
        this.emit('data', out)
    }
    return out
}

// Asks the source.
function more(stream, state) {
    state.reading = true
    state.sync = true
    if (state.length === 0) state.needReadable = true
    try {
        stream._read(state.highWaterMark)
    } catch (err) {
        fail(stream, err)
    }
    state.sync = false
}

function cut(n, state) {
    const { buffer } = state
    if (buffer.length === 0) return null
    if (state.objectMode) return buffer.shift()
    if (n === buffer[0].length) return buffer.shift()
    if (n >= state.length) {
        const all = buffer.splice(0)
        return state.decoder ? all.join('') : all.length === 1 ? all[0] : Buffer.concat(all)
    }
    const parts = []
    for (let left = n; left > 0; ) {
        const first = buffer[0]
        if (first.length <= left) parts.push(buffer.shift())
        else {
            parts.push(first.slice(0, left))
            buffer[0] = first.slice(left)
        }
        left -= parts.at(-1).length
    }
    return state.decoder ? parts.join('') : Buffer.concat(parts)
}

function finish(stream) {
    const state = stream._readableState
    if (state.endEmitted) return
    state.ended = true
    nextTick(() => {
        if (state.errored || state.closeEmitted || state.endEmitted || state.length > 0) return
        state.endEmitted = true
        stream.emit('end')
        const w = stream._writableState
        if (stream.writable && stream.allowHalfOpen === false) {
            nextTick(() => {
                if (stream.writable && !w.ending && !w.destroyed) stream.end()
            })
        } else if (state.autoDestroy && (!w || (w.autoDestroy && (w.finished || w.writable === false)))) {
            stream.destroy()
        }
    })
}

proto.setEncoding = function setEncoding(encoding) {
    const state = this._readableState
    const decoder = new StringDecoder(encoding)
    state.decoder = decoder
    state.encoding = encoding
    const text = state.buffer.map((chunk) => (typeof chunk === 'string' ? chunk : decoder.write(chunk))).join('')
    state.buffer = text ? [text] : []
    state.length = text.length
    return this
}

proto.on = function on(event, listener) {
    const result = Stream.prototype.on.call(this, event, listener)
    heard(this, event)
    return result
}
proto.addListener = proto.on

proto.once = function once(event, listener) {
    const result = Stream.prototype.once.call(this, event, listener)
    heard(this, event)
    return result
}

// Somebody listens: what waits is handed out.
function heard(stream, event) {
    const state = stream._readableState
    if (!state) return
    if (event === 'data') {
        state.readableListening = stream.listenerCount('readable') > 0
        if (state.flowing !== false) stream.resume()
    } else if (event === 'readable' && !state.endEmitted && !state.readableListening) {
        state.readableListening = true
        state.needReadable = true
        state.flowing = false
        state.emittedReadable = false
        if (state.length > 0) announce(stream)
        else if (!state.reading) nextTick(() => stream.read(0))
    }
}

proto.removeListener = function removeListener(event, listener) {
    const result = Stream.prototype.removeListener.call(this, event, listener)
    if (event === 'readable') nextTick(() => listening(this))
    return result
}
proto.off = proto.removeListener

proto.removeAllListeners = function removeAllListeners(...events) {
    const result = Stream.prototype.removeAllListeners.apply(this, events)
    if (this._readableState && (events.length === 0 || events[0] === undefined || events[0] === 'readable')) {
        nextTick(() => listening(this))
    }
    return result
}

function listening(stream) {
    const state = stream._readableState
    state.readableListening = stream.listenerCount('readable') > 0
    if (state.resumeScheduled && !state.paused) state.flowing = true
    else if (stream.listenerCount('data') > 0 && !state.readableListening && state.flowing !== true && !state.paused) stream.resume()
    else if (!state.readableListening && state.flowing !== true) state.flowing = state.paused ? false : null
}

proto.resume = function resume() {
    const state = this._readableState
    if (!state.flowing) {
        state.flowing = !state.readableListening
        if (!state.resumeScheduled) {
            state.resumeScheduled = true
            nextTick(() => {
                if (!state.reading) this.read(0)
                state.resumeScheduled = false
                this.emit('resume')
                flow(this)
                if (state.flowing && !state.reading) this.read(0)
            })
        }
    }
    state.paused = false
    return this
}

proto.pause = function pause() {
    const state = this._readableState
    if (state.flowing !== false) {
        state.flowing = false
        this.emit('pause')
    }
    state.paused = true
    return this
}

proto.isPaused = function isPaused() {
    return this._readableState.paused || this._readableState.flowing === false
}

proto.pipe = function pipe(to, options) {
    const from = this
    const state = this._readableState
    state.pipes.push(to)

    const onEnd = options?.end !== false && to !== process.stdout && to !== process.stderr ? () => to.end() : unpiped
    if (state.endEmitted) nextTick(onEnd)
    else this.once('end', onEnd)

    let draining = false
    function onDrain() {
        state.awaiting.delete(to)
        if (state.awaiting.size === 0 && from.listenerCount('data') > 0) from.resume()
    }
    function wait() {
        if (state.pipes.includes(to)) {
            state.awaiting.add(to)
            from.pause()
        }
        if (!draining) {
            draining = true
            to.on('drain', onDrain)
        }
    }
    function onData(chunk) {
        if (to.write(chunk) === false) wait()
    }
    function onError(err) {
        unpiped()
        to.removeListener('error', onError)
        if (to.listenerCount('error') > 0) return
        const s = to._writableState ?? to._readableState
        if (s && !s.errorEmitted) fail(to, err)
        else to.emit('error', err)
    }
    function unpiped() {
        from.unpipe(to)
    }
    function onUnpipe(source, info) {
        if (source !== from || info?.cleaned) return
        if (info) info.cleaned = true
        to.removeListener('close', onClose)
        to.removeListener('finish', onFinish)
        to.removeListener('drain', onDrain)
        to.removeListener('error', onError)
        to.removeListener('unpipe', onUnpipe)
        from.removeListener('end', onEnd)
        from.removeListener('data', onData)
        if (draining && state.awaiting.has(to)) onDrain()
    }
    function onClose() {
        to.removeListener('finish', onFinish)
        unpiped()
    }
    function onFinish() {
        to.removeListener('close', onClose)
        unpiped()
    }
    to.on('unpipe', onUnpipe)
    this.on('data', onData)
    to.prependListener?.('error', onError)
    to.once('close', onClose)
    to.once('finish', onFinish)
    to.emit('pipe', this)
    if (to.writableNeedDrain === true) wait()
    else if (!state.flowing) this.resume()
    return to
}

proto.unpipe = function unpipe(to) {
    const state = this._readableState
    const gone = to ? state.pipes.filter((one) => one === to) : state.pipes
    if (gone.length === 0) return this
    state.pipes = to ? state.pipes.filter((one) => one !== to) : []
    if (state.pipes.length === 0) this.pause()
    for (const one of gone) one.emit('unpipe', this, { cleaned: false })
    return this
}

// A stream of the old kind as the source of this one.
proto.wrap = function wrap(source) {
    source.on('data', (chunk) => {
        if (!this.push(chunk)) source.pause?.()
    })
    source.on('end', () => this.push(null))
    source.on('error', (err) => fail(this, err))
    source.on('close', () => this.destroy())
    this._read = () => source.resume?.()
    return this
}

const getters = {
    readable() {
        const r = this._readableState
        return Boolean(r) && r.readable !== false && !r.destroyed && !r.errorEmitted && !r.endEmitted
    },
    readableDidRead() {
        return this._readableState.dataEmitted
    },
    readableAborted() {
        const r = this._readableState
        return r.readable !== false && (r.destroyed || Boolean(r.errored)) && !r.endEmitted
    },
    readableHighWaterMark() {
        return this._readableState.highWaterMark
    },
    readableBuffer() {
        return this._readableState.buffer
    },
    readableFlowing() {
        return this._readableState.flowing
    },
    readableLength() {
        return this._readableState.length
    },
    readableObjectMode() {
        return this._readableState?.objectMode ?? false
    },
    readableEncoding() {
        return this._readableState?.encoding ?? null
    },
    readableEnded() {
        return this._readableState?.endEmitted ?? false
    },
    errored() {
        return this._readableState?.errored ?? null
    },
    closed() {
        return this._readableState?.closed ?? false
    },
    destroyed() {
        return this._readableState?.destroyed ?? false
    },
}
for (const [name, get] of Object.entries(getters)) Object.defineProperty(proto, name, { get, configurable: true })
Object.defineProperty(proto, 'readable', {
    set(value) {
        if (this._readableState) this._readableState.readable = Boolean(value)
    },
})
Object.defineProperty(proto, 'destroyed', {
    set(value) {
        if (this._readableState) this._readableState.destroyed = Boolean(value)
    },
})
Object.defineProperty(proto, 'readableFlowing', {
    set(value) {
        if (this._readableState) this._readableState.flowing = value
    },
})

require('internal/streams/iterate')(Readable)

Readable.ReadableState = ReadableState
Readable.State = ReadableState
module.exports = Readable
