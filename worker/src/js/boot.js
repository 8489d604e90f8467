// Runs first, with the ops. Gives the bridge: what the native side may call.
(function boot(natives) {
    'use strict'

    const modules = new Map()

    // Required among built-in modules; `node:` may stand before a name.
    function builtIn(name) {
        if (name.startsWith('node:')) name = name.slice(5)
        const known = modules.get(name)
        if (known) return known.exports
        const module = { id: name, filename: name, exports: {}, loaded: false }
        modules.set(name, module)
        natives.loader.builtIn(name).call(module.exports, module.exports, builtIn, module, name, '', natives)
        module.loaded = true
        return module.exports
    }
    natives.builtIn = builtIn

    // Work under way on the native side, by number: a promise's ends, or who is called.
    const pending = new Map()

    // A promise for the outcome of work that an op has started.
    natives.outcome = (number) => new Promise((resolve, reject) => pending.set(number, { resolve, reject }))

    // As that, with a callback, which runs in the turn in which it is known.
    natives.whenDone = (number, done) => {
        pending.set(number, done)
        return number
    }

    // Nobody waits for it any more; the work is given up.
    natives.callOff = (number) => {
        if (pending.delete(number)) natives.timers.stop(number)
    }

    function settle(number, done, value) {
        const waiting = pending.get(number)
        if (!waiting) return
        pending.delete(number)
        const called = typeof waiting === 'function'
        if (done) return called ? waiting(null, value) : waiting.resolve(value)
        const error = new Error(value.message)
        error.code = value.code
        if (called) waiting(error)
        else waiting.reject(error)
    }

    builtIn('internal/globals')
    const plugins = builtIn('internal/plugin')
    const hooks = builtIn('internal/hooks')
    const live = builtIn('internal/live')
    const body = builtIn('internal/body')
    const timers = builtIn('timers')
    const config = builtIn('haraka-config')

    natives.bridge = {
        settle,
        fire: timers.fire,
        ticks: builtIn('process').ticks,
        changed: config.changed,
        configured: builtIn('internal/logger').configured,
        load: plugins.load,
        shutdown: plugins.shutdown,
        parentSaid: plugins.parentSaid,
        run: hooks.run,
        forget: hooks.forget,
        live: live.ask,
        attachment: body.attachment,
        filterWants: body.filterWants,
        filterRun: body.filterRun,
        owners: live.owners,
    }
    return natives.bridge
})
