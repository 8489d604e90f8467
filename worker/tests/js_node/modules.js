// Small modules: channels, stores, the module system, what is absent.
const channels = require('diagnostics_channel')
const { AsyncLocalStorage, AsyncResource } = require('async_hooks')
const { createRequire, isBuiltin, builtinModules } = require('module')

module.exports = async (out) => {
    const channel = channels.channel('mine')
    const heard = (data, name) => out('heard', data, name)
    out(channel.hasSubscribers)
    channels.subscribe('mine', heard)
    channel.publish(1)
    out(channel.hasSubscribers, channels.hasSubscribers('mine'), channels.unsubscribe('mine', heard), channel.hasSubscribers)
    const tracing = channels.tracingChannel('work')
    tracing.subscribe({ start: () => out('start'), end: ({ result }) => out('end', result), error: ({ error }) => out('error', error.message), asyncEnd: ({ result }) => out('async end', result) })
    out(tracing.traceSync((n) => n + 1, {}, null, 1))
    out(await tracing.tracePromise(async (n) => n + 2, {}, null, 1))
    try {
        tracing.traceSync(() => {
            throw new Error('no')
        })
    } catch (err) {
        out(err.message)
    }
    const store = new AsyncLocalStorage()
    out(store.getStore())
    const done = store.run({ id: 7 }, () => {
        out(store.getStore().id)
        setTimeout(() => out('timer', store.getStore().id), 1)
        process.nextTick(() => out('tick', store.getStore().id))
        return new Promise((resolve) => setTimeout(resolve, 2)).then(() => out('then', store.getStore().id))
    })
    out(store.getStore())
    await done
    const bound = store.run(1, () => AsyncResource.bind(() => store.getStore()))
    out(bound(), store.exit(() => store.getStore()))
    out(typeof createRequire(__filename)('./modules.js'), isBuiltin('node:fs'), isBuiltin('none'), builtinModules.includes('fs'))
    out(require('node:path') === require('path'), require('fs/promises') === require('fs').promises, require('util/types') === require('util').types)
    out(require('constants').ENOENT, require('constants').O_CREAT, require('tty').isatty(0), require('worker_threads').isMainThread)
    out(typeof globalThis.atob, typeof structuredClone, typeof queueMicrotask, typeof global.setTimeout, typeof crypto.randomUUID)
    const { PerformanceObserver } = require('perf_hooks')
    out(typeof PerformanceObserver, require('assert/strict').equal === require('assert').strictEqual)
}
