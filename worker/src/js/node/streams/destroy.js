// The end of streams, by force or on their own: the order of _destroy, 'error' and 'close' that both
// sides of a stream share.

const { nextTick } = require('process')

// Events between the parts of a stream.
const BUILT = Symbol('built')
const READY = Symbol('ready')

const sides = (stream) => [stream._writableState, stream._readableState]

function each(stream, run) {
    const [w, r] = sides(stream)
    if (w) run(w)
    if (r) run(r)
}

const some = (stream, key) => Boolean(stream._writableState?.[key] || stream._readableState?.[key])

function emitError(stream, err) {
    if (some(stream, 'errorEmitted')) return
    each(stream, (side) => (side.errorEmitted = true))
    stream.emit('error', err)
}

function emitClose(stream) {
    each(stream, (side) => (side.closeEmitted = true))
    if (!some(stream, 'emitClose')) return
    // Sockets tell whether there was an error.
    if (stream._hadError === undefined) stream.emit('close')
    else stream.emit('close', stream._hadError)
}

function note(stream, err) {
    if (!err) return
    void err.stack
    each(stream, (side) => (side.errored ??= err))
}

function tearDown(stream, err, done) {
    let called = false
    const torn = (failed) => {
        if (called) return
        called = true
        note(stream, failed)
        each(stream, (side) => (side.closed = true))
        done?.(failed)
        nextTick(() => {
            if (failed) {
                try {
                    emitError(stream, failed)
                } finally {
                    emitClose(stream)
                }
            } else emitClose(stream)
        })
    }
    try {
        stream._destroy(err ?? null, torn)
    } catch (thrown) {
        torn(thrown)
    }
}

exports.destroy = function destroy(err, done) {
    if (some(this, 'destroyed')) {
        done?.()
        return this
    }
    note(this, err)
    each(this, (side) => (side.destroyed = true))
    if (some(this, 'constructing')) {
        this.once(BUILT, (failed) => tearDown(this, err ?? failed, done))
    } else {
        tearDown(this, err, done)
    }
    return this
}

// Something went wrong inside: the end of the stream, unless it was made without autoDestroy.
exports.fail = (stream, err, sync) => {
    if (some(stream, 'destroyed')) return
    if (some(stream, 'autoDestroy')) {
        stream.destroy(err)
        return
    }
    note(stream, err)
    if (sync) nextTick(() => emitError(stream, err))
    else emitError(stream, err)
}

// Runs _construct, which comes before anything else.
exports.construct = (stream, ready) => {
    if (typeof stream._construct !== 'function') return
    each(stream, (side) => (side.constructing = true))
    stream.once(READY, ready)
    if (stream.listenerCount(READY) > 1) return
    nextTick(() => {
        const built = (err) => {
            each(stream, (side) => (side.constructing = false))
            if (some(stream, 'destroyed')) stream.emit(BUILT, err)
            else if (err) exports.fail(stream, err, true)
            else nextTick(() => stream.emit(READY))
        }
        try {
            stream._construct(built)
        } catch (err) {
            built(err)
        }
    })
}

// Drops what an earlier life left, for objects that are used again.
exports.undestroy = function undestroy() {
    each(this, (side) => {
        Object.assign(side, { closed: false, closeEmitted: false, destroyed: false, errored: null, errorEmitted: false })
        for (const key of ['ended', 'ending', 'finished', 'prefinished', 'finalCalled', 'endEmitted', 'reading']) {
            if (key in side) side[key] = false
        }
    })
}
