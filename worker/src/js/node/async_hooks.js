// Values that follow a chain of calls: through timers, ticks, callbacks of the native side, `then` and
// `await`. Each of them notes the values of its time, and brings them back when it runs.
//
// The engine does not tell when it goes on behind an `await`. But that is a job, jobs run in the order in
// which they are queued, and there is something to be seen right before this one is queued: the engine
// looks at `constructor` of a promise that is awaited, and makes a promise of anything else. So a job
// that brings the values back is queued just before.

const { absent, needsFunction } = require('internal/errors')

const NONE = new Map()
let current = NONE
let following = false
let ids = 1

function bound(run) {
    const then = current
    return function (...args) {
        const before = current
        current = then
        try {
            return run.apply(this, args)
        } finally {
            current = before
        }
    }
}

const wrapped = (run) => (typeof run === 'function' ? bound(run) : run)
const { then } = Promise.prototype
const settled = Promise.resolve()
// Promises that were made while values were followed, with those of that time.
const births = new WeakMap()
// What is done here makes and looks at promises as well.
let own = false

function ourselves(step) {
    const before = own
    own = true
    try {
        return step()
    } finally {
        own = before
    }
}

// The job that is queued next behind this promise finds these values.
function next(promise, values) {
    const bring = () => {
        current = values
    }
    ourselves(() => then.call(promise, bring, bring))
}

// Told by the engine: made, or fulfilled with its reactions about to be queued.
function promised(made, promise) {
    if (own) return
    if (made) return void births.set(promise, current)
    const values = births.get(promise)
    if (values === undefined) return
    births.delete(promise)
    next(settled, values)
}

function followPromises() {
    const { resolve } = Promise
    const constructor = {
        get() {
            if (!own && this !== Promise.prototype && this instanceof Promise) next(this, current)
            return Promise
        },
        set(value) {
            Object.defineProperty(this, 'constructor', { value, writable: true, configurable: true, enumerable: true })
        },
        configurable: true,
    }
    const replaced = {
        value: function (done, failed) {
            return ourselves(() => then.call(this, wrapped(done), wrapped(failed)))
        },
        writable: true,
        configurable: true,
    }
    Object.defineProperties(Promise.prototype, { constructor, then: replaced })
    Object.defineProperty(Promise, 'resolve', {
        value: function (value) {
            return ourselves(() => resolve.call(this, value))
        },
        writable: true,
        configurable: true,
    })
}

function followCallbacks() {
    const places = [[globalThis, ['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask']], [require('timers'), ['setTimeout', 'setInterval', 'setImmediate']], [process, ['nextTick']]]
    for (const [place, names] of places) {
        for (const name of names) {
            const original = place[name]
            const replaced = (run, ...args) => original(wrapped(run), ...args)
            place[name] = Object.defineProperties(replaced, Object.getOwnPropertyDescriptors(original))
        }
    }
    const { whenDone, bridge } = natives
    natives.whenDone = (number, done) => whenDone(number, bound(done))
    // Whatever the native side begins, it begins with nothing.
    for (const [name, entry] of Object.entries(bridge)) {
        if (typeof entry !== 'function') continue
        bridge[name] = (...args) => {
            current = NONE
            return entry(...args)
        }
    }
    bridge.promised = promised
}

// Only once there is somebody to follow: calls that nobody follows cost nothing more.
function follow() {
    if (following) return
    following = true
    followPromises()
    followCallbacks()
    natives.hook.followPromises()
}

class AsyncLocalStorage {
    constructor() {
        follow()
    }

    static bind(run) {
        return bound(run)
    }

    static snapshot() {
        return bound((run, ...args) => run(...args))
    }

    run(store, run, ...args) {
        const before = current
        current = new Map(before).set(this, store)
        try {
            return run(...args)
        } finally {
            current = before
        }
    }

    exit(run, ...args) {
        const before = current
        current = new Map(before)
        current.delete(this)
        try {
            return run(...args)
        } finally {
            current = before
        }
    }

    getStore() {
        return current.get(this)
    }

    enterWith(store) {
        current = new Map(current).set(this, store)
    }

    disable() {
        current = new Map(current)
        current.delete(this)
    }
}

class AsyncResource {
    #run
    #id = (ids += 1)

    constructor(type) {
        this.type = type
        this.#run = bound((run, self, args) => run.apply(self, args))
    }

    static bind(run, _type, self) {
        needsFunction('fn', run)
        return bound(self === undefined ? run : run.bind(self))
    }

    bind(run, self) {
        return (...args) => this.runInAsyncScope(run, self, ...args)
    }

    runInAsyncScope(run, self, ...args) {
        return this.#run(run, self, args)
    }

    asyncId() {
        return this.#id
    }

    triggerAsyncId() {
        return 0
    }

    emitDestroy() {
        return this
    }
}

Object.assign(exports, {
    AsyncLocalStorage,
    AsyncResource,
    executionAsyncId: () => 1,
    triggerAsyncId: () => 0,
    executionAsyncResource: () => ({}),
    createHook() {
        throw absent('async_hooks.createHook')
    },
})
