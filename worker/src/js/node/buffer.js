// Octets as Node has them.

const { bytes } = natives
const { coded, invalidType, outOfRange } = require('internal/errors')

const MOST = 2 ** 32
const LONGEST_TEXT = 0x1fffffe8

const ENCODINGS = {
    __proto__: null,
    utf8: 'utf8', 'utf-8': 'utf8', latin1: 'latin1', binary: 'latin1', ascii: 'ascii', hex: 'hex', base64: 'base64',
    base64url: 'base64url', ucs2: 'utf16le', 'ucs-2': 'utf16le', utf16le: 'utf16le', 'utf-16le': 'utf16le',
}

function encodingOf(name) {
    if (name === undefined || name === null || name === '') return 'utf8'
    const found = ENCODINGS[name] ?? ENCODINGS[String(name).toLowerCase()]
    if (!found) throw coded(TypeError, 'ERR_UNKNOWN_ENCODING', `Unknown encoding: ${name}`)
    return found
}

function encoded(text, name) {
    switch (encodingOf(name)) {
        case 'utf8':
            return bytes.fromUtf8(text.toWellFormed())
        case 'hex':
            return bytes.fromHex(text)
        case 'base64':
        case 'base64url':
            return bytes.fromBase64(text)
        case 'utf16le':
            return bytes.fromUtf16(text.toWellFormed())
        default:
            return bytes.fromLatin1(text.toWellFormed())
    }
}

function decoded(octets, name) {
    switch (encodingOf(name)) {
        case 'utf8':
            return bytes.toUtf8(octets)
        case 'hex':
            return bytes.toHex(octets)
        case 'base64':
            return bytes.toBase64(octets, false)
        case 'base64url':
            return bytes.toBase64(octets, true)
        case 'ascii':
            return bytes.toLatin1(octets.map((b) => b & 127))
        case 'utf16le':
            return bytes.toUtf16(octets) ?? halves(octets)
        default:
            return bytes.toLatin1(octets)
    }
}

// Text with halves of characters in it.
function halves(octets) {
    let out = ''
    for (let i = 0; i + 1 < octets.length; i += 2) out += String.fromCharCode(octets[i] | (octets[i + 1] << 8))
    return out
}

// The same memory seen as a Buffer.
function view(octets) {
    return new Buffer(octets.buffer, octets.byteOffset, octets.byteLength)
}

function checked(size) {
    if (typeof size !== 'number') throw invalidType('size', 'number', size)
    if (!(size >= 0 && size <= MOST)) throw outOfRange('size', `>= 0 && <= ${MOST}`, size)
    return size
}

// Any view of octets as one of whole octets.
function plain(value, name) {
    if (value instanceof Uint8Array) return value
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    throw invalidType(name, ['Buffer', 'Uint8Array'], value)
}

// A place in the buffer: what is no number is 0, what is beyond an end is that end.
function within(value, otherwise, length) {
    const at = value === undefined ? otherwise : Math.trunc(Number(value)) || 0
    return at < 0 ? 0 : at > length ? length : at
}

const isArrayBuffer = (value) => {
    const tag = Object.prototype.toString.call(value)
    return value instanceof ArrayBuffer || tag === '[object ArrayBuffer]' || tag === '[object SharedArrayBuffer]'
}

class Buffer extends Uint8Array {
    static from(value, encoding, length) {
        if (typeof value === 'string') return view(encoded(value, encoding))
        if (typeof value === 'object' && value !== null) {
            if (isArrayBuffer(value)) return new Buffer(value, encoding, length)
            const inner = value.valueOf?.()
            if (inner !== undefined && inner !== null && inner !== value && (typeof inner === 'string' || typeof inner === 'object')) {
                return Buffer.from(inner, encoding, length)
            }
            if (value instanceof Uint8Array) {
                const made = new Buffer(value.length)
                made.set(value)
                return made
            }
            if (value.length !== undefined || isArrayBuffer(value.buffer)) {
                if (typeof value.length !== 'number' || Number.isNaN(value.length)) return new Buffer(0)
                return view(Uint8Array.from(value, (b) => b & 255))
            }
            if (value.type === 'Buffer' && Array.isArray(value.data)) return Buffer.from(value.data)
            const made = value[Symbol.toPrimitive]?.('string')
            if (typeof made === 'string') return Buffer.from(made, encoding)
        }
        throw invalidType('first argument', ['string', 'Buffer', 'ArrayBuffer', 'Array or an Array-like Object'], value)
    }

    static of(...items) {
        return Buffer.from(items)
    }

    static copyBytesFrom(from, offset = 0, length = from.length - offset) {
        const part = from.subarray(offset, offset + length)
        return Buffer.from(plain(part, 'view'))
    }

    static alloc(size, fill, encoding) {
        const made = new Buffer(checked(size))
        return fill === undefined || fill === 0 || size === 0 ? made : made.fill(fill, encoding)
    }

    static allocUnsafe(size) {
        return new Buffer(checked(size))
    }

    static allocUnsafeSlow(size) {
        return new Buffer(checked(size))
    }

    static isBuffer(value) {
        return value instanceof Buffer
    }

    static isEncoding(name) {
        return typeof name === 'string' && ENCODINGS[name.toLowerCase()] !== undefined
    }

    static byteLength(value, encoding) {
        if (typeof value === 'string') {
            const known = ENCODINGS[encoding] ?? ENCODINGS[String(encoding).toLowerCase()] ?? 'utf8'
            if (known === 'latin1' || known === 'ascii') return value.length
            if (known === 'utf16le') return value.length * 2
            if (known === 'hex') return value.length >>> 1
            if (known === 'utf8') return bytes.utf8Length(value.toWellFormed())
            const bare = value.replace(/={1,2}$/, '').length
            return (bare * 3) >>> 2
        }
        if (ArrayBuffer.isView(value) || isArrayBuffer(value)) return value.byteLength
        throw invalidType('string', ['string', 'Buffer', 'ArrayBuffer'], value)
    }

    static concat(list, length) {
        if (!Array.isArray(list)) throw invalidType('list', 'Array', list)
        if (length === undefined) {
            length = 0
            for (const part of list) length += part.length ?? 0
        }
        const out = new Buffer(Math.max(0, Math.trunc(length)))
        let at = 0
        for (let i = 0; i < list.length; i += 1) {
            const part = list[i]
            if (!(part instanceof Uint8Array)) throw invalidType(`list[${i}]`, ['Buffer', 'Uint8Array'], part)
            const room = out.length - at
            if (room <= 0) break
            out.set(part.length > room ? Uint8Array.prototype.subarray.call(part, 0, room) : part, at)
            at += part.length
        }
        return out
    }

    static compare(a, b) {
        return Math.sign(bytes.compare(plain(a, 'buf1'), plain(b, 'buf2')))
    }

    get parent() {
        return this.buffer
    }

    get offset() {
        return this.byteOffset
    }

    toString(encoding, from, to) {
        if (from === undefined && to === undefined) return this.length === 0 ? '' : decoded(this, encoding)
        const [start, end] = [within(from, 0, this.length), within(to, this.length, this.length)]
        return start >= end ? '' : decoded(this.subarray(start, end), encoding)
    }

    toLocaleString(encoding, from, to) {
        return this.toString(encoding, from, to)
    }

    toJSON() {
        return { type: 'Buffer', data: Array.from(this) }
    }

    equals(other) {
        if (!(other instanceof Uint8Array)) throw invalidType('otherBuffer', ['Buffer', 'Uint8Array'], other)
        return this === other || (this.length === other.length && bytes.compare(this, other) === 0)
    }

    compare(other, start, end, ownStart, ownEnd) {
        const theirs = plain(other, 'target')
        if (start === undefined) return Math.sign(bytes.compare(this, theirs))
        const cut = (octets, from = 0, to = octets.length) => Uint8Array.prototype.subarray.call(octets, from, to)
        return Math.sign(bytes.compare(cut(this, ownStart, ownEnd), cut(theirs, start, end)))
    }

    // Shares memory, unlike that of other arrays.
    slice(from, to) {
        return this.subarray(from, to)
    }

    subarray(from, to) {
        const { length } = this
        const start = placed(from, 0, length)
        const end = placed(to, length, length)
        return new Buffer(this.buffer, this.byteOffset + start, Math.max(0, end - start))
    }

    copy(to, at = 0, from = 0, end = this.length) {
        at = Math.trunc(Number(at)) || 0
        from = Math.trunc(Number(from)) || 0
        if (from < 0 || from > this.length) throw outOfRange('sourceStart', `>= 0 && <= ${this.length}`, from)
        if (at >= to.length || from >= end) return 0
        const part = Uint8Array.prototype.subarray.call(this, from, Math.min(end, this.length, from + to.length - at))
        new Uint8Array(to.buffer, to.byteOffset, to.byteLength).set(part, at)
        return part.length
    }

    write(text, at, length, encoding) {
        if (typeof text !== 'string') throw invalidType('argument', 'string', text)
        if (typeof at === 'string') [at, length, encoding] = [0, undefined, at]
        else if (typeof length === 'string') [length, encoding] = [undefined, length]
        at ??= 0
        if (at < 0 || at > this.length) throw outOfRange('offset', `>= 0 && <= ${this.length}`, at)
        const room = Math.min(length ?? Infinity, this.length - at)
        let part = encoded(text, encoding)
        if (part.length > room) {
            let end = room
            // A character that does not fit is not written in part.
            const kind = encodingOf(encoding)
            if (kind === 'utf8') while (end > 0 && (part[end] & 0xc0) === 0x80) end -= 1
            if (kind === 'utf16le') end -= end % 2
            part = part.subarray(0, end)
        }
        this.set(part, at)
        return part.length
    }

    fill(value, from, to, encoding) {
        if (typeof from === 'string') [from, to, encoding] = [undefined, undefined, from]
        else if (typeof to === 'string') [to, encoding] = [undefined, to]
        const start = from ?? 0
        const end = to ?? this.length
        if (start < 0 || start > this.length) throw outOfRange('offset', `>= 0 && <= ${this.length}`, start)
        if (end < 0 || end > this.length) throw outOfRange('end', `>= 0 && <= ${this.length}`, end)
        if (start >= end) return this
        if (typeof value !== 'string' && !(value instanceof Uint8Array)) {
            Uint8Array.prototype.fill.call(this, Number(value) & 255, start, end)
            return this
        }
        const part = typeof value === 'string' ? encoded(value, encoding) : value
        if (part.length === 0) {
            if (value.length > 0) throw coded(TypeError, 'ERR_INVALID_ARG_VALUE', `The argument 'value' is invalid. Received '${value}'`)
            Uint8Array.prototype.fill.call(this, 0, start, end)
            return this
        }
        this.set(part.subarray(0, end - start), start)
        // What is there is doubled, so that few calls fill much.
        for (let done = part.length; done < end - start; done *= 2) {
            this.copyWithin(start + done, start, start + Math.min(done, end - start - done))
        }
        return this
    }

    indexOf(value, from, encoding) {
        return search(this, value, from, encoding, true)
    }

    lastIndexOf(value, from, encoding) {
        return search(this, value, from, encoding, false)
    }

    includes(value, from, encoding) {
        return this.indexOf(value, from, encoding) >= 0
    }

    swap16() {
        return swapped(this, 2)
    }

    swap32() {
        return swapped(this, 4)
    }

    swap64() {
        return swapped(this, 8)
    }

    latin1Slice(from, to) {
        return this.toString('latin1', from, to)
    }

    utf8Slice(from, to) {
        return this.toString('utf8', from, to)
    }

    hexSlice(from, to) {
        return this.toString('hex', from, to)
    }

    asciiSlice(from, to) {
        return this.toString('ascii', from, to)
    }

    base64Slice(from, to) {
        return this.toString('base64', from, to)
    }

    utf8Write(text, at, length) {
        return this.write(text, at, length, 'utf8')
    }

    latin1Write(text, at, length) {
        return this.write(text, at, length, 'latin1')
    }

    [Symbol.for('nodejs.util.inspect.custom')](_depth, options) {
        const shown = exports.INSPECT_MAX_BYTES
        let text = bytes.toHex(Uint8Array.prototype.subarray.call(this, 0, shown)).replace(/(.{2})(?=.)/g, '$1 ')
        const rest = this.length - shown
        if (rest > 0) text += ` ... ${rest} more byte${rest > 1 ? 's' : ''}`
        const extra = Object.keys(this).filter((key) => !/^\d+$/.test(key))
        for (const key of extra) text += `${text ? ', ' : ''}${key}: ${require('internal/inspect').inspect(this[key], options)}`
        return `<Buffer${text ? ` ${text}` : ''}>`
    }
}

// Where a part begins or ends, from the end if it is negative.
function placed(value, otherwise, length) {
    if (value === undefined) return otherwise
    const at = Math.trunc(Number(value)) || 0
    return at < 0 ? Math.max(0, length + at) : Math.min(at, length)
}

function swapped(buffer, size) {
    if (buffer.length % size !== 0) {
        throw coded(RangeError, 'ERR_INVALID_BUFFER_SIZE', `Buffer size must be a multiple of ${size * 8}-bits`)
    }
    buffer.set(bytes.swapped(buffer, size))
    return buffer
}

function search(buffer, value, from, encoding, forwards) {
    if (typeof from === 'string') [from, encoding] = [undefined, from]
    const { length } = buffer
    let at = Math.trunc(Number(from))
    if (Number.isNaN(at)) at = forwards ? 0 : length
    if (at < 0) at += length
    if (at < 0) {
        if (!forwards) return -1
        at = 0
    }
    if (typeof value === 'number') {
        const method = forwards ? Uint8Array.prototype.indexOf : Uint8Array.prototype.lastIndexOf
        return method.call(buffer, value & 255, at)
    }
    let needle
    if (typeof value === 'string') needle = encoded(value, encoding)
    else if (value instanceof Uint8Array) needle = value
    else throw invalidType('value', ['number', 'string', 'Buffer', 'Uint8Array'], value)
    if (needle.length === 0) return Math.min(at, length)
    if (forwards) return at >= length ? -1 : (bytes.find(buffer, needle, at) ?? -1)
    return bytes.findLast(buffer, needle, Math.min(at, length)) ?? -1
}

// Numbers in either order of octets: name, octets, method of DataView, least and largest.
const NUMBERS = [
    ['UInt8', 1, 'Uint8', 0, 255],
    ['Int8', 1, 'Int8', -128, 127],
    ['UInt16', 2, 'Uint16', 0, 65535],
    ['Int16', 2, 'Int16', -32768, 32767],
    ['UInt32', 4, 'Uint32', 0, 2 ** 32 - 1],
    ['Int32', 4, 'Int32', -(2 ** 31), 2 ** 31 - 1],
    ['Float', 4, 'Float32'],
    ['Double', 8, 'Float64'],
    ['BigUInt64', 8, 'BigUint64', 0n, 2n ** 64n - 1n],
    ['BigInt64', 8, 'BigInt64', -(2n ** 63n), 2n ** 63n - 1n],
]

// One view for each piece of memory, as numbers are read one after another.
const seen = new WeakMap()

function dataOf(buffer) {
    let data = seen.get(buffer.buffer)
    if (!data) seen.set(buffer.buffer, (data = new DataView(buffer.buffer)))
    return data
}

function place(buffer, at, size) {
    if (typeof at !== 'number') throw invalidType('offset', 'number', at)
    const last = buffer.length - size
    if (!Number.isInteger(at)) throw outOfRange('offset', 'an integer', at)
    if (last < 0) throw coded(RangeError, 'ERR_BUFFER_OUT_OF_BOUNDS', 'Attempt to access memory outside buffer bounds')
    if (at < 0 || at > last) throw outOfRange('offset', `>= 0 and <= ${last}`, at)
    return buffer.byteOffset + at
}

function fits(value, least, largest, size) {
    if (least === undefined || (value >= least && value <= largest)) return
    const n = typeof least === 'bigint' ? 'n' : ''
    let range = `>= ${least}${n} and <= ${largest}${n}`
    if (size > 4) {
        const bits = size * 8
        range = least === 0 || least === 0n ? `>= 0${n} and < 2${n} ** ${bits}${n}` : `>= -(2${n} ** ${bits - 1}${n}) and < 2${n} ** ${bits - 1}${n}`
    }
    throw outOfRange('value', range, value)
}

function method(name, value) {
    for (const alias of [name, name.replace('UInt', 'Uint')]) {
        Object.defineProperty(Buffer.prototype, alias, { value, writable: true, configurable: true, enumerable: false })
    }
}

for (const [name, size, access, least, largest] of NUMBERS) {
    const [get, set] = [DataView.prototype[`get${access}`], DataView.prototype[`set${access}`]]
    const big = typeof least === 'bigint'
    for (const end of size === 1 ? [''] : ['LE', 'BE']) {
        const little = end === 'LE'
        method(`read${name}${end}`, function (at = 0) {
            return get.call(dataOf(this), place(this, at, size), little)
        })
        method(`write${name}${end}`, function (value, at = 0) {
            if (!big) value = +value
            else if (typeof value !== 'bigint') throw invalidType('value', 'bigint', value)
            fits(value, least, largest, size)
            set.call(dataOf(this), place(this, at, size), value, little)
            return at + size
        })
    }
}

// Whole numbers of one to six octets.
for (const signed of [false, true]) {
    for (const little of [false, true]) {
        const name = `${signed ? 'Int' : 'UInt'}${little ? 'LE' : 'BE'}`
        method(`read${name}`, function (at, size) {
            width(size)
            place(this, at, size)
            let value = 0
            for (let i = 0; i < size; i++) value = value * 256 + this[little ? at + size - 1 - i : at + i]
            return signed && value >= 2 ** (8 * size - 1) ? value - 2 ** (8 * size) : value
        })
        method(`write${name}`, function (value, at, size) {
            width(size)
            value = +value
            const bits = 8 * size
            const [least, largest] = signed ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1]
            fits(value, least, largest, size)
            place(this, at, size)
            let rest = value < 0 ? value + 2 ** bits : value
            for (let i = 0; i < size; i++) {
                this[little ? at + i : at + size - 1 - i] = rest % 256
                rest = Math.floor(rest / 256)
            }
            return at + size
        })
    }
}

function width(size) {
    if (typeof size !== 'number') throw invalidType('byteLength', 'number', size)
    if (!Number.isInteger(size)) throw outOfRange('byteLength', 'an integer', size)
    if (size < 1 || size > 6) throw outOfRange('byteLength', '>= 1 and <= 6', size)
}

// `new Buffer('text')` and `Buffer('text')` of old code.
const made = (args) => (typeof args[0] === 'number' ? Buffer.alloc(args[0]) : Buffer.from(...args))
const callable = new Proxy(Buffer, {
    apply: (target, _this, args) => made(args),
    construct: (target, args, into) => {
        const old = (into === callable || into === target) && !isArrayBuffer(args[0])
        return old ? made(args) : Reflect.construct(target, args, into)
    },
})
Object.defineProperty(Buffer.prototype, 'constructor', { value: callable, writable: true, configurable: true })
Buffer.poolSize = 8192

// Octets that are read later; enough for what is posted and measured.
class Blob {
    #octets

    constructor(parts = [], { type = '' } = {}) {
        const pieces = [...parts].map((part) => {
            if (part instanceof Blob) return part.#octets
            if (isArrayBuffer(part)) return Buffer.from(part)
            return ArrayBuffer.isView(part) ? plain(part) : Buffer.from(String(part))
        })
        this.#octets = Buffer.concat(pieces)
        this.type = String(type).toLowerCase()
    }

    get size() {
        return this.#octets.length
    }

    async arrayBuffer() {
        return Uint8Array.from(this.#octets).buffer
    }

    async bytes() {
        return Uint8Array.from(this.#octets)
    }

    async text() {
        return this.#octets.toString()
    }

    slice(from, to, type = '') {
        return new Blob([this.#octets.subarray(from, to)], { type })
    }

    get [Symbol.toStringTag]() {
        return 'Blob'
    }
}

class File extends Blob {
    constructor(parts, name, options = {}) {
        super(parts, options)
        this.name = String(name)
        this.lastModified = options.lastModified ?? Date.now()
    }
}

const wrong = (message) => Object.assign(new Error(message), { name: 'InvalidCharacterError', code: 5 })

exports.Blob = Blob
exports.File = File
exports.Buffer = callable
exports.SlowBuffer = callable
exports.INSPECT_MAX_BYTES = 50
exports.kMaxLength = MOST
exports.kStringMaxLength = LONGEST_TEXT
exports.constants = { MAX_LENGTH: MOST, MAX_STRING_LENGTH: LONGEST_TEXT }
exports.isUtf8 = (octets) => bytes.isUtf8(plain(isArrayBuffer(octets) ? new Uint8Array(octets) : octets, 'input'))
exports.isAscii = (octets) => plain(octets, 'input').every((b) => b < 128)
exports.transcode = (octets, from, to) => {
    const text = decoded(plain(octets, 'source'), from)
    const kind = encodingOf(to)
    return view(kind === 'latin1' || kind === 'ascii' ? encoded(text.replace(/[^\0-\xff]/gu, '?'), kind) : encoded(text, kind))
}
exports.atob = (text) => {
    const bare = String(text).replace(/[\t\n\f\r ]/g, '')
    const body = bare.length % 4 === 0 ? bare.replace(/={1,2}$/, '') : bare
    if (/[^A-Za-z0-9+/]/.test(body) || body.length % 4 === 1) throw wrong('The string to be decoded is not correctly encoded.')
    return Buffer.from(body, 'base64').toString('latin1')
}
exports.btoa = (text) => {
    if (/[^\0-\xff]/.test(text)) throw wrong('Invalid character')
    return Buffer.from(String(text), 'latin1').toString('base64')
}
