// The side of a stream that is written: one piece at a time is under way, the others wait.

const Stream = require('internal/streams/legacy')
const { construct, destroy, fail, undestroy } = require('internal/streams/destroy')
const { Buffer } = require('buffer')
const { coded, levels, octetsOf } = require('internal/streams/common')

const { nextTick } = require('process')

class WritableState {
    constructor(options, side) {
        this.objectMode = Boolean(options.objectMode || (side && options.writableObjectMode))
        this.highWaterMark = levels.of(options, this.objectMode, side && 'writableHighWaterMark')
        this.decodeStrings = options.decodeStrings !== false
        this.defaultEncoding = options.defaultEncoding ?? 'utf8'
        this.length = 0
        this.buffered = []
        this.corked = 0
        this.writing = false
        // Whether _write is on the stack: its callback then counts in the next turn.
        this.sync = false
        this.current = null
        this.needDrain = false
        this.ending = false
        this.ended = false
        this.finished = false
        this.finalCalled = false
        this.prefinished = false
        this.constructing = false
        // Callbacks that were not called; 'finish' waits for them.
        this.pendingcb = 0
        // Callbacks of the next turn.
        this.after = null
        this.onFinish = []
        this.errorEmitted = false
        this.emitClose = options.emitClose !== false
        this.autoDestroy = options.autoDestroy !== false
        this.destroyed = false
        this.errored = null
        this.closed = false
        this.closeEmitted = false
    }

    getBuffer() {
        return this.buffered.slice()
    }

    get bufferedRequestCount() {
        return this.buffered.length
    }
}

function Writable(options) {
    if (!(this instanceof Writable)) return new Writable(options)
    Stream.call(this, options)
    Writable.begin(this, options ?? {}, false)
    construct(this, () => Writable.constructed(this))
}

Writable.begin = (stream, options, side) => {
    const state = new WritableState(options, side)
    Object.defineProperty(stream, '_writableState', { value: state, writable: true, configurable: true, enumerable: false })
    for (const name of ['write', 'writev', 'final', 'destroy', 'construct']) {
        if (typeof options[name] === 'function') stream[`_${name}`] = options[name]
    }
    if (options.signal && !side) require('internal/streams/pipeline').addAbortSignal(options.signal, stream)
}

Writable.constructed = (stream) => {
    const state = stream._writableState
    if (!state.writing) flush(stream, state)
    finishIfDone(stream, state)
}

Object.setPrototypeOf(Writable.prototype, Stream.prototype)
Object.setPrototypeOf(Writable, Stream)

// A Duplex is one too, though it inherits from the other side.
Object.defineProperty(Writable, Symbol.hasInstance, {
    value(object) {
        if (Function.prototype[Symbol.hasInstance].call(this, object)) return true
        return this === Writable && object?._writableState instanceof WritableState
    },
})

const methods = {
    _destroy(err, done) {
        done(err)
    },

    _write(chunk, encoding, done) {
        if (!this._writev) throw coded('ERR_METHOD_NOT_IMPLEMENTED', 'The _write() method is not implemented')
        this._writev([{ chunk, encoding }], done)
    },

    write(chunk, encoding, done) {
        return write(this, chunk, encoding, done) === true
    },

    cork() {
        this._writableState.corked++
    },

    uncork() {
        const state = this._writableState
        if (state.corked === 0) return
        state.corked--
        if (!state.writing) flush(this, state)
    },

    setDefaultEncoding(encoding) {
        const name = String(encoding).toLowerCase()
        if (!Buffer.isEncoding(name)) throw coded('ERR_UNKNOWN_ENCODING', `Unknown encoding: ${encoding}`, TypeError)
        this._writableState.defaultEncoding = name
        return this
    },

    end(chunk, encoding, done) {
        if (typeof chunk === 'function') [chunk, encoding, done] = [null, null, chunk]
        else if (typeof encoding === 'function') [encoding, done] = [null, encoding]
        const state = this._writableState
        let err
        if (chunk !== null && chunk !== undefined) {
            const written = write(this, chunk, encoding)
            if (written instanceof Error) err = written
        }
        if (state.corked) {
            state.corked = 1
            this.uncork()
        }
        if (!err) {
            if (!state.errored && !state.ending) {
                state.ending = true
                finishIfDone(this, state, true)
                state.ended = true
            } else if (state.finished) {
                err = coded('ERR_STREAM_ALREADY_FINISHED', 'Cannot call end after a stream was finished')
            } else if (state.destroyed) {
                err = coded('ERR_STREAM_DESTROYED', 'Cannot call end after a stream was destroyed')
            }
        }
        if (typeof done === 'function') {
            if (err) nextTick(done, err)
            else if (state.finished) nextTick(done, null)
            else if (state.errored) nextTick(done, state.errored)
            else state.onFinish.push(done)
        }
        return this
    },

    destroy(err, done) {
        const state = this._writableState
        if (!state.destroyed && (state.buffered.length > 0 || state.onFinish.length > 0)) {
            nextTick(() => refuse(state))
        }
        return destroy.call(this, err, done)
    },

    _undestroy: undestroy,
}

// True if there is room for more, false if not; an error if it cannot be written.
function write(stream, given, encoding, done) {
    const state = stream._writableState
    let as = encoding
    if (typeof encoding === 'function') [as, done] = [state.defaultEncoding, encoding]
    else if (!as) as = state.defaultEncoding
    else if (as !== 'buffer' && !Buffer.isEncoding(as)) throw coded('ERR_UNKNOWN_ENCODING', `Unknown encoding: ${as}`, TypeError)
    let chunk = given
    if (chunk === null) throw coded('ERR_STREAM_NULL_VALUES', 'May not write null values to stream', TypeError)
    if (!state.objectMode) {
        if (typeof chunk === 'string') {
            if (state.decodeStrings) [chunk, as] = [Buffer.from(chunk, as), 'buffer']
        } else {
            chunk = octetsOf(chunk)
            if (!chunk) {
                const what = 'The "chunk" argument must be of type string or an instance of Buffer, TypedArray, or DataView.'
                throw coded('ERR_INVALID_ARG_TYPE', `${what} Received type ${typeof given}`, TypeError)
            }
            as = 'buffer'
        }
    }
    let err
    if (state.ending) err = coded('ERR_STREAM_WRITE_AFTER_END', 'write after end')
    else if (state.destroyed) err = coded('ERR_STREAM_DESTROYED', 'Cannot call write after a stream was destroyed')
    if (err) {
        if (done) nextTick(done, err)
        fail(stream, err, true)
        return err
    }
    state.pendingcb++
    return accept(stream, state, chunk, as, done)
}

function accept(stream, state, chunk, encoding, done) {
    const size = state.objectMode ? 1 : chunk.length
    state.length += size
    if (state.writing || state.corked || state.errored || state.constructing) {
        state.buffered.push({ chunk, encoding, callback: done })
    } else {
        state.sync = true
        start(stream, state, size, done, () => stream._write(chunk, encoding, (err) => written(stream, state, size, done, err)))
        state.sync = false
    }
    // What was written at once has left room again.
    const room = state.length < state.highWaterMark
    if (!room) state.needDrain = true
    return room && !state.errored && !state.destroyed
}

function start(_stream, state, _size, done, run) {
    state.writing = true
    state.current = done
    run()
}

function written(stream, state, size, done, err) {
    if (!state.writing) {
        fail(stream, coded('ERR_MULTIPLE_CALLBACK', 'Callback called multiple times'))
        return
    }
    const { sync } = state
    state.writing = false
    state.current = null
    state.length -= size
    if (err) {
        void err.stack
        state.errored ??= err
        if (stream._readableState) stream._readableState.errored ??= err
        const report = () => {
            state.pendingcb--
            done?.(err)
            refuse(state)
            fail(stream, err)
        }
        if (sync) nextTick(report)
        else report()
        return
    }
    if (state.buffered.length > 0) flush(stream, state)
    if (!sync) {
        afterwards(stream, state, [done])
    } else if (state.after) {
        state.after.push(done)
    } else {
        state.after = [done]
        nextTick(() => {
            const all = state.after
            state.after = null
            afterwards(stream, state, all)
        })
    }
}

function afterwards(stream, state, callbacks) {
    if (!state.ending && !stream.destroyed && state.length === 0 && state.needDrain) {
        state.needDrain = false
        stream.emit('drain')
    }
    for (const done of callbacks) {
        state.pendingcb--
        done?.(null)
    }
    if (state.destroyed) refuse(state)
    finishIfDone(stream, state)
}

// What waited will never be written.
function refuse(state) {
    if (state.writing) return
    for (const { chunk, callback } of state.buffered.splice(0)) {
        state.length -= state.objectMode ? 1 : chunk.length
        callback?.(state.errored ?? coded('ERR_STREAM_DESTROYED', 'Cannot call write after a stream was destroyed'))
    }
    for (const done of state.onFinish.splice(0)) {
        done(state.errored ?? coded('ERR_STREAM_DESTROYED', 'Cannot call end after a stream was destroyed'))
    }
}

function flush(stream, state) {
    if (state.corked || state.flushing || state.destroyed || state.constructing || state.buffered.length === 0) return
    state.flushing = true
    const { buffered } = state
    if (stream._writev && buffered.length > 1) {
        state.buffered = []
        state.pendingcb -= buffered.length - 1
        const size = state.length
        const done = (err) => {
            for (const { callback } of buffered) callback?.(err)
        }
        state.sync = true
        start(stream, state, size, done, () => stream._writev(buffered, (err) => written(stream, state, size, done, err)))
        state.sync = false
    } else {
        let at = 0
        while (at < buffered.length && !state.writing && !state.destroyed) {
            const { chunk, encoding, callback } = buffered[at++]
            const size = state.objectMode ? 1 : chunk.length
            state.sync = true
            start(stream, state, size, callback, () =>
                stream._write(chunk, encoding, (err) => written(stream, state, size, callback, err)),
            )
            state.sync = false
        }
        state.buffered.splice(0, at)
    }
    state.flushing = false
}

function isDone(state) {
    return (
        state.ending &&
        !state.destroyed &&
        !state.constructing &&
        state.length === 0 &&
        !state.errored &&
        state.buffered.length === 0 &&
        !state.finished &&
        !state.writing &&
        !state.errorEmitted &&
        !state.closeEmitted
    )
}

function finishIfDone(stream, state, sync) {
    if (!isDone(state)) return
    if (!state.prefinished && !state.finalCalled) {
        if (typeof stream._final === 'function' && !state.destroyed) {
            state.finalCalled = true
            final(stream, state)
        } else {
            state.prefinished = true
            stream.emit('prefinish')
        }
    }
    if (state.pendingcb > 0) return
    if (!sync) {
        finish(stream, state)
        return
    }
    state.pendingcb++
    nextTick(() => {
        state.pendingcb--
        if (isDone(state)) finish(stream, state)
    })
}

function final(stream, state) {
    let called = false
    state.pendingcb++
    const done = (err) => {
        if (called) {
            fail(stream, err ?? coded('ERR_MULTIPLE_CALLBACK', 'Callback called multiple times'))
            return
        }
        called = true
        state.pendingcb--
        if (err) {
            for (const one of state.onFinish.splice(0)) one(err)
            fail(stream, err, state.sync)
        } else if (isDone(state)) {
            state.prefinished = true
            stream.emit('prefinish')
            state.pendingcb++
            nextTick(() => {
                state.pendingcb--
                if (isDone(state)) finish(stream, state)
            })
        }
    }
    state.sync = true
    try {
        stream._final(done)
    } catch (err) {
        done(err)
    }
    state.sync = false
}

function finish(stream, state) {
    state.finished = true
    for (const done of state.onFinish.splice(0)) done(null)
    stream.emit('finish')
    if (!state.autoDestroy) return
    const r = stream._readableState
    if (!r || (r.autoDestroy && (r.endEmitted || r.readable === false))) stream.destroy()
}

const getters = {
    writable() {
        const w = this._writableState
        return Boolean(w) && w.writable !== false && !w.destroyed && !w.errored && !w.ending && !w.ended
    },
    writableFinished() {
        return this._writableState?.finished ?? false
    },
    writableObjectMode() {
        return this._writableState?.objectMode ?? false
    },
    writableBuffer() {
        return this._writableState?.getBuffer()
    },
    writableEnded() {
        return this._writableState?.ending ?? false
    },
    writableNeedDrain() {
        const w = this._writableState
        return Boolean(w) && !w.destroyed && !w.ending && w.needDrain
    },
    writableHighWaterMark() {
        return this._writableState?.highWaterMark
    },
    writableCorked() {
        return this._writableState?.corked ?? 0
    },
    writableLength() {
        return this._writableState?.length
    },
    writableAborted() {
        const w = this._writableState
        return w.writable !== false && (w.destroyed || Boolean(w.errored)) && !w.finished
    },
}

// Puts this side's members into a prototype: this one, and that of Duplex.
Writable.into = (prototype) => {
    for (const [name, value] of Object.entries(methods)) {
        Object.defineProperty(prototype, name, { value, writable: true, configurable: true })
    }
    for (const [name, get] of Object.entries(getters)) {
        Object.defineProperty(prototype, name, { get, configurable: true })
    }
    Object.defineProperty(prototype, 'writable', {
        set(value) {
            if (this._writableState) this._writableState.writable = Boolean(value)
        },
    })
}

Writable.into(Writable.prototype)

const own = { errored: null, closed: false, destroyed: false }
for (const name of Object.keys(own)) {
    Object.defineProperty(Writable.prototype, name, {
        get() {
            return this._writableState?.[name] ?? own[name]
        },
        set(value) {
            if (this._writableState && name === 'destroyed') this._writableState.destroyed = value
        },
        configurable: true,
    })
}

Writable.prototype.pipe = function pipe() {
    fail(this, coded('ERR_STREAM_CANNOT_PIPE', 'Cannot pipe, not readable'))
}

Writable.WritableState = WritableState
module.exports = Writable
