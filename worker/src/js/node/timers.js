// Timers; `fire` is called by the native side.

const { timers } = natives

const running = new Map()

class Timeout {
    constructor(run, args, ms, repeat) {
        Object.assign(this, { run, args, ms, repeat, number: 0, referenced: true })
        this.start()
    }

    start() {
        this.number = timers.start(this.ms, this.repeat)
        if (this.number === 0) throw new RangeError('too many timers')
        running.set(this.number, this)
    }

    stop() {
        timers.stop(this.number)
        running.delete(this.number)
    }

    refresh() {
        this.stop()
        this.start()
        return this
    }

    ref() {
        this.referenced = true
        return this
    }

    unref() {
        this.referenced = false
        return this
    }

    hasRef() {
        return this.referenced
    }

    close() {
        this.stop()
        return this
    }

    [Symbol.toPrimitive]() {
        return this.number
    }
}

exports.fire = (number) => {
    const timer = running.get(number)
    if (!timer) return
    if (!timer.repeat) running.delete(number)
    timer.run(...timer.args)
}

function make(run, args, ms, repeat) {
    if (typeof run !== 'function') throw new TypeError('The "callback" argument must be of type function')
    return new Timeout(run, args, ms, repeat)
}

function stop(timer) {
    const found = timer instanceof Timeout ? timer : running.get(Number(timer))
    found?.stop()
}

exports.setTimeout = (run, ms, ...args) => make(run, args, Math.max(0, Number(ms) || 0), false)
exports.setInterval = (run, ms, ...args) => make(run, args, Math.max(0, Number(ms) || 0), true)
exports.setImmediate = (run, ...args) => make(run, args, -1, false)
exports.clearTimeout = stop
exports.clearInterval = stop
exports.clearImmediate = stop
exports.promises = {
    setTimeout: (ms, value) => new Promise((resolve) => exports.setTimeout(resolve, ms, value)),
    setImmediate: (value) => new Promise((resolve) => exports.setImmediate(resolve, value)),
}
