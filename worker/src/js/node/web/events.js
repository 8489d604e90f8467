// Events of the web (DOM standard, chapters 2 and 3): targets, and the end of work on demand.

const { coded } = require('internal/streams/common')

class DOMException extends Error {
    #name
    #code

    constructor(message = '', options = 'Error') {
        super(message)
        this.#name = typeof options === 'string' ? options : options?.name ?? 'Error'
        this.#code = { AbortError: 20, TimeoutError: 23, DataCloneError: 25, InvalidStateError: 11 }[this.#name] ?? 0
        if (options?.cause !== undefined) this.cause = options.cause
    }

    get name() {
        return this.#name
    }

    get code() {
        return this.#code
    }
}

class Event {
    #stopped = false
    #prevented = false

    constructor(type, { bubbles = false, cancelable = false, composed = false } = {}) {
        Object.assign(this, { type: String(type), bubbles, cancelable, composed, target: null, currentTarget: null, timeStamp: performance.now() })
    }

    get defaultPrevented() {
        return this.#prevented
    }

    get stopped() {
        return this.#stopped
    }

    preventDefault() {
        if (this.cancelable) this.#prevented = true
    }

    stopPropagation() {}

    stopImmediatePropagation() {
        this.#stopped = true
    }

    composedPath() {
        return this.currentTarget ? [this.currentTarget] : []
    }
}

class CustomEvent extends Event {
    constructor(type, options) {
        super(type, options)
        this.detail = options?.detail ?? null
    }
}

class EventTarget {
    #listeners = new Map()

    addEventListener(type, listener, options) {
        if (listener === null || listener === undefined) return
        const { once = false, capture = Boolean(options === true), signal } = typeof options === 'object' && options ? options : {}
        if (signal?.aborted) return
        const all = this.#listeners.get(type) ?? []
        if (all.some((held) => held.listener === listener && held.capture === capture)) return
        this.#listeners.set(type, [...all, { listener, once, capture }])
        signal?.addEventListener('abort', () => this.removeEventListener(type, listener, options), { once: true })
    }

    removeEventListener(type, listener, options) {
        const capture = options === true || Boolean(options?.capture)
        const left = (this.#listeners.get(type) ?? []).filter((held) => held.listener !== listener || held.capture !== capture)
        if (left.length > 0) this.#listeners.set(type, left)
        else this.#listeners.delete(type)
    }

    dispatchEvent(event) {
        if (!(event instanceof Event)) throw coded('ERR_INVALID_ARG_TYPE', 'The "event" argument must be an instance of Event', TypeError)
        event.target = event.currentTarget = this
        for (const held of this.#listeners.get(event.type) ?? []) {
            if (held.once) this.removeEventListener(event.type, held.listener, { capture: held.capture })
            // A listener's failure is not the dispatcher's.
            try {
                if (typeof held.listener === 'function') held.listener.call(this, event)
                else held.listener.handleEvent(event)
            } catch (err) {
                process.nextTick(() => {
                    throw err
                })
            }
            if (event.stopped) break
        }
        event.currentTarget = null
        return !event.defaultPrevented
    }
}

const MAKE = Symbol('make')

class AbortSignal extends EventTarget {
    #aborted = false
    #reason
    #onabort = null

    constructor(made) {
        super()
        if (made !== MAKE) throw coded('ERR_ILLEGAL_CONSTRUCTOR', 'Illegal constructor', TypeError)
    }

    get aborted() {
        return this.#aborted
    }

    get reason() {
        return this.#reason
    }

    get onabort() {
        return this.#onabort
    }

    set onabort(listener) {
        if (this.#onabort) this.removeEventListener('abort', this.#onabort)
        this.#onabort = listener
        if (listener) this.addEventListener('abort', listener)
    }

    throwIfAborted() {
        if (this.#aborted) throw this.#reason
    }

    static stop(signal, reason) {
        if (signal.#aborted) return
        signal.#aborted = true
        signal.#reason = reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : reason
        signal.dispatchEvent(new Event('abort'))
    }

    static abort(reason) {
        const signal = new AbortSignal(MAKE)
        stop(signal, reason)
        return signal
    }

    static timeout(ms) {
        const signal = new AbortSignal(MAKE)
        const timer = setTimeout(() => stop(signal, new DOMException('The operation was aborted due to timeout', 'TimeoutError')), ms)
        timer.unref?.()
        return signal
    }

    static any(signals) {
        const signal = new AbortSignal(MAKE)
        for (const one of signals) {
            if (one.aborted) stop(signal, one.reason)
            else one.addEventListener('abort', () => stop(signal, one.reason), { once: true })
        }
        return signal
    }
}

const { stop } = AbortSignal
delete AbortSignal.stop

class AbortController {
    #signal = new AbortSignal(MAKE)

    get signal() {
        return this.#signal
    }

    abort(reason) {
        stop(this.#signal, reason)
    }
}

module.exports = { AbortController, AbortSignal, CustomEvent, DOMException, Event, EventTarget }
