// Values as they are shown.
const { inspect } = require('util')

class Point {
    constructor(x, y) {
        this.x = x
        this.y = y
    }
}
class Own {
    [inspect.custom](depth, options, again) {
        return `own ${depth} ${typeof again} ${options.depth}`
    }
}
class Deep extends Point {
    get [Symbol.toStringTag]() {
        return 'Tagged'
    }
}

module.exports = (out) => {
    const show = (value, options) => out(inspect(value, options))
    for (const value of ['a', "it's", 'both \' and "', '\n\t\0\u007f', '\\', 1, -0, 1e21, NaN, 5n, true, null, undefined, Symbol('s'), Symbol()]) show(value)
    for (const value of [[], [1, 2], [1, , 3], [, , 1], new Array(3), ['a', ['b', ['c', ['d']]]], {}, { a: 1 }, { 'a-b': 1, 2: 3, _c: 4, $d: 5 }, { [Symbol('k')]: 1 }, { a: { b: { c: { d: 1 } } } }, Object.create(null), Object.assign(Object.create(null), { x: 1 })]) show(value)
    for (const value of [new Map(), new Map([['a', 1], [{ b: 1 }, [2]]]), new Set(), new Set([1, 'a', { b: 1 }]), new Date(0), new Date(NaN), /a\/b/gi, new Point(1, 2), new Point({ deep: { er: { est: 1 } } }, [1]), new Own(), { own: new Own() }, new Deep(1, 2), new (class extends Map {})([[1, 2]]), new (class Extra extends Array {})(3)]) show(value)
    for (const value of [function named() {}, () => {}, async () => {}, function* gen() {}, async function* agen() {}, class A {}, class B extends Point {}, class {}, Object.assign(() => {}, { a: 1 }), Math.max]) show(value)
    for (const value of [Buffer.from('hello'), Buffer.alloc(60), new Uint8Array([1, 2, 3]), new Float64Array(2), new ArrayBuffer(4), Object(1), Object('str'), Object(true), Object(Symbol('b')), Object(5n), new WeakMap(), new WeakSet(), Math, JSON, globalThis.Reflect === Reflect]) show(value)
    const loop = { name: 'loop', list: [1] }
    loop.self = loop
    loop.list.push(loop, loop.list)
    show(loop)
    show([loop])
    show({ get a() { return 1 }, set b(_v) {}, get c() { return 1 }, set c(_v) {} })
    show({ get a() { return 1 } }, { getters: true })
    show({ a: 1, b: 'two', c: [1, 2, 3], d: { e: { f: { g: 1 } } } }, { depth: 0 })
    show({ a: { b: { c: { d: { e: 1 } } } } }, { depth: null })
    show({ a: { b: { c: { d: { e: 1 } } } } }, { depth: Infinity, compact: false })
    show({ a: 1, b: [1, 2] }, { compact: false })
    show({ b: 2, a: 1 }, { sorted: true })
    show({ a: 1, s: 'x', n: null, u: undefined, f() {}, d: new Date(0) }, { colors: true })
    show(Array.from({ length: 120 }, (_, i) => i))
    show(Array.from({ length: 10 }, (_, i) => 'item ' + 'x'.repeat(i)))
    show(Array.from({ length: 30 }, (_, i) => `name${i}`))
    show(Array.from({ length: 27 }, (_, i) => i * 1000))
    show([1, 2, 3, 4, 5, 6, 7])
    show(['a'.repeat(30), 'b'.repeat(30), 'c'.repeat(30)])
    show({ long: 'x'.repeat(100), other: 'y'.repeat(20) })
    show({ text: 'line one\nline two\nline three which is long enough to be cut at the line' })
    show({ host: 'mail.example.com', port: 25, tls: { cert: 'a', key: 'b', versions: ['TLSv1.2', 'TLSv1.3'] }, list: [{ a: 1 }, { b: 2 }] })
    show([[1, 2, [3, 4, [5, [6]]]], { a: { b: { c: {} } } }])
    show([{ a: 1, b: 2 }, { a: 3, b: 4 }])
    show({ a: [], b: {}, c: new Map(), d: '' })
    show('x'.repeat(20), { maxStringLength: 5 })
    show([1, 2, 3, 4], { maxArrayLength: 2 })
    show(new Map([[{ a: { b: { c: 1 } } }, 1]]), { depth: 0 })
    show(new Set([[1, [2, [3, [4]]]]]))
    show({ a: 123456789.123 }, { numericSeparator: false })
    show(Object.assign([1, 2], { extra: true, 7: 1 }))
    show({ 'x': { y: new Point(1, new Point(2, new Point(3, 4))) } })
    show({ e: Object.assign(new Error('boom'), { stack: 'Error: boom\n    at place' }) })
    show(Object.assign(new TypeError('typed'), { stack: 'TypeError: typed\n    at place', code: 'E_CODE' }))
    show(new URL('http://user:pw@host.test:81/p?q=1#h').searchParams)
    show({ map: new Map([['key', { nested: { more: { evenmore: 1 } } }]]), list: [[[[1]]]] })
}
