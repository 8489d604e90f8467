// Octets as Node has them.

const { bytes } = natives

const MOST = 0x7fffffff

function encodingOf(name = 'utf8') {
    switch (String(name).toLowerCase()) {
        case 'utf8':
        case 'utf-8':
            return 'utf8'
        case 'latin1':
        case 'binary':
            return 'latin1'
        case 'ascii':
            return 'ascii'
        case 'hex':
            return 'hex'
        case 'base64':
            return 'base64'
        case 'base64url':
            return 'base64url'
        case 'ucs2':
        case 'ucs-2':
        case 'utf16le':
        case 'utf-16le':
            return 'utf16le'
        default:
            throw new TypeError(`Unknown encoding: ${name}`)
    }
}

function encoded(text, name) {
    switch (encodingOf(name)) {
        case 'utf8':
            return bytes.fromUtf8(text)
        case 'hex':
            return bytes.fromHex(text)
        case 'base64':
        case 'base64url':
            return bytes.fromBase64(text)
        case 'utf16le': {
            const out = new Uint8Array(text.length * 2)
            for (let i = 0; i < text.length; i++) {
                out[2 * i] = text.charCodeAt(i) & 255
                out[2 * i + 1] = text.charCodeAt(i) >> 8
            }
            return out
        }
        default:
            return Uint8Array.from(text, (c) => c.charCodeAt(0) & 255)
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
        case 'utf16le': {
            let out = ''
            for (let i = 0; i + 1 < octets.length; i += 2) out += String.fromCharCode(octets[i] | (octets[i + 1] << 8))
            return out
        }
        default:
            return bytes.toLatin1(octets)
    }
}

// The same memory seen as a Buffer.
function view(octets) {
    return new Buffer(octets.buffer, octets.byteOffset, octets.byteLength)
}

function checked(size) {
    if (typeof size !== 'number' || Number.isNaN(size)) throw new TypeError('The "size" argument must be of type number')
    if (size < 0 || size > MOST) throw new RangeError('The value of "size" is out of range')
    return size
}

class Buffer extends Uint8Array {
    static from(value, encoding, length) {
        if (typeof value === 'string') return view(encoded(value, encoding))
        if (value instanceof ArrayBuffer || Object.prototype.toString.call(value) === '[object SharedArrayBuffer]') {
            return new Buffer(value, encoding, length)
        }
        if (value === null || value === undefined || typeof value === 'number') {
            throw new TypeError('The first argument must be of type string or an instance of Buffer, ArrayBuffer, or Array')
        }
        if (value.type === 'Buffer' && Array.isArray(value.data)) return Buffer.from(value.data)
        const inner = value.valueOf?.()
        if (typeof inner === 'string') return Buffer.from(inner, encoding)
        return view(Uint8Array.from(value, (b) => b & 255))
    }

    static alloc(size, fill, encoding) {
        const made = new Buffer(checked(size))
        return fill === undefined ? made : made.fill(fill, encoding)
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
        try {
            return typeof name === 'string' && encodingOf(name) !== undefined
        } catch {
            return false
        }
    }

    static byteLength(value, encoding) {
        return typeof value === 'string' ? encoded(value, encoding).length : value.byteLength
    }

    static concat(list, length = list.reduce((sum, part) => sum + part.length, 0)) {
        const out = Buffer.alloc(length)
        let at = 0
        for (const part of list) {
            if (at >= length) break
            out.set(part.subarray(0, length - at), at)
            at += part.length
        }
        return out
    }

    static compare(a, b) {
        const shorter = Math.min(a.length, b.length)
        for (let i = 0; i < shorter; i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1
        return Math.sign(a.length - b.length)
    }

    toString(encoding, from = 0, to = this.length) {
        return decoded(from === 0 && to >= this.length ? this : this.subarray(from, to), encoding)
    }

    toJSON() {
        return { type: 'Buffer', data: [...this] }
    }

    equals(other) {
        return Buffer.compare(this, other) === 0
    }

    compare(other) {
        return Buffer.compare(this, other)
    }

    // Shares memory, unlike that of other arrays.
    slice(from, to) {
        return this.subarray(from, to)
    }

    subarray(from, to) {
        return view(super.subarray(from, to))
    }

    copy(to, at = 0, from = 0, end = this.length) {
        const part = super.subarray(from, Math.min(end, from + to.length - at))
        to.set(part, at)
        return part.length
    }

    write(text, at = 0, length, encoding) {
        if (typeof at === 'string') return this.write(text, 0, undefined, at)
        if (typeof length === 'string') return this.write(text, at, undefined, length)
        const part = encoded(text, encoding).subarray(0, Math.min(length ?? Infinity, this.length - at))
        this.set(part, at)
        return part.length
    }

    fill(value, from = 0, to = this.length, encoding = undefined) {
        if (typeof value !== 'string') return super.fill(value, from, to)
        if (typeof from === 'string') [encoding, from] = [from, 0]
        const part = encoded(value, encoding)
        if (part.length === 0) return super.fill(0, from, to)
        for (let i = from; i < to; i++) this[i] = part[(i - from) % part.length]
        return this
    }

    indexOf(value, from = 0, encoding = undefined) {
        if (typeof value === 'number') return super.indexOf(value & 255, from)
        if (typeof from === 'string') [encoding, from] = [from, 0]
        const needle = typeof value === 'string' ? encoded(value, encoding) : value
        const at = from < 0 ? Math.max(0, this.length + from) : from
        return bytes.find(this, needle, at) ?? -1
    }

    lastIndexOf(value, from = this.length, encoding = undefined) {
        if (typeof value === 'number') return super.lastIndexOf(value & 255, from)
        const needle = typeof value === 'string' ? encoded(value, encoding) : value
        for (let at = Math.min(from, this.length - needle.length); at >= 0; at--) {
            if (Buffer.compare(this.subarray(at, at + needle.length), needle) === 0) return at
        }
        return -1
    }

    includes(value, from, encoding) {
        return this.indexOf(value, from, encoding) >= 0
    }

    swap16() {
        for (let i = 0; i + 1 < this.length; i += 2) [this[i], this[i + 1]] = [this[i + 1], this[i]]
        return this
    }
}

// Numbers in either order of octets: name, octets, method of DataView.
const NUMBERS = [
    ['UInt8', 1, 'Uint8'],
    ['Int8', 1, 'Int8'],
    ['UInt16', 2, 'Uint16'],
    ['Int16', 2, 'Int16'],
    ['UInt32', 4, 'Uint32'],
    ['Int32', 4, 'Int32'],
    ['Float', 4, 'Float32'],
    ['Double', 8, 'Float64'],
    ['BigUInt64', 8, 'BigUint64'],
    ['BigInt64', 8, 'BigInt64'],
]

function number(name, size, method, end) {
    const little = end === 'LE'
    const place = (buffer, at) => {
        if (at < 0 || at + size > buffer.length) throw new RangeError('The value of "offset" is out of range')
        return new DataView(buffer.buffer, buffer.byteOffset + at, size)
    }
    const read = function (at = 0) {
        return place(this, at)[`get${method}`](0, little)
    }
    const write = function (value, at = 0) {
        place(this, at)[`set${method}`](0, value, little)
        return at + size
    }
    for (const alias of [name, name.replace('UInt', 'Uint')]) {
        for (const [verb, run] of [['read', read], ['write', write]]) {
            Object.defineProperty(Buffer.prototype, `${verb}${alias}${end}`, { value: run, writable: true, configurable: true })
        }
    }
}

for (const [name, size, method] of NUMBERS) {
    if (size === 1) number(name, size, method, '')
    else for (const end of ['LE', 'BE']) number(name, size, method, end)
}

// `new Buffer('text')` and `Buffer('text')` of old code.
const callable = new Proxy(Buffer, {
    apply: (target, _this, args) => (typeof args[0] === 'number' ? Buffer.alloc(args[0]) : Buffer.from(...args)),
    construct: (target, args, into) =>
        typeof args[0] === 'string' || Array.isArray(args[0]) ? Buffer.from(...args) : Reflect.construct(target, args, into),
})
Object.defineProperty(Buffer.prototype, 'constructor', { value: callable, writable: true, configurable: true })

exports.Buffer = callable
exports.SlowBuffer = callable
exports.kMaxLength = MOST
exports.constants = { MAX_LENGTH: MOST, MAX_STRING_LENGTH: 0x1fffffe8 }
exports.isUtf8 = (octets) => bytes.toUtf8(octets).indexOf('\ufffd') < 0
exports.atob = (text) => Buffer.from(text, 'base64').toString('latin1')
exports.btoa = (text) => Buffer.from(text, 'latin1').toString('base64')
