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
define('structuredClone', (value) => JSON.parse(JSON.stringify(value)))
define('queueMicrotask', (run) => {
    Promise.resolve().then(run)
})
define('atob', (text) => Buffer.from(String(text), 'base64').toString('latin1'))
define('btoa', (text) => Buffer.from(String(text), 'latin1').toString('base64'))
define('performance', { now: () => natives.process.uptime() * 1000, timeOrigin: Date.now() })

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

lazily('internal/web/events', ['AbortController', 'AbortSignal', 'CustomEvent', 'DOMException', 'Event', 'EventTarget'])
lazily('internal/web/fetch', ['fetch', 'Headers', 'Request', 'Response', 'FormData', 'Blob', 'ReadableStream'])

const say = (level) => (...args) => natives.log.write(level, '-', 'console', util.format(...args), {})
define('console', {
    log: say(6),
    info: say(6),
    debug: say(7),
    trace: say(7),
    warn: say(4),
    error: say(3),
    dir: (value) => say(6)(util.inspect(value)),
    table: (value) => say(6)(util.inspect(value)),
    assert: (ok, ...args) => ok || say(3)('Assertion failed', ...args),
    time() {},
    timeEnd() {},
    group() {},
    groupEnd() {},
})

constants.import(globalThis)
define('server', require('internal/server'))

// For modules.rs: what an ES module gets of a CommonJS or built-in one.
const loader = require('internal/loader')
define('__required', (name) => loader.main.require(name))
define('__exportNames', (name) => {
    const found = loader.main.require(name)
    return found === null || !['object', 'function'].includes(typeof found) ? [] : Object.keys(found)
})

// Plugins were written for both generations of addresses: `a.address` is text, `a.address()` is
// that text as well. The loader turns such calls into these.
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

// Header fields end in a line break, which V8 passes over in a date.
const parseDate = Date.parse
Date.parse = (text) => parseDate(String(text).trim())
