// The first kind of stream, which all others are: an emitter with a simple pipe.

const EventEmitter = require('events')

function Stream(options) {
    EventEmitter.call(this, options)
}

Object.setPrototypeOf(Stream.prototype, EventEmitter.prototype)
Object.setPrototypeOf(Stream, EventEmitter)

Stream.prototype.pipe = function pipe(to, options) {
    const from = this
    let over = false
    const onData = (chunk) => {
        if (to.writable && to.write(chunk) === false) from.pause?.()
    }
    const onDrain = () => {
        if (from.readable) from.resume?.()
    }
    const onEnd = () => {
        if (over) return
        over = true
        to.end()
    }
    const onClose = () => {
        if (over) return
        over = true
        to.destroy?.()
    }
    function onError(err) {
        clean()
        if (this.listenerCount('error') === 0) this.emit('error', err)
    }
    function clean() {
        from.removeListener('data', onData)
        to.removeListener('drain', onDrain)
        from.removeListener('end', onEnd)
        from.removeListener('close', onClose)
        for (const one of [from, to]) {
            one.removeListener('error', onError)
            one.removeListener('close', clean)
        }
        from.removeListener('end', clean)
    }
    from.on('data', onData)
    to.on('drain', onDrain)
    if (!to._isStdio && options?.end !== false) {
        from.on('end', onEnd)
        from.on('close', onClose)
    }
    from.prependListener('error', onError)
    to.prependListener('error', onError)
    from.on('end', clean)
    from.on('close', clean)
    to.on('close', clean)
    to.emit('pipe', from)
    return to
}

module.exports = Stream
