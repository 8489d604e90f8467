// Values that follow a chain of calls: through what a function waits for, and apart from other chains.
const { AsyncLocalStorage, AsyncResource } = require('async_hooks')
const fs = require('fs')
const timers = require('timers/promises')

const store = new AsyncLocalStorage()
const other = new AsyncLocalStorage()

module.exports = async (out) => {
    // The engine here is told of promises from the next turn on.
    await new Promise((resolve) => setImmediate(resolve))
    const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
    const says = (what) => out(what, store.getStore(), other.getStore())
    const thenable = (failing) => ({ then: (done, failed) => setTimeout(failing ? failed : done, 1, 'thenable') })

    async function chain(name) {
        says(`${name} begins`)
        await null
        says(`${name} nothing`)
        await later(2)
        says(`${name} timer`)
        await Promise.resolve(1).then(() => says(`${name} then`))
        says(`${name} resolved`)
        try {
            await Promise.reject(new Error('no'))
        } catch (err) {
            says(`${name} ${err.message}`)
        }
        try {
            await later(1).then(() => { throw new Error('late') })
        } catch (err) {
            says(`${name} ${err.message}`)
        }
        says(`${name} ${await thenable(false)}`)
        await new Promise((resolve) => process.nextTick(() => { says(`${name} tick`); resolve() }))
        says(`${name} ticked`)
        await new Promise((resolve) => queueMicrotask(resolve))
        says(`${name} microtask`)
        await new Promise((resolve) => fs.stat(__filename, () => { says(`${name} callback`); resolve() }))
        await fs.promises.readFile(__filename)
        says(`${name} read`)
        await Promise.all([later(1), 2, Promise.resolve(3)])
        says(`${name} all`)
        await timers.setTimeout(1)
        says(`${name} timers/promises`)
        for await (const n of numbers()) says(`${name} number ${n}`)
        return inner(name).finally(() => says(`${name} finally`))
    }

    async function inner(name) {
        await 0
        says(`${name} inner`)
    }

    async function* numbers() {
        await null
        yield 1
        says('generator')
        await later(1)
        yield 2
    }

    // One after the other, and interleaved with nothing that speaks.
    await store.run('a', chain, 'first')
    says('outside')
    await store.run('b', () => other.run('x', chain, 'second'))
    says('outside')

    // Interleaved: what each finds, in its own order.
    const found = await Promise.all(['c', 'd', 'e'].map((value) => store.run(value, async () => {
        const seen = []
        for (let i = 0; i < 5; i += 1) {
            await (i % 2 ? null : Promise.resolve())
            seen.push(store.getStore())
            await inner.call(null, 'x').catch(() => 0)
            seen.push(store.getStore())
        }
        return seen.join('')
    })))
    found.forEach((seen) => out(seen))
    says('outside')

    // A promise that one makes and another waits for.
    let open
    const shared = new Promise((resolve) => { open = resolve })
    const waits = ['f', 'g'].map((value) => store.run(value, async () => `${await shared} ${store.getStore()}`))
    store.run('h', () => setTimeout(() => open('opened'), 1))
    out((await Promise.all(waits)).join())
    says('outside')

    // Bound, left, entered.
    const bound = store.run('i', () => AsyncLocalStorage.bind(() => says('bound')))
    bound()
    const snapshot = store.run('j', () => AsyncLocalStorage.snapshot())
    snapshot(() => says('snapshot'))
    const resource = store.run('k', () => new AsyncResource('KIND'))
    resource.runInAsyncScope(() => says('resource'))
    await store.run('l', async () => {
        await store.exit(async () => {
            says('left')
            await null
            says('left, later')
        })
        says('back')
    })
    await (async () => {
        await null
        store.enterWith('m')
        await later(1)
        says('entered')
    })()
    out(Promise.resolve().constructor === Promise, Promise.resolve(settledOnce) === settledOnce)
    class Own extends Promise {}
    await store.run('n', async () => {
        await Own.resolve(1)
        says('own')
        out(Own.resolve(1) instanceof Own, Own.resolve(1).then(() => 1) instanceof Own)
    })
}

const settledOnce = Promise.resolve()
