// What every script finds without requiring it.

const constants = require('haraka-constants')
const timers = require('timers')
const url = require('url')
const util = require('util')
const { Buffer } = require('buffer')

function define(name, value) {
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false })
}

define('global', globalThis)
define('Buffer', Buffer)
define('process', require('process'))
for (const name of ['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'clearImmediate']) {
    define(name, timers[name])
}
define('URL', url.URL)
define('URLSearchParams', url.URLSearchParams)
define('TextEncoder', util.TextEncoder)
define('TextDecoder', util.TextDecoder)
define('structuredClone', (value) => cloned(value, new Map()))
define('queueMicrotask', (run) => {
    if (typeof run !== 'function') throw require('internal/errors').invalidType('callback', 'function', run)
    Promise.resolve().then(() => {
        try {
            run()
        } catch (err) {
            process.uncaught(err)
        }
    })
})
for (const name of ['atob', 'btoa', 'File']) define(name, require('buffer')[name])

// By the structured clone algorithm of HTML, as far as there are such values.
function cloned(value, seen) {
    if (typeof value === 'function' || typeof value === 'symbol') {
        throw Object.assign(new Error(`${String(value)} could not be cloned.`), { name: 'DataCloneError', code: 25 })
    }
    if (typeof value !== 'object' || value === null) return value
    if (seen.has(value)) return seen.get(value)
    const keep = (made) => {
        seen.set(value, made)
        return made
    }
    if (value instanceof Date) return keep(new Date(value.getTime()))
    if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags))
    if (value instanceof ArrayBuffer) return keep(value.slice(0))
    if (value instanceof DataView) return keep(new DataView(value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength)))
    if (value instanceof Uint8Array) return keep(Uint8Array.from(value))
    if (ArrayBuffer.isView(value)) return keep(value.slice())
    if (value instanceof Number || value instanceof String || value instanceof Boolean) return keep(Object(value.valueOf()))
    if (value instanceof Map) {
        const made = keep(new Map())
        for (const [k, v] of value) made.set(cloned(k, seen), cloned(v, seen))
        return made
    }
    if (value instanceof Set) {
        const made = keep(new Set())
        for (const held of value) made.add(cloned(held, seen))
        return made
    }
    if (value instanceof Error) {
        const Kind = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError }[value.name] ?? Error
        const made = keep(new Kind(value.message))
        if (Object.hasOwn(value, 'cause')) made.cause = cloned(value.cause, seen)
        Object.defineProperty(made, 'stack', { value: value.stack, writable: true, configurable: true })
        return made
    }
    if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) {
        throw Object.assign(new Error(`#<${value.constructor.name}> could not be cloned.`), { name: 'DataCloneError', code: 25 })
    }
    const made = keep(Array.isArray(value) ? new Array(value.length) : {})
    for (const key of Object.keys(value)) made[key] = cloned(value[key], seen)
    return made
}

// Made when a script first asks for them: most plugins do not.
function lazily(module, names) {
    for (const name of names) {
        Object.defineProperty(globalThis, name, {
            get: () => require(module)[name],
            set: (value) => define(name, value),
            configurable: true,
            enumerable: false,
        })
    }
}

lazily('perf_hooks', ['performance'])
Object.defineProperty(globalThis, 'crypto', {
    get: () => require('crypto').webcrypto,
    set: (value) => define('crypto', value),
    configurable: true,
    enumerable: false,
})
lazily('internal/web/events', ['AbortController', 'AbortSignal', 'CustomEvent', 'DOMException', 'Event', 'EventTarget'])
lazily('internal/web/fetch', ['fetch', 'Headers', 'Request', 'Response', 'FormData', 'Blob', 'ReadableStream'])

let indent = ''
const say = (level) => (...args) => natives.log.write(level, '-', 'console', indent + util.format(...args), {})
const [counts, clocks] = [new Map(), new Map()]
const elapsed = (label) => `${label}: ${(performance.now() - clocks.get(label)).toFixed(3)}ms`
const console = {
    log: say(6),
    info: say(6),
    debug: say(7),
    trace: (...args) => say(7)(`Trace: ${util.format(...args)}\n${new Error().stack}`),
    warn: say(4),
    error: say(3),
    dir: (value, options) => say(6)(util.inspect(value, { customInspect: false, ...options })),
    dirxml: say(6),
    table: (value) => say(6)(util.inspect(value)),
    assert: (ok, ...args) => ok || say(3)(args.length > 0 ? `Assertion failed: ${util.format(...args)}` : 'Assertion failed'),
    count(label = 'default') {
        counts.set(label, (counts.get(label) ?? 0) + 1)
        console.log(`${label}: ${counts.get(label)}`)
    },
    countReset: (label = 'default') => void counts.delete(label),
    time: (label = 'default') => void clocks.set(label, performance.now()),
    timeLog: (label = 'default', ...args) => clocks.has(label) && console.log(elapsed(label), ...args),
    timeEnd(label = 'default') {
        console.timeLog(label)
        clocks.delete(label)
    },
    group(...args) {
        if (args.length > 0) console.log(...args)
        indent += '  '
    },
    groupCollapsed: (...args) => console.group(...args),
    groupEnd() {
        indent = indent.slice(2)
    },
}
define('console', console)

// One plugin must not change what these mean to the others; who sets them sets nothing (PB-12).
function fixed(name, value) {
    Object.defineProperty(globalThis, name, { get: () => value, set() {}, configurable: false, enumerable: true })
}
const known = {}
constants.import(known)
for (const [name, code] of Object.entries(known)) fixed(name, code)
fixed('server', require('internal/server'))

// For modules.rs.
const esm = require('internal/esm')
define('__esm', esm)
define('__required', esm.required)

// Plugins were written for both generations of addresses: `a.address` is text, `a.address()` is
// that text as well. The loader turns such calls into these (`rewrite.rs`).
for (const name of ['address', 'host', 'user']) {
    Object.defineProperty(Object.prototype, `${name}$called`, {
        value() {
            const found = this[name]
            return typeof found === 'function' ? found.call(this) : found
        },
        writable: true,
        configurable: true,
        enumerable: false,
    })
}

// What the loader makes of replacing plain text everywhere, and of splitting at blanks. For whatever is no text but has
// such a method, and for text that is not Unicode, the call is as it was written.
function hidden(prototype, name, value) {
    Object.defineProperty(prototype, name, { value, writable: true, configurable: true, enumerable: false })
}
const { splitAtBlanks } = natives.loader
hidden(String.prototype, 'split$blank', function (by) {
    const parts = typeof this === 'string' ? splitAtBlanks(this) : undefined
    return typeof parts === 'string' ? [parts] : (parts ?? this.split(by))
})
hidden(Object.prototype, 'split$blank', function (by) {
    return this.split(by)
})
hidden(String.prototype, 'replace$all', String.prototype.replaceAll)
hidden(Object.prototype, 'replace$all', function (text, by) {
    return this.replace(new RegExp(text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'g'), by)
})

// Functions in compiled form have a mark in the place of their text, which leads to it; see `code.rs`.
const shown = Function.prototype.toString
const { toString } = {
    toString() {
        if (this === toString) return 'function toString() {\n    [native code]\n}'
        const text = shown.call(this)
        return text.charCodeAt(0) === 1 ? (natives.loader.text(text) ?? `function ${this.name}() {\n    [native code]\n}`) : text
    },
}
Object.defineProperty(Function.prototype, 'toString', { value: toString, writable: true, configurable: true, enumerable: false })

// Header fields end in a line break, which V8 passes over in a date.
const parseDate = Date.parse
Date.parse = (text) => parseDate(String(text).trim())
