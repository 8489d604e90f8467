// Scripts that plugins make at run time. There is one realm: a context is an object whose properties
// a script sees as its variables, beside those that the language itself has.

const { invalidType, absent } = require('internal/errors')
const { loader } = natives

const contexts = new WeakMap()

// What a script finds without the context having it.
const LANGUAGE = new Set([
    'Object', 'Function', 'Array', 'Number', 'parseFloat', 'parseInt', 'Infinity', 'NaN', 'undefined', 'Boolean', 'String',
    'Symbol', 'Date', 'Promise', 'RegExp', 'Error', 'AggregateError', 'EvalError', 'RangeError', 'ReferenceError',
    'SyntaxError', 'TypeError', 'URIError', 'JSON', 'Math', 'ArrayBuffer', 'Atomics', 'Uint8Array', 'Int8Array',
    'Uint16Array', 'Int16Array', 'Uint32Array', 'Int32Array', 'Float32Array', 'Float64Array', 'Uint8ClampedArray',
    'BigUint64Array', 'BigInt64Array', 'DataView', 'Map', 'BigInt', 'Set', 'WeakMap', 'WeakSet', 'WeakRef', 'Proxy',
    'Reflect', 'FinalizationRegistry', 'decodeURI', 'decodeURIComponent', 'encodeURI', 'encodeURIComponent', 'escape',
    'unescape', 'eval', 'isFinite', 'isNaN', 'SharedArrayBuffer',
])

const fileOf = (options) => (typeof options === 'string' ? options : (options?.filename ?? 'evalmachine.<anonymous>'))

function scopeOf(sandbox) {
    const scope = new Proxy(sandbox, {
        // All names lead here, so that none is found in the server's own scope.
        has: (_held, name) => typeof name === 'string',
        get(held, name) {
            if (name === Symbol.unscopables) return undefined
            if (name in held) return held[name]
            if (name === 'globalThis') return held
            if (LANGUAGE.has(name)) return globalThis[name]
            throw new ReferenceError(`${String(name)} is not defined`)
        },
    })
    return scope
}

// Names that a script declares at its top: they become properties of the context.
function declared(text) {
    const out = new Set()
    for (const [, kind, name] of text.matchAll(/(?:^|[;{}])[ \t]*(var|(?:async\s+)?function\s*\*?)\s+([\w$]+)/gm)) out.add(`${kind}\0${name}`.split('\0')[1])
    for (const [, list] of text.matchAll(/(?:^|[;{}])[ \t]*var\s+([^;=\n]+(?:,[^;\n]+)?)/gm)) {
        for (const [name] of list.matchAll(/(?<=^|,\s*)[\w$]+/g)) out.add(name)
    }
    return [...out].filter((name) => !/^\d/.test(name))
}

class Script {
    #text
    #file

    constructor(text, options) {
        this.#text = String(text)
        this.#file = fileOf(options)
        // A syntax error shows now, not at the first run.
        loader.evaluate(this.#file, `(function () {\nif (false) {\n${this.#text}\n}\n})`)
    }

    runInThisContext() {
        return loader.evaluate(this.#file, this.#text)
    }

    runInContext(sandbox) {
        if (!contexts.has(sandbox)) throw invalidType('contextifiedObject', 'vm.Context', sandbox)
        const names = declared(this.#text)
        const strict = /^\s*(['"])use strict\1/.test(this.#text) ? '"use strict";' : ''
        const bring = names.map((name) => `try { $keep(${JSON.stringify(name)}, eval(${JSON.stringify(name)})) } catch (e) {}`).join(';')
        const outer = loader.evaluate(
            this.#file,
            `(function ($scope) { with ($scope) { return (function () { ${strict ? 'return eval($text)' : `var $value = eval($text); ${bring}; return $value`} }).call(globalThis) } })`,
        )
        const keep = (name, value) => {
            sandbox[name] = value
        }
        const scope = contexts.get(sandbox)
        sandbox.$text = this.#text
        sandbox.$keep = keep
        try {
            return outer(scope)
        } finally {
            delete sandbox.$text
            delete sandbox.$keep
        }
    }

    runInNewContext(sandbox = {}, options) {
        return this.runInContext(createContext(sandbox), options)
    }

    createCachedData() {
        return require('buffer').Buffer.alloc(0)
    }
}

function createContext(sandbox = {}) {
    if (typeof sandbox !== 'object' || sandbox === null) throw invalidType('contextObject', 'object', sandbox)
    if (!contexts.has(sandbox)) contexts.set(sandbox, scopeOf(sandbox))
    return sandbox
}

Object.assign(exports, {
    Script,
    createContext,
    isContext(sandbox) {
        if (typeof sandbox !== 'object' || sandbox === null) throw invalidType('object', 'Object', sandbox)
        return contexts.has(sandbox)
    },
    createScript: (text, options) => new Script(text, options),
    runInThisContext: (text, options) => new Script(text, options).runInThisContext(),
    runInContext: (text, sandbox, options) => new Script(text, options).runInContext(sandbox),
    runInNewContext: (text, sandbox, options) => new Script(text, options).runInNewContext(sandbox),
    compileFunction(text, names = [], options = {}) {
        return loader.evaluate(fileOf(options), `(function (${names.join(', ')}) {${text}\n})`)
    },
    measureMemory() {
        throw absent('vm.measureMemory')
    },
    constants: {},
})
