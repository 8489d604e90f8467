// Digests and random octets.

const { Buffer } = require('buffer')
const { Transform } = require('stream')
const { crypto } = natives

const octets = (data, encoding) => (typeof data === 'string' ? Buffer.from(data, encoding) : Buffer.from(data.buffer, data.byteOffset, data.byteLength))

class Hash extends Transform {
    #parts = []
    #digest
    #done = false

    constructor(digest) {
        super()
        this.#digest = digest
    }

    update(data, encoding) {
        if (this.#done) throw new Error('Digest already called')
        this.#parts.push(Buffer.from(octets(data, encoding)))
        return this
    }

    digest(encoding) {
        if (this.#done) throw new Error('Digest already called')
        this.#done = true
        const made = this.#digest(Buffer.concat(this.#parts))
        const buffer = Buffer.from(made.buffer)
        return encoding && encoding !== 'buffer' ? buffer.toString(encoding) : buffer
    }

    _transform(chunk, _encoding, done) {
        this.update(chunk)
        done()
    }

    _flush(done) {
        done(null, this.digest())
    }
}

exports.createHash = (name) => {
    crypto.hash(name, Buffer.alloc(0))
    return new Hash((data) => crypto.hash(name, data))
}

exports.createHmac = (name, key) => {
    const secret = octets(key)
    crypto.hmac(name, secret, Buffer.alloc(0))
    return new Hash((data) => crypto.hmac(name, secret, data))
}

exports.hash = (name, data, encoding = 'hex') => exports.createHash(name).update(data).digest(encoding)
exports.getHashes = () => ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512']

exports.randomBytes = (count, done) => {
    const made = Buffer.from(crypto.random(count).buffer)
    if (!done) return made
    setImmediate(done, null, made)
    return undefined
}

exports.randomFillSync = (into) => {
    into.set(crypto.random(into.length))
    return into
}

exports.randomInt = (least, most) => {
    if (most === undefined) [least, most] = [0, least]
    const range = most - least
    if (!(range > 0) || range > 2 ** 48) throw new RangeError('The value of "max" is out of range')
    // Values beyond the last whole multiple would make low results likelier.
    const limit = 2 ** 48 - (2 ** 48 % range)
    for (;;) {
        const number = exports.randomBytes(6).reduce((sum, byte) => sum * 256 + byte, 0)
        if (number < limit) return least + (number % range)
    }
}

exports.randomUUID = () => {
    const octets = exports.randomBytes(16)
    octets[6] = (octets[6] & 0x0f) | 0x40
    octets[8] = (octets[8] & 0x3f) | 0x80
    return octets.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

exports.timingSafeEqual = (a, b) => {
    if (a.length !== b.length) throw new RangeError('Input buffers must have the same byte length')
    let differs = 0
    for (let i = 0; i < a.length; i++) differs |= a[i] ^ b[i]
    return differs === 0
}

exports.webcrypto = { getRandomValues: exports.randomFillSync, randomUUID: exports.randomUUID }
