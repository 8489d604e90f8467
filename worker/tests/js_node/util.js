// What is beside inspection: formatting, promises, inheritance, types, arguments, text.
const util = require('util')
const { isDeepStrictEqual, types } = util

const tried = (run) => {
    try {
        return util.inspect(run())
    } catch (err) {
        return `${err.name} ${err.code} ${err.message}`
    }
}

module.exports = async (out) => {
    const show = (name, run) => out(name, tried(run))
    for (const args of [['%s %d %i %f %j %o %O %%', 'a', '42', '42.9', '1.5', { a: 1 }, 1, { b: 2 }, 'rest', { c: 3 }], ['%s', null], ['%s', undefined], ['%s', -0], ['%s', 5n], ['%s', Symbol('x')], ['%s', { a: { b: 1 } }], ['%s', [1, 'a']], ['%s', new Date(0)], ['%d', 'x'], ['%d', {}], ['%i', 'z'], ['%c', 'css'], ['%s'], ['100%', 1], ['a', 'b', 5], [1, 2, '3'], [{ a: 1 }], ['%s', () => 1], ['%j', undefined], ['%x', 1], ['%s', class A { toString() { return 'own' } }], ['%s', new (class B { toString() { return 'own' } })()]]) {
        show('format', () => util.format(...args))
    }
    const pairs = [[1, 1], [1, '1'], [NaN, NaN], [0, -0], [[1, [2]], [1, [2]]], [{ a: 1 }, { a: 1, b: undefined }], [new Map([[1, { a: 1 }]]), new Map([[1, { a: 1 }]])], [new Set([{ a: 1 }, 2]), new Set([2, { a: 1 }])], [new Date(1), new Date(1)], [/a/g, /a/], [Buffer.from('a'), Buffer.from('a')], [new Error('a'), new Error('a')], [new Error('a'), new Error('b')], [Object.create(null), {}], [[, 1], [undefined, 1]], [new Uint8Array(2), Buffer.alloc(2)], [Symbol.for('a'), Symbol.for('a')], [{ a: [1, { b: new Map() }] }, { a: [1, { b: new Map() }] }]]
    for (const [a, b] of pairs) show('equal', () => isDeepStrictEqual(a, b))
    const loop = { a: 1 }
    loop.self = loop
    const other = { a: 1 }
    other.self = other
    show('loops', () => isDeepStrictEqual(loop, other))
    for (const name of ['isDate', 'isRegExp', 'isMap', 'isSet', 'isPromise', 'isNativeError', 'isTypedArray', 'isUint8Array', 'isArrayBuffer', 'isAnyArrayBuffer', 'isAsyncFunction', 'isGeneratorFunction', 'isBoxedPrimitive', 'isArgumentsObject', 'isDataView', 'isWeakMap']) {
        const values = [new Date(), /a/, new Map(), new Set(), Promise.resolve(), new TypeError(), Buffer.alloc(1), new ArrayBuffer(1), async () => {}, function* () {}, Object(1), 1, null, {}, (function () { return arguments })(), new DataView(new ArrayBuffer(1)), new WeakMap()]
        show(name, () => values.map((value) => types[name](value)))
    }
    const old = (a, b, done) => (a > b ? done(new Error('no')) : done(null, a + b))
    out('promisify', await util.promisify(old)(1, 2), await util.promisify(old)(2, 1).catch((err) => err.message))
    const own = () => {}
    own[util.promisify.custom] = async () => 'custom'
    out('custom', await util.promisify(own)())
    show('promisify wrong', () => util.promisify(1))
    out('callbackify', await new Promise((resolve) => util.callbackify(async (n) => n * 2)(4, (err, value) => resolve([err, value]))))
    out('callbackify fails', await new Promise((resolve) => util.callbackify(async () => { throw null })((err) => resolve([err.message, err.code, err.reason]))))
    function Child() {}
    function Parent() {}
    Parent.prototype.hi = () => 'hi'
    util.inherits(Child, Parent)
    out('inherits', new Child().hi(), Child.super_ === Parent, new Child() instanceof Parent)
    show('inherits wrong', () => util.inherits(Child, null))
    show('parseArgs', () => util.parseArgs({ args: ['-f', '--bar', 'b', '--', 'x'], options: { foo: { type: 'boolean', short: 'f' }, bar: { type: 'string' } }, allowPositionals: true }))
    show('parseArgs groups', () => util.parseArgs({ args: ['-abv=1', 'p'], options: { a: { type: 'boolean', short: 'a' }, b: { type: 'boolean', short: 'b' }, v: { type: 'string', short: 'v', multiple: true } }, allowPositionals: true }))
    show('parseArgs unknown', () => util.parseArgs({ args: ['--no'], options: {} }))
    show('parseArgs positional', () => util.parseArgs({ args: ['no'], options: {} }))
    show('parseArgs missing', () => util.parseArgs({ args: ['--s'], options: { s: { type: 'string' } } }))
    show('styleText', () => [util.styleText('red', 'x'), util.styleText(['bold', 'red'], 'x', { validateStream: false })])
    show('strip', () => util.stripVTControlCharacters('\u001b[31mred\u001b[39m'))
    show('toUSVString', () => util.toUSVString('a\ud800b'))
    for (const label of ['utf-8', 'utf8', 'iso-8859-2', 'utf-16le', 'windows-1251', 'shift_jis', 'gbk', 'koi8-r', 'big5', 'nope']) {
        show(label, () => {
            const decoder = new TextDecoder(label)
            return [decoder.encoding, decoder.decode(Uint8Array.from([0x41, 0xc3, 0xa4, 0xe2, 0x82, 0xac, 0x42]))]
        })
    }
    show('fatal', () => new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from([0xff])))
    show('mark', () => [new TextDecoder().decode(Uint8Array.from([0xef, 0xbb, 0xbf, 0x41])), new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from([0xef, 0xbb, 0xbf, 0x41]))])
    show('pieces', () => {
        const decoder = new TextDecoder()
        return [decoder.decode(Uint8Array.from([0xe2, 0x82]), { stream: true }), decoder.decode(Uint8Array.from([0xac]), { stream: true }), decoder.decode()]
    })
    show('encode', () => new TextEncoder().encode('aä€\ud800'))
    show('encodeInto', () => new TextEncoder().encodeInto('aä€', new Uint8Array(4)))
    show('clone', () => structuredClone({ d: new Date(0), m: new Map([[1, new Set([2])]]), r: /a/g, u: undefined, b: new Uint8Array([1]), n: [null, 1n] }))
    show('clone function', () => structuredClone(() => 1))
    show('clone loop', () => {
        const made = structuredClone(loop)
        return made.self === made && made !== loop
    })
    show('errors', () => [util.getSystemErrorName(-2), util.getSystemErrorName(-13)])
    show('old ones', () => [util.isArray([]), util.isString(''), util.isObject(null), util.isFunction(() => 1), util.isError(new Error()), util.isPrimitive(1)])
}
