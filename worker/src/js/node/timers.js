// Timers; `fire` is called by the native side.

const { timers } = natives

const running = new Map()

class Timeout {
    constructor(run, args, ms, repeat) {
        this.run = run
        this.args = args
        this.ms = ms
        this.repeat = repeat
        this.number = 0
        this.referenced = true
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

    [Symbol.for('nodejs.dispose')]() {
        this.stop()
    }
}

class Immediate extends Timeout {}

exports.fire = (number) => {
    const timer = running.get(number)
    if (!timer) return
    if (!timer.repeat) running.delete(number)
    timer.run(...timer.args)
}

function make(run, args, ms, repeat) {
    if (typeof run !== 'function') throw require('internal/errors').invalidType('callback', 'function', run)
    return new (ms < 0 ? Immediate : Timeout)(run, args, ms, repeat)
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

const custom = Symbol.for('nodejs.util.promisify.custom')
const aborted = (signal) =>
    Object.assign(new Error('The operation was aborted', { cause: signal.reason }), { name: 'AbortError', code: 'ABORT_ERR' })

// A promise for the time when `begin` calls back, unless it is called off before.
const waiting = (begin, value, { signal } = {}) =>
    new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(aborted(signal))
        const off = () => {
            stop(timer)
            reject(aborted(signal))
        }
        const timer = begin(() => {
            signal?.removeEventListener('abort', off)
            resolve(value)
        })
        signal?.addEventListener('abort', off, { once: true })
        return undefined
    })

exports.promises = {
    setTimeout: (ms, value, options) => waiting((run) => exports.setTimeout(run, ms), value, options),
    setImmediate: (value, options) => waiting((run) => exports.setImmediate(run), value, options),
    async *setInterval(ms, value, options) {
        for (;;) yield await exports.promises.setTimeout(ms, value, options)
    },
}
exports.promises.scheduler = {
    wait: (ms, options) => exports.promises.setTimeout(ms, undefined, options),
    yield: () => exports.promises.setImmediate(),
}
Object.defineProperty(exports.setTimeout, custom, { value: exports.promises.setTimeout })
Object.defineProperty(exports.setImmediate, custom, { value: exports.promises.setImmediate })
