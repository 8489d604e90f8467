// Event emitters. Objects that inherit the old way never run a constructor, so listeners are kept
// beside the object and made on demand.

const kept = new WeakMap()

const of = (emitter) => kept.get(emitter)

function list(emitter, event) {
    let all = kept.get(emitter)
    if (!all) kept.set(emitter, (all = new Map()))
    let found = all.get(event)
    if (!found) all.set(event, (found = []))
    return found
}

function add(emitter, event, listener, { front, once }) {
    if (typeof listener !== 'function') throw new TypeError('The "listener" argument must be of type function')
    if (event !== 'newListener' && emitter.listenerCount('newListener') > 0) emitter.emit('newListener', event, listener)
    list(emitter, event)[front ? 'unshift' : 'push']({ listener, once })
    return emitter
}

function EventEmitter() {}

class Methods {

    on(event, listener) {
        return add(this, event, listener, { front: false, once: false })
    }

    once(event, listener) {
        return add(this, event, listener, { front: false, once: true })
    }

    prependListener(event, listener) {
        return add(this, event, listener, { front: true, once: false })
    }

    prependOnceListener(event, listener) {
        return add(this, event, listener, { front: true, once: true })
    }

    off(event, listener) {
        const now = of(this)?.get(event) ?? []
        const at = now.findLastIndex((held) => held.listener === listener)
        if (at >= 0) {
            of(this).set(event, now.toSpliced(at, 1))
            if (event !== 'removeListener') this.emit('removeListener', event, listener)
        }
        return this
    }

    emit(event, ...args) {
        const now = of(this)?.get(event) ?? []
        if (now.length === 0) {
            if (event === 'error') throw args[0] instanceof Error ? args[0] : new Error(`Unhandled error. (${args[0]})`)
            return false
        }
        for (const held of [...now]) {
            if (held.once) this.off(event, held.listener)
            held.listener.apply(this, args)
        }
        return true
    }

    removeAllListeners(event) {
        if (event === undefined) kept.delete(this)
        else of(this)?.delete(event)
        return this
    }

    listeners(event) {
        return (of(this)?.get(event) ?? []).map((held) => held.listener)
    }

    rawListeners(event) {
        return this.listeners(event)
    }

    listenerCount(event) {
        return of(this)?.get(event)?.length ?? 0
    }

    eventNames() {
        return [...(of(this) ?? [])].filter(([, list]) => list.length > 0).map(([event]) => event)
    }

    setMaxListeners(most) {
        Object.defineProperty(this, 'most', { value: most, configurable: true, writable: true })
        return this
    }

    getMaxListeners() {
        return this.most ?? 10
    }
}

for (const name of Object.getOwnPropertyNames(Methods.prototype)) {
    if (name === 'constructor') continue
    const value = Methods.prototype[name]
    Object.defineProperty(EventEmitter.prototype, name, { value, writable: true, configurable: true })
}
EventEmitter.prototype.addListener = EventEmitter.prototype.on
EventEmitter.prototype.removeListener = EventEmitter.prototype.off
EventEmitter.EventEmitter = EventEmitter
EventEmitter.defaultMaxListeners = 10

// The arguments of the next such event.
EventEmitter.once = (emitter, event) =>
    new Promise((resolve, reject) => {
        const failed = (err) => {
            emitter.off(event, done)
            reject(err)
        }
        const done = (...args) => {
            emitter.off('error', failed)
            resolve(args)
        }
        emitter.once(event, done)
        if (event !== 'error') emitter.once('error', failed)
    })

module.exports = EventEmitter
