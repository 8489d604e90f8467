// When a stream is over, and streams one after another as one.

const { coded } = require('internal/streams/common')

const { nextTick } = require('process')

const isReadable = (stream) => typeof stream?.pipe === 'function' && typeof stream.on === 'function' && Boolean(!stream._writableState || stream._readableState || stream.readable)
const isWritable = (stream) => typeof stream?.write === 'function' && typeof stream.on === 'function'

// Calls back once when it is over, well or not. Gives a function that stops watching.
function finished(stream, given, callback) {
    const [options, done] = typeof given === 'function' ? [{}, given] : [given ?? {}, callback]
    const r = stream._readableState
    const w = stream._writableState
    // Requests and responses of http end with their sockets.
    const reads = options.readable ?? Boolean(r ? r.readable !== false : isReadable(stream) && !w)
    const writes = options.writable ?? Boolean(w ? w.writable !== false : isWritable(stream) && !r)
    let readOver = !reads || Boolean(r?.endEmitted)
    let writeOver = !writes || Boolean(w?.finished)
    let called = false

    const finish = (err) => {
        if (called) return
        called = true
        done.call(stream, err)
    }
    const willClose = () => {
        const closes = (side) => !side || (side.autoDestroy && side.emitClose)
        return Boolean(w || r) && closes(w) && closes(r) && !(w?.closed || r?.closed) && reads === Boolean(r) && writes === Boolean(w)
    }
    const maybe = () => {
        if (readOver && writeOver && !willClose()) finish()
    }
    const onFinish = () => {
        writeOver = true
        maybe()
    }
    const onEnd = () => {
        readOver = true
        maybe()
    }
    const onError = (err) => finish(err)
    const onClose = () => {
        const err = w?.errored ?? r?.errored
        if (err) return finish(err)
        if (!readOver && !r?.endEmitted && reads) return finish(coded('ERR_STREAM_PREMATURE_CLOSE', 'Premature close'))
        if (!writeOver && !w?.finished && writes) return finish(coded('ERR_STREAM_PREMATURE_CLOSE', 'Premature close'))
        return finish()
    }
    stream.on('end', onEnd)
    stream.on('finish', onFinish)
    if (options.error !== false) stream.on('error', onError)
    stream.on('close', onClose)

    const closed = Boolean(w?.closed || r?.closed)
    if (closed) nextTick(onClose)
    else if (w?.errorEmitted || r?.errorEmitted) nextTick(() => finish(w?.errored ?? r?.errored))
    else if (readOver && writeOver && !willClose()) nextTick(() => finish())

    const stop = () => {
        called = true
        stream.removeListener('end', onEnd)
        stream.removeListener('finish', onFinish)
        stream.removeListener('error', onError)
        stream.removeListener('close', onClose)
    }
    const { signal } = options
    if (signal) {
        const abort = () => {
            finish(aborted(signal))
        }
        if (signal.aborted) nextTick(abort)
        else signal.addEventListener('abort', abort, { once: true })
    }
    return stop
}

function aborted(signal) {
    const err = coded('ABORT_ERR', 'The operation was aborted')
    Object.defineProperty(err, 'name', { value: 'AbortError', configurable: true, writable: true })
    if (signal?.reason !== undefined) err.cause = signal.reason
    return err
}

exports.addAbortSignal = (signal, stream) => {
    const abort = () => stream.destroy(aborted(signal))
    if (signal.aborted) abort()
    else {
        signal.addEventListener('abort', abort, { once: true })
        finished(stream, () => signal.removeEventListener('abort', abort))
    }
    return stream
}

// Writes all of an iterable.
async function pump(items, to, end) {
    let failure
    let wake = () => {}
    const stop = finished(to, { readable: false }, (err) => {
        failure = err ?? null
        wake()
    })
    to.on('drain', () => wake())
    try {
        for await (const chunk of items) {
            if (failure) throw failure
            if (!to.write(chunk) && failure === undefined) await new Promise((resolve) => (wake = resolve))
        }
        if (end) {
            to.end()
            while (failure === undefined) await new Promise((resolve) => (wake = resolve))
        }
        if (failure) throw failure
    } finally {
        stop()
    }
}

function pipeline(...given) {
    const done = typeof given.at(-1) === 'function' ? given.pop() : undefined
    if (!done) throw coded('ERR_INVALID_ARG_TYPE', 'The "streams[stream.length - 1]" property must be of type function', TypeError)
    const streams = given.length === 1 && Array.isArray(given[0]) ? given[0] : given
    return run(streams, done, {})
}

function run(streams, callback, options) {
    if (streams.length < 2) throw coded('ERR_MISSING_ARGS', 'The "streams" argument must be specified', TypeError)
    const { PassThrough } = require('internal/streams/duplex')
    const end = options.end !== false
    const parts = []
    let waiting = 1
    let failure
    let value
    let over = false

    const settle = (err) => {
        // A premature close tells less than what was the reason for it.
        if (err && (!failure || failure.code === 'ERR_STREAM_PREMATURE_CLOSE')) failure = err
        waiting--
        if (failure) for (const part of parts) if (!part.destroyed && !isOver(part)) part.destroy?.(failure)
        if (waiting === 0 && !over) {
            over = true
            nextTick(() => callback(failure, value))
        }
    }
    const watch = (part, reading, writing) => {
        parts.push(part)
        waiting++
        finished(part, { readable: reading, writable: writing }, settle)
        // Late errors are nobody's.
        part.on('error', () => {})
    }

    let current
    streams.forEach((part, i) => {
        const last = i === streams.length - 1
        if (typeof part === 'function') {
            const made = i === 0 ? part({ signal: options.signal }) : part(iterable(current), { signal: options.signal })
            if (made?.[Symbol.asyncIterator] || made?.[Symbol.iterator]) {
                current = made
            } else if (typeof made?.then === 'function' && last) {
                waiting++
                made.then(
                    (result) => {
                        value = result
                        settle()
                    },
                    (err) => settle(err ?? new Error(String(err))),
                )
            } else {
                throw coded('ERR_INVALID_RETURN_VALUE', 'Expected AsyncIterable to be returned from a function', TypeError)
            }
            if (last && current === made) {
                const out = new PassThrough({ objectMode: true })
                watch(out, false, true)
                waiting++
                pump(made, out, true).then(() => settle(), settle)
                current = out
            }
            return
        }
        if (isWritable(part) || isReadable(part)) {
            if (i === 0) {
                watch(part, true, false)
            } else {
                watch(part, !last && isReadable(part), true)
                if (isReadable(current) && typeof current.pipe === 'function') {
                    current.pipe(part, { end: end || !last })
                } else {
                    waiting++
                    pump(current, part, end || !last).then(() => settle(), settle)
                }
                if (last && !end) waiting--
            }
            current = part
        } else if (part?.[Symbol.asyncIterator] || part?.[Symbol.iterator]) {
            current = part
        } else {
            throw coded('ERR_INVALID_ARG_TYPE', 'The "source" argument must be a stream, an iterable or a function', TypeError)
        }
    })
    if (options.signal) {
        const abort = () => {
            waiting++
            settle(aborted(options.signal))
        }
        if (options.signal.aborted) nextTick(abort)
        else options.signal.addEventListener('abort', abort, { once: true })
    }
    settle()
    return current
}

const iterable = (source) => (source?.[Symbol.asyncIterator] || source?.[Symbol.iterator] ? source : require('internal/streams/readable').from(source))

function isOver(part) {
    const r = part._readableState
    const w = part._writableState
    return (!r || r.endEmitted || r.readable === false) && (!w || w.finished || w.writable === false)
}

exports.finished = finished
exports.pipeline = pipeline
exports.aborted = aborted
exports.promises = {
    finished: (stream, options) =>
        new Promise((resolve, reject) => {
            finished(stream, options ?? {}, (err) => (err ? reject(err) : resolve()))
        }),
    pipeline: (...streams) =>
        new Promise((resolve, reject) => {
            const last = streams.at(-1)
            const plain = last && typeof last === 'object' && !isReadable(last) && !isWritable(last) && !last[Symbol.asyncIterator] && !last[Symbol.iterator]
            const options = plain ? streams.pop() : {}
            run(streams, (err, value) => (err ? reject(err) : resolve(value)), options)
        }),
}
