// What Node's `util` has for plugins: inspection, formatting, inheritance, promises, types, text.

const { bytes, url: text } = natives
const { inspect, format, formatWithOptions, stripped } = require('internal/inspect')
const { coded, invalidType, needsFunction, NUMBERS, MEANINGS } = require('internal/errors')
const equal = require('internal/equal')

const custom = Symbol.for('nodejs.util.promisify.custom')

function promisify(run) {
    needsFunction('original', run)
    if (run[custom]) {
        needsFunction('util.promisify.custom', run[custom])
        return Object.defineProperty(run[custom], custom, { value: run[custom], configurable: true })
    }
    const names = run[promisify.names]
    function promised(...args) {
        return new Promise((resolve, reject) => {
            run.call(this, ...args, (err, ...values) => {
                if (err) return reject(err)
                return resolve(names ? Object.fromEntries(names.map((name, i) => [name, values[i]])) : values[0])
            })
        })
    }
    Object.setPrototypeOf(promised, Object.getPrototypeOf(run))
    Object.defineProperty(promised, custom, { value: promised, configurable: true })
    return Object.defineProperties(promised, Object.getOwnPropertyDescriptors(run))
}
promisify.custom = custom
// Of calls whose callback gets several values: their names in the promise's object.
promisify.names = Symbol('names')

function callbackify(run) {
    needsFunction('original', run)
    function called(...args) {
        const done = args.pop()
        needsFunction('last argument', done)
        run.apply(this, args).then(
            (value) => process.nextTick(done, null, value),
            (err) => {
                if (!err) {
                    err = Object.assign(coded(Error, 'ERR_FALSY_VALUE_REJECTION', 'Promise was rejected with falsy value'), { reason: err })
                }
                process.nextTick(done, err)
            },
        )
    }
    Object.defineProperty(called, 'name', { value: `${run.name}Callbackified`, configurable: true })
    return called
}

function inherits(child, parent) {
    needsFunction('ctor', child)
    needsFunction('superCtor', parent)
    if (parent.prototype === undefined) throw invalidType('superCtor.prototype', 'object', parent.prototype)
    Object.defineProperty(child, 'super_', { value: parent, writable: true, configurable: true })
    Object.setPrototypeOf(child.prototype, parent.prototype)
}

const warned = new Set()

function deprecate(run, message, code) {
    let told = false
    function deprecated(...args) {
        if (!told) {
            told = true
            if (code === undefined || !warned.has(code)) {
                warned.add(code)
                process.emitWarning(message, 'DeprecationWarning', code)
            }
        }
        return new.target ? Reflect.construct(run, args, new.target) : run.apply(this, args)
    }
    Object.setPrototypeOf(deprecated, run)
    if (run.prototype) deprecated.prototype = run.prototype
    return deprecated
}

function debuglog(name) {
    const wanted = String(process.env.NODE_DEBUG ?? '').toUpperCase().split(',')
    const enabled = wanted.includes(String(name).toUpperCase())
    const log = (...args) => enabled && natives.log.write(7, '-', String(name), format(...args), {})
    log.enabled = enabled
    return log
}

const tag = (...names) => (value) => names.includes(Object.prototype.toString.call(value).slice(8, -1))
const kindOf = Function.prototype.call.bind(Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag).get)
const boxed = (name) => (value) => typeof value === 'object' && tag(name)(value)
const types = {
    isRegExp: (value) => value instanceof RegExp,
    isDate: (value) => value instanceof Date,
    isNativeError: (value) => value instanceof Error,
    isPromise: (value) => value instanceof Promise,
    isMap: (value) => value instanceof Map,
    isSet: (value) => value instanceof Set,
    isWeakMap: (value) => value instanceof WeakMap,
    isWeakSet: (value) => value instanceof WeakSet,
    isMapIterator: tag('Map Iterator'),
    isSetIterator: tag('Set Iterator'),
    isTypedArray: (value) => ArrayBuffer.isView(value) && !(value instanceof DataView),
    isArrayBuffer: tag('ArrayBuffer'),
    isSharedArrayBuffer: tag('SharedArrayBuffer'),
    isAnyArrayBuffer: tag('ArrayBuffer', 'SharedArrayBuffer'),
    isArrayBufferView: (value) => ArrayBuffer.isView(value),
    isDataView: (value) => value instanceof DataView,
    isAsyncFunction: tag('AsyncFunction', 'AsyncGeneratorFunction'),
    isGeneratorFunction: tag('GeneratorFunction', 'AsyncGeneratorFunction'),
    isGeneratorObject: tag('Generator'),
    isArgumentsObject: tag('Arguments'),
    isNumberObject: boxed('Number'),
    isStringObject: boxed('String'),
    isBooleanObject: boxed('Boolean'),
    isBigIntObject: boxed('BigInt'),
    isSymbolObject: boxed('Symbol'),
    isModuleNamespaceObject: tag('Module'),
    isExternal: () => false,
    // The engine does not tell.
    isProxy: () => false,
}
types.isBoxedPrimitive = (value) => ['Number', 'String', 'Boolean', 'BigInt', 'Symbol'].some((name) => types[`is${name}Object`](value))
for (const name of ['Uint8', 'Uint8Clamped', 'Uint16', 'Uint32', 'Int8', 'Int16', 'Int32', 'Float32', 'Float64', 'BigInt64', 'BigUint64']) {
    types[`is${name}Array`] = (value) => types.isTypedArray(value) && kindOf(value) === `${name}Array`
}

class TextEncoder {
    get encoding() {
        return 'utf-8'
    }

    encode(given = '') {
        return bytes.fromUtf8(String(given).toWellFormed())
    }

    encodeInto(given, into) {
        const { Buffer } = require('buffer')
        const written = Buffer.from(into.buffer, into.byteOffset, into.byteLength).write(String(given))
        return { read: bytes.toUtf8(into.subarray(0, written)).length, written }
    }
}

class TextDecoder {
    #state
    #fatal
    #keep

    constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
        const encoding = text.encoding(String(label).trim())
        if (!encoding) throw coded(RangeError, 'ERR_ENCODING_NOT_SUPPORTED', `The "${label}" encoding is not supported`)
        this.#fatal = Boolean(fatal)
        this.#keep = Boolean(ignoreBOM)
        Object.defineProperties(this, {
            encoding: { value: encoding, enumerable: true },
            fatal: { value: this.#fatal, enumerable: true },
            ignoreBOM: { value: this.#keep, enumerable: true },
        })
    }

    decode(given = new Uint8Array(), { stream = false } = {}) {
        const octets = ArrayBuffer.isView(given) ? new Uint8Array(given.buffer, given.byteOffset, given.byteLength) : new Uint8Array(given)
        this.#state ??= text.decoder(this.encoding, this.#keep)
        const found = text.decode(this.#state, octets, this.#fatal, !stream)
        if (!stream) this.#state = undefined
        if (found === undefined || found === null) {
            this.#state = undefined
            throw coded(TypeError, 'ERR_ENCODING_INVALID_ENCODED_DATA', `The encoded data was not valid for encoding ${this.encoding}`)
        }
        return found
    }
}

// Nothing that is written to is a terminal, so colours are for those who insist.
function styleText(styles, given, { validateStream = true } = {}) {
    let out = given
    for (const style of [].concat(styles).reverse()) {
        const found = inspect.colors[style]
        if (!found) throw coded(TypeError, 'ERR_INVALID_ARG_VALUE', `The argument 'format' must be one of: ${Object.keys(inspect.colors).map((n) => `'${n}'`).join(', ')}. Received ${inspect(style)}`)
        if (!validateStream) out = `\u001b[${found[0]}m${out}\u001b[${found[1]}m`
    }
    return out
}

// Options of a command line, by a description of them.
function parseArgs({ args = process.argv.slice(2), options = {}, strict = true, allowPositionals = !strict, tokens: wanted = false } = {}) {
    const values = Object.create(null)
    const positionals = []
    const tokens = []
    const long = (short) => Object.keys(options).find((name) => options[name].short === short) ?? short
    const store = (name, value) => {
        if (options[name]?.multiple) (values[name] ??= []).push(value)
        else values[name] = value
    }
    const rest = [...args]
    let index = -1
    while (rest.length > 0) {
        const arg = rest.shift()
        index += 1
        if (arg === '--') {
            tokens.push({ kind: 'option-terminator', index })
            for (const value of rest) tokens.push({ kind: 'positional', index: (index += 1), value })
            positionals.push(...rest.splice(0))
            break
        }
        if (!arg.startsWith('-') || arg === '-') {
            if (strict && !allowPositionals) {
                throw coded(TypeError, 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL', `Unexpected argument '${arg}'. This command does not take positional arguments`)
            }
            positionals.push(arg)
            tokens.push({ kind: 'positional', index, value: arg })
            continue
        }
        if (!arg.startsWith('--') && arg.length > 2 && options[long(arg[1])]?.type !== 'string') {
            // One letter after another; one that takes a value takes what is left.
            const letters = [...arg.slice(1)]
            const takes = letters.findIndex((c) => options[long(c)]?.type === 'string')
            const single = takes < 0 ? letters : letters.slice(0, takes)
            const tail = takes < 0 ? [] : [`-${letters.slice(takes).join('')}`]
            rest.unshift(...single.map((c) => `-${c}`), ...tail)
            index -= 1
            continue
        }
        let [, name, value] = arg.startsWith('--') ? /^--([^=]*)(?:=(.*))?$/s.exec(arg) : [arg, long(arg[1]), arg.slice(2) || undefined]
        const rawName = arg.startsWith('--') ? `--${name}` : `-${arg[1]}`
        const inlineValue = value === undefined ? undefined : true
        const known = options[name]
        if (strict && !known) {
            const hint = allowPositionals ? `. To specify a positional argument starting with a '-', place it at the end of the command after '--', as in '-- "${rawName}"` : ''
            throw coded(TypeError, 'ERR_PARSE_ARGS_UNKNOWN_OPTION', `Unknown option '${rawName}'${hint}`)
        }
        const shown = `${known?.short ? `-${known.short}, ` : ''}--${name}`
        if (known?.type === 'string') {
            if (value === undefined && rest.length > 0 && (!strict || !rest[0].startsWith('-') || rest[0] === '-')) {
                value = rest.shift()
                tokens.push({ kind: 'option', name, rawName, index, value, inlineValue: false })
                index += 1
                store(name, value)
                continue
            }
            if (strict && value === undefined) {
                throw coded(TypeError, 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE', `Option '${shown} <value>' argument missing`)
            }
        } else if (strict && value !== undefined) {
            throw coded(TypeError, 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE', `Option '${shown}' does not take an argument`)
        }
        tokens.push({ kind: 'option', name, rawName, index, value, inlineValue })
        store(name, value ?? true)
    }
    for (const [name, { default: otherwise }] of Object.entries(options)) if (otherwise !== undefined) values[name] ??= otherwise
    return wanted ? { values, positionals, tokens } : { values, positionals }
}

const is = (kind) => (value) => typeof value === kind // eslint-disable-line valid-typeof
const names = new Map(Object.entries(NUMBERS).map(([name, number]) => [-number, [name, MEANINGS[name] ?? name]]))

module.exports = {
    TextDecoder,
    TextEncoder,
    callbackify,
    debug: debuglog,
    debuglog,
    deprecate,
    format,
    formatWithOptions,
    getSystemErrorMap: () => names,
    getSystemErrorName: (number) => names.get(number)?.[0],
    inherits,
    inspect,
    isArray: Array.isArray,
    isBoolean: is('boolean'),
    isBuffer: (value) => require('buffer').Buffer.isBuffer(value),
    isDate: types.isDate,
    isDeepStrictEqual: equal.deepStrict,
    isError: (value) => value instanceof Error,
    isFunction: is('function'),
    isNull: (value) => value === null,
    isNullOrUndefined: (value) => value === null || value === undefined,
    isNumber: is('number'),
    isObject: (value) => value !== null && typeof value === 'object',
    isPrimitive: (value) => value === null || !['object', 'function'].includes(typeof value),
    isRegExp: types.isRegExp,
    isString: is('string'),
    isSymbol: is('symbol'),
    isUndefined: (value) => value === undefined,
    log: (...args) => natives.log.write(6, '-', 'console', format(...args), {}),
    parseArgs,
    promisify,
    stripVTControlCharacters: stripped,
    styleText,
    toUSVString: (given) => String(given).toWellFormed(),
    types,
}
