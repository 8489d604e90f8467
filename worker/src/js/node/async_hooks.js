// Values that follow a chain of calls. They go with callbacks of timers, ticks, and `then`; the
// engine does not tell of `await`, after which a function has the value of whoever resumes it.

const { absent, needsFunction } = require('internal/errors')

let current = new Map()
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

// Only from the first use on: calls that nobody follows cost nothing more.
function follow() {
    if (following) return
    following = true
    const { then } = Promise.prototype
    const wrapped = (run) => (typeof run === 'function' && current.size > 0 ? bound(run) : run)
    Object.defineProperty(Promise.prototype, 'then', {
        value: function (done, failed) {
            return then.call(this, wrapped(done), wrapped(failed))
        },
        writable: true,
        configurable: true,
    })
    const places = [[globalThis, ['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask']], [require('timers'), ['setTimeout', 'setInterval', 'setImmediate']], [process, ['nextTick']]]
    for (const [place, names] of places) {
        for (const name of names) {
            const original = place[name]
            const replaced = (run, ...args) => original(wrapped(run), ...args)
            place[name] = Object.defineProperties(replaced, Object.getOwnPropertyDescriptors(original))
        }
    }
}

class AsyncLocalStorage {
    static bind(run) {
        return bound(run)
    }

    static snapshot() {
        return bound((run, ...args) => run(...args))
    }

    run(store, run, ...args) {
        follow()
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
        follow()
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
