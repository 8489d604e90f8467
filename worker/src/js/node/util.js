// What Node's `util` has for plugins: inspection, formatting, inheritance, promises.

const { bytes } = natives

const DEEPEST = 2
const MOST = 100

function quoted(text) {
    return `'${text.replace(/\\/g, '\\\\').replace(/'/g, "\\'").replace(/\n/g, '\\n')}'`
}

function inspect(value, options) {
    const depth = typeof options === 'object' && options?.depth !== undefined ? options.depth : DEEPEST
    return show(value, depth ?? Infinity, [])
}

function show(value, depth, above) {
    if (typeof value === 'string') return quoted(value)
    if (typeof value === 'function') return value.name ? `[Function: ${value.name}]` : '[Function (anonymous)]'
    if (typeof value === 'bigint') return `${value}n`
    if (value === null || typeof value !== 'object') return Object.is(value, -0) ? '-0' : String(value)
    if (above.includes(value)) return '[Circular]'
    if (value instanceof Error) return value.stack ? `${value.name}: ${value.message}\n${value.stack}`.trimEnd() : String(value)
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString()
    if (value instanceof RegExp) return String(value)
    if (value instanceof Uint8Array) {
        const octets = [...value.subarray(0, 50)].map((b) => b.toString(16).padStart(2, '0'))
        return `<Buffer ${octets.join(' ')}${value.length > 50 ? ' ...' : ''}>`
    }
    const name = value.constructor?.name
    if (above.length > depth) return Array.isArray(value) ? '[Array]' : `[${name ?? 'Object'}]`
    const inside = [...above, value]
    const item = (held) => show(held, depth, inside)
    if (Array.isArray(value)) return bracketed('', value.slice(0, MOST).map(item), '[', ']')
    if (value instanceof Map) return bracketed(`Map(${value.size}) `, [...value].map(([k, v]) => `${item(k)} => ${item(v)}`))
    if (value instanceof Set) return bracketed(`Set(${value.size}) `, [...value].map(item))
    const keys = Object.keys(value).slice(0, MOST)
    const key = (k) => (/^[A-Za-z_$][\w$]*$/.test(k) ? k : quoted(k))
    const prefix = name === undefined ? '[Object: null prototype] ' : name === 'Object' ? '' : `${name} `
    return bracketed(prefix, keys.map((k) => `${key(k)}: ${item(value[k])}`))
}

function bracketed(prefix, items, open = '{', close = '}') {
    if (items.length === 0) return `${prefix}${open}${close}`
    const line = items.join(', ')
    if (line.length <= 72 && !line.includes('\n')) return `${prefix}${open} ${line} ${close}`
    const lines = items.map((text) => `  ${text.replace(/\n/g, '\n  ')}`)
    return `${prefix}${open}\n${lines.join(',\n')}\n${close}`
}

function format(first, ...rest) {
    const plain = (value) => (typeof value === 'string' ? value : inspect(value))
    if (typeof first !== 'string') return [first, ...rest].map(plain).join(' ')
    const text = first.replace(/%[sdifjoOc%]/g, (mark) => {
        if (mark === '%%') return '%'
        if (rest.length === 0) return mark
        const value = rest.shift()
        switch (mark) {
            case '%s':
                return typeof value === 'object' && value !== null ? inspect(value) : String(value)
            case '%d':
                return String(Number(value))
            case '%i':
                return String(parseInt(value, 10))
            case '%f':
                return String(parseFloat(value))
            case '%j':
                return JSON.stringify(value)
            case '%c':
                return ''
            default:
                return inspect(value)
        }
    })
    return [text, ...rest.map(plain)].join(' ')
}

const custom = Symbol.for('nodejs.util.promisify.custom')

function promisify(run) {
    if (typeof run !== 'function') throw new TypeError('The "original" argument must be of type function')
    if (run[custom]) return run[custom]
    return function (...args) {
        return new Promise((resolve, reject) => {
            run.call(this, ...args, (err, value) => (err ? reject(err) : resolve(value)))
        })
    }
}
promisify.custom = custom

function callbackify(run) {
    return function (...args) {
        const done = args.pop()
        run.apply(this, args).then(
            (value) => done(null, value),
            (err) => done(err ?? new Error('rejected')),
        )
    }
}

function inherits(child, parent) {
    Object.defineProperty(child, 'super_', { value: parent, writable: true, configurable: true })
    Object.setPrototypeOf(child.prototype, parent.prototype)
}

function isDeepStrictEqual(a, b) {
    if (Object.is(a, b)) return true
    if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
    if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false
    if (a instanceof Date) return a.getTime() === b.getTime()
    if (a instanceof RegExp) return String(a) === String(b)
    if (a instanceof Map || a instanceof Set) return isDeepStrictEqual([...a], [...b])
    const [left, right] = [Object.keys(a), Object.keys(b)]
    return left.length === right.length && left.every((k) => Object.hasOwn(b, k) && isDeepStrictEqual(a[k], b[k]))
}

const tag = (name) => (value) => Object.prototype.toString.call(value) === `[object ${name}]`
const types = {
    isRegExp: tag('RegExp'),
    isDate: tag('Date'),
    isNativeError: (value) => value instanceof Error,
    isPromise: tag('Promise'),
    isMap: tag('Map'),
    isSet: tag('Set'),
    isTypedArray: (value) => ArrayBuffer.isView(value) && !(value instanceof DataView),
    isUint8Array: (value) => value instanceof Uint8Array,
    isArrayBuffer: tag('ArrayBuffer'),
    isAnyArrayBuffer: (value) => tag('ArrayBuffer')(value) || tag('SharedArrayBuffer')(value),
    isArrayBufferView: (value) => ArrayBuffer.isView(value),
    isAsyncFunction: tag('AsyncFunction'),
    isGeneratorFunction: tag('GeneratorFunction'),
    isProxy: () => false,
}

class TextEncoder {
    get encoding() {
        return 'utf-8'
    }

    encode(text = '') {
        return bytes.fromUtf8(String(text))
    }
}

class TextDecoder {
    constructor(label = 'utf-8') {
        this.encoding = String(label).toLowerCase()
        const known = ['utf-8', 'utf8', 'latin1', 'iso-8859-1', 'us-ascii', 'ascii']
        if (!known.includes(this.encoding)) throw new RangeError(`The "${label}" encoding is not supported`)
    }

    decode(given = new Uint8Array()) {
        const octets = ArrayBuffer.isView(given) ? new Uint8Array(given.buffer, given.byteOffset, given.byteLength) : new Uint8Array(given)
        return this.encoding.startsWith('utf') ? bytes.toUtf8(octets) : bytes.toLatin1(octets)
    }
}

inspect.custom = Symbol.for('nodejs.util.inspect.custom')
inspect.colors = {}
inspect.styles = {}
inspect.defaultOptions = {}

module.exports = {
    TextDecoder,
    TextEncoder,
    callbackify,
    debuglog: () => () => {},
    deprecate: (run) => run,
    format,
    inherits,
    inspect,
    isArray: Array.isArray,
    isDeepStrictEqual,
    promisify,
    stripVTControlCharacters: (text) => String(text).replace(/\u001b\[[0-9;]*[A-Za-z]/g, ''),
    toUSVString: (text) => String(text).toWellFormed(),
    types,
}
