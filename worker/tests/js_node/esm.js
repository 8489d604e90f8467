// ES modules: what they export, what they know of themselves, how they meet CommonJS.
const path = require('path')
const { pathToFileURL } = require('url')

const names = (found) => Object.keys(found).sort().join()

module.exports = async (out) => {
    const dir = path.join(__dirname, 'esm')
    const main = await import('./esm/main.mjs')
    out(names(main), main.default.name, main.total, Object.prototype.toString.call(main), Object.isFrozen(main))
    main.add(2)
    out(main.total, (await import('./esm/main.mjs')) === main, (await import(pathToFileURL(path.join(dir, 'main.mjs')).href)) === main)
    const { meta } = main
    out(meta.url === pathToFileURL(path.join(dir, 'main.mjs')).href, path.relative(dir, meta.filename), meta.dirname === dir, names(meta))
    out(main.resolved === pathToFileURL(path.join(dir, 'data.json')).href, main.strict, main.self)
    out(main.created, JSON.stringify(main.data), main.later)
    out((await import('node:path')).default === path, (await import('path')).join === path.join, names(await import('punycode')).includes('toASCII'))

    const cjs = await import('./esm/in.cjs')
    out(names(cjs), cjs.default.value, cjs.value, cjs.default === require('./esm/in.cjs'))
    out(names(await import('./esm/node_modules/typed/index.js')), (await import('./esm/user.mjs')).default)
    const required = require('./esm/plain.mjs')
    out(names(required), required.default, required.named, required.__esModule, require('./esm/named.mjs').__esModule)
    out(require('./esm/whole.mjs')())

    const failed = async (name, of = (n) => import(n)) => {
        try {
            await of(name)
            out(name, 'found')
        } catch (err) {
            out(name, err.name, err.code)
        }
    }
    await failed('./esm/none.mjs')
    await failed('no-such-package')
    await failed('node:none')
    await failed('./esm/throws.mjs')
    await failed('./esm/throws.mjs')
    await failed('./esm/waits.mjs', require)
    const spaced = await import('./esm/a%20b.mjs')
    out(spaced.default, (await import('./esm/plain.mjs?again')).default)
    out(main.read())
}
