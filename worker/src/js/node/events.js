// Event emitters. Objects that inherit the old way may never run the constructor, so what they need
// is made on demand. Each event has a function, or a list of them that is replaced when it changes.

const { coded, invalidType, outOfRange } = require('internal/errors')

let most = 10

const monitor = Symbol('events.errorMonitor')

function EventEmitter() {
    EventEmitter.init.call(this)
}

EventEmitter.init = function () {
    if (this._events === undefined || this._events === Object.getPrototypeOf(this)._events) {
        this._events = Object.create(null)
        this._eventsCount = 0
    }
    this._maxListeners = this._maxListeners || undefined
}

function eventsOf(emitter) {
    if (emitter._events === undefined) {
        emitter._events = Object.create(null)
        emitter._eventsCount = 0
    }
    return emitter._events
}

const listOf = (held) => (held === undefined ? [] : typeof held === 'function' ? [held] : held)
const original = (listener) => listener.listener ?? listener

function check(listener) {
    if (typeof listener !== 'function') throw invalidType('listener', 'function', listener)
}

function add(emitter, event, listener, front) {
    check(listener)
    let events = eventsOf(emitter)
    if (events.newListener !== undefined) {
        emitter.emit('newListener', event, original(listener))
        events = emitter._events
    }
    const held = events[event]
    if (held === undefined) {
        events[event] = listener
        emitter._eventsCount += 1
        return emitter
    }
    const list = front ? [listener, ...listOf(held)] : [...listOf(held), listener]
    if (typeof held !== 'function' && held.warned) list.warned = true
    events[event] = list
    const limit = emitter.getMaxListeners()
    if (limit > 0 && list.length > limit && !list.warned) {
        list.warned = true
        const name = emitter.constructor?.name ?? 'EventEmitter'
        const text = `Possible EventEmitter memory leak detected. ${list.length} ${String(event)} listeners added to [${name}]. Use emitter.setMaxListeners() to increase limit`
        natives.log.write(4, '-', 'plugins', `MaxListenersExceededWarning: ${text}`, {})
    }
    return emitter
}

function onceOf(emitter, event, listener) {
    check(listener)
    const wrapped = function (...args) {
        emitter.removeListener(event, wrapped)
        return listener.apply(emitter, args)
    }
    wrapped.listener = listener
    return wrapped
}

const methods = {
    emit(event, ...args) {
        const events = this._events
        if (event === 'error') {
            if (events?.[monitor] !== undefined) this.emit(monitor, ...args)
            if (events?.error === undefined) throw unheard(args[0])
        }
        const held = events?.[event]
        if (held === undefined) return false
        if (typeof held === 'function') held.apply(this, args)
        // The list is never changed in place, so this round has the listeners of its beginning.
        else for (const listener of held) listener.apply(this, args)
        return true
    },
    on(event, listener) {
        return add(this, event, listener, false)
    },
    prependListener(event, listener) {
        return add(this, event, listener, true)
    },
    once(event, listener) {
        return add(this, event, onceOf(this, event, listener), false)
    },
    prependOnceListener(event, listener) {
        return add(this, event, onceOf(this, event, listener), true)
    },
    off(event, listener) {
        check(listener)
        const events = this._events
        const list = listOf(events?.[event])
        const at = list.findLastIndex((held) => held === listener || held.listener === listener)
        if (at < 0) return this
        const removed = list[at]
        if (list.length === 1) {
            delete events[event]
            this._eventsCount -= 1
        } else {
            const left = list.toSpliced(at, 1)
            if (list.warned) left.warned = true
            events[event] = left.length === 1 && !left.warned ? left[0] : left
        }
        if (events.removeListener !== undefined) this.emit('removeListener', event, original(removed))
        return this
    },
    removeAllListeners(event) {
        const events = eventsOf(this)
        if (events.removeListener === undefined) {
            if (event === undefined) {
                this._events = Object.create(null)
                this._eventsCount = 0
            } else if (events[event] !== undefined) {
                delete events[event]
                this._eventsCount -= 1
            }
            return this
        }
        if (event === undefined) {
            for (const name of Reflect.ownKeys(events)) if (name !== 'removeListener') this.removeAllListeners(name)
            event = 'removeListener'
        }
        for (const listener of listOf(events[event]).toReversed()) this.removeListener(event, listener)
        return this
    },
    listeners(event) {
        return listOf(this._events?.[event]).map(original)
    },
    rawListeners(event) {
        return [...listOf(this._events?.[event])]
    },
    listenerCount(event, listener) {
        const held = this._events?.[event]
        if (listener) return listOf(held).filter((one) => one === listener || one.listener === listener).length
        return held === undefined ? 0 : typeof held === 'function' ? 1 : held.length
    },
    eventNames() {
        return Reflect.ownKeys(this._events ?? {})
    },
    setMaxListeners(n) {
        limit('setMaxListeners', n)
        this._maxListeners = n
        return this
    },
    getMaxListeners() {
        return this._maxListeners ?? most
    },
}

function limit(name, n) {
    if (typeof n !== 'number') throw invalidType(name, 'number', n)
    if (!(n >= 0)) throw outOfRange(name, '>= 0', n)
}

function unheard(error) {
    if (error instanceof Error) return error
    const shown = require('internal/inspect').inspect(error)
    return Object.assign(coded(Error, 'ERR_UNHANDLED_ERROR', `Unhandled error. (${shown})`), { context: error })
}

for (const [name, value] of Object.entries(methods)) EventEmitter.prototype[name] = value
EventEmitter.prototype.addListener = EventEmitter.prototype.on
EventEmitter.prototype.removeListener = EventEmitter.prototype.off
EventEmitter.prototype._events = undefined
EventEmitter.prototype._eventsCount = 0
EventEmitter.prototype._maxListeners = undefined

const aborted = (signal) =>
    Object.assign(new Error('The operation was aborted', { cause: signal.reason }), { name: 'AbortError', code: 'ABORT_ERR' })

// The arguments of the next such event.
EventEmitter.once = (emitter, event, { signal } = {}) =>
    new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(aborted(signal))
        const target = typeof emitter.on !== 'function'
        const [on, off] = target ? ['addEventListener', 'removeEventListener'] : ['once', 'removeListener']
        const end = (settle) => (...args) => {
            emitter[off](event, done)
            if (!target && event !== 'error') emitter.removeListener('error', failed)
            signal?.removeEventListener('abort', stop)
            settle(...args)
        }
        const done = end((...args) => resolve(args))
        const failed = end(reject)
        const stop = end(() => reject(aborted(signal)))
        emitter[on](event, done)
        if (!target && event !== 'error') emitter.once('error', failed)
        signal?.addEventListener('abort', stop)
        return undefined
    })

// All such events, one after another.
EventEmitter.on = (emitter, event, { signal, close = [] } = {}) => {
    if (signal?.aborted) throw aborted(signal)
    const [found, waiting] = [[], []]
    let failure
    let over = false
    const next = (args) => (waiting.length > 0 ? waiting.shift().resolve({ value: args, done: false }) : found.push(args))
    const heard = (...args) => next(args)
    const failed = (err) => {
        if (waiting.length > 0) waiting.shift().reject(err)
        else failure = err
        stop()
    }
    const stop = () => {
        over = true
        emitter.removeListener(event, heard)
        emitter.removeListener('error', failed)
        for (const name of close) emitter.removeListener(name, stop)
        for (const one of waiting.splice(0)) one.resolve({ value: undefined, done: true })
    }
    emitter.on(event, heard)
    if (event !== 'error') emitter.on('error', failed)
    for (const name of close) emitter.on(name, stop)
    signal?.addEventListener('abort', () => failed(aborted(signal)))
    return {
        next() {
            if (found.length > 0) return Promise.resolve({ value: found.shift(), done: false })
            if (failure) {
                const err = failure
                failure = undefined
                return Promise.reject(err)
            }
            if (over) return Promise.resolve({ value: undefined, done: true })
            return new Promise((resolve, reject) => waiting.push({ resolve, reject }))
        },
        return() {
            stop()
            return Promise.resolve({ value: undefined, done: true })
        },
        throw(err) {
            failed(err)
            return Promise.resolve({ value: undefined, done: true })
        },
        [Symbol.asyncIterator]() {
            return this
        },
    }
}

EventEmitter.EventEmitter = EventEmitter
EventEmitter.errorMonitor = monitor
EventEmitter.captureRejectionSymbol = Symbol.for('nodejs.rejection')
EventEmitter.captureRejections = false
EventEmitter.usingDomains = false
EventEmitter.listenerCount = (emitter, event) => emitter.listenerCount(event)
EventEmitter.getEventListeners = (emitter, event) => emitter.listeners?.(event) ?? []
EventEmitter.getMaxListeners = (emitter) => emitter.getMaxListeners?.() ?? most
EventEmitter.setMaxListeners = (n, ...emitters) => {
    limit('setMaxListeners', n)
    if (emitters.length === 0) most = n
    for (const emitter of emitters) emitter.setMaxListeners?.(n)
}
EventEmitter.addAbortListener = (signal, listener) => {
    signal.addEventListener('abort', listener, { once: true })
    return { [Symbol.for('nodejs.dispose')]: () => signal.removeEventListener('abort', listener) }
}
Object.defineProperty(EventEmitter, 'defaultMaxListeners', {
    enumerable: true,
    get: () => most,
    set(n) {
        limit('defaultMaxListeners', n)
        most = n
    },
})

module.exports = EventEmitter
