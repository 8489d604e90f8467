// Digests, ciphers, signatures, keys and random octets.

const { Buffer } = require('buffer')
const stream = require('stream')
const { coded, invalidType, outOfRange, absent, needsFunction } = require('internal/errors')
const keys = require('internal/keys')
const { crypto, cipher } = natives

const asBuffer = (made) => Buffer.from(made.buffer, made.byteOffset, made.byteLength)
const asked = (made, encoding) => (encoding && encoding !== 'buffer' ? asBuffer(made).toString(encoding) : asBuffer(made))

function octets(data, encoding, name = 'data') {
    if (typeof data === 'string') return Buffer.from(data, encoding === 'buffer' ? 'utf8' : encoding)
    if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    if (data instanceof ArrayBuffer) return Buffer.from(data)
    throw invalidType(name, ['string', 'Buffer', 'TypedArray', 'DataView'], data)
}

// Digest and HMAC: streams, and objects with `update` and `digest`.
class Sum extends stream.Transform {
    #sum
    #done = false

    constructor(sum, options) {
        super(options)
        this.#sum = sum
    }

    update(data, encoding) {
        if (this.#done) throw coded(Error, 'ERR_CRYPTO_HASH_FINALIZED', 'Digest already called')
        crypto.update(this.#sum, octets(data, encoding))
        return this
    }

    digest(encoding) {
        if (this.#done) throw coded(Error, 'ERR_CRYPTO_HASH_FINALIZED', 'Digest already called')
        this.#done = true
        return asked(crypto.finish(this.#sum), encoding)
    }

    _transform(chunk, encoding, done) {
        this.update(chunk, encoding)
        done()
    }

    _flush(done) {
        this.push(this.digest())
        done()
    }

    copied(Class) {
        if (this.#done) throw coded(Error, 'ERR_CRYPTO_HASH_FINALIZED', 'Digest already called')
        return new Class(crypto.copy(this.#sum))
    }
}

class Hash extends Sum {
    copy() {
        return this.copied(Hash)
    }
}

class Hmac extends Sum {}

const secretOf = (key) => (key instanceof keys.KeyObject ? key.export() : octets(key, 'utf8', 'key'))

exports.Hash = Hash
exports.Hmac = Hmac
exports.createHash = (name, options) => new Hash(crypto.digest(String(name)), options)
exports.createHmac = (name, key, options) => {
    const sum = (() => {
        try {
            return crypto.digest(String(name), secretOf(key))
        } catch (err) {
            if (err.message !== 'Digest method not supported') throw err
            throw coded(TypeError, 'ERR_CRYPTO_INVALID_DIGEST', `Invalid digest: ${name}`)
        }
    })()
    return new Hmac(sum, options)
}
exports.hash = (name, data, encoding = 'hex') => exports.createHash(name).update(data).digest(encoding)
exports.getHashes = () => [
    'RSA-SHA1', 'RSA-SHA224', 'RSA-SHA256', 'RSA-SHA384', 'RSA-SHA512', 'RSA-SHA512/224', 'RSA-SHA512/256', 'RSA-MD5',
    'md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512', 'sha512-224', 'sha512-256',
]

// Ciphers: streams, and objects with `update` and `final`.
const CIPHERS = ['128', '192', '256'].flatMap((bits) => ['cbc', 'ctr', 'ecb', 'gcm'].map((mode) => `aes-${bits}-${mode}`))

class Cipheriv extends stream.Transform {
    #state
    #tag
    #decrypts
    #authenticates
    #done = false

    constructor(name, key, iv, options, decrypts) {
        super(options)
        const secret = secretOf(key)
        const vector = iv === null || iv === undefined ? Buffer.alloc(0) : octets(iv, 'utf8', 'iv')
        try {
            this.#state = cipher.start(String(name), secret, vector, decrypts)
        } catch (err) {
            const codes = {
                'Unknown cipher': ['ERR_CRYPTO_UNKNOWN_CIPHER', Error],
                'Invalid key length': ['ERR_CRYPTO_INVALID_KEYLEN', RangeError],
                'Invalid initialization vector': ['ERR_CRYPTO_INVALID_IV', TypeError],
            }
            const [code, Kind] = codes[err.message] ?? ['ERR_CRYPTO', Error]
            throw coded(Kind, code, err.message)
        }
        this.#decrypts = decrypts
        this.#authenticates = /gcm$/i.test(name)
    }

    update(data, inputEncoding, outputEncoding) {
        if (this.#done) throw coded(Error, 'ERR_CRYPTO_INVALID_STATE', 'Trying to add data in unsupported state')
        return this.#out(cipher.update(this.#state, octets(data, inputEncoding)), outputEncoding)
    }

    // Text is kept together until its last octet is there.
    #out(made, encoding) {
        if (!encoding || encoding === 'buffer') return asBuffer(made)
        this.decoder ??= new (require('string_decoder').StringDecoder)(encoding)
        return this.decoder.write(asBuffer(made))
    }

    final(encoding) {
        if (this.#done) throw coded(Error, 'ERR_CRYPTO_INVALID_STATE', 'Unsupported state')
        this.#done = true
        let made
        try {
            made = cipher.finish(this.#state)
            if (this.#authenticates && this.#decrypts) cipher.check(this.#state, this.#tag ?? Buffer.alloc(0))
        } catch (err) {
            if (err.message === 'bad decrypt') Object.assign(err, { library: 'Provider routines', reason: 'bad decrypt', code: 'ERR_OSSL_BAD_DECRYPT', message: 'error:1C800064:Provider routines::bad decrypt' })
            if (err.message === 'wrong final block length') Object.assign(err, { library: 'Provider routines', reason: 'wrong final block length', code: 'ERR_OSSL_WRONG_FINAL_BLOCK_LENGTH', message: 'error:1C80006B:Provider routines::wrong final block length' })
            throw err
        }
        if (this.#authenticates && !this.#decrypts) this.#tag = asBuffer(cipher.tag(this.#state))
        if (!encoding || encoding === 'buffer') return asBuffer(made)
        return this.#out(made, encoding) + this.decoder.end()
    }

    setAutoPadding(on = true) {
        cipher.padding(this.#state, Boolean(on))
        return this
    }

    setAAD(data) {
        cipher.extra(this.#state, octets(data))
        return this
    }

    getAuthTag() {
        if (!this.#tag) throw coded(Error, 'ERR_CRYPTO_INVALID_STATE', 'Invalid state for operation getAuthTag')
        return this.#tag
    }

    setAuthTag(tag, encoding) {
        this.#tag = octets(tag, encoding)
        return this
    }

    _transform(chunk, encoding, done) {
        this.push(this.update(chunk, encoding))
        done()
    }

    _flush(done) {
        try {
            this.push(this.final())
            done()
        } catch (err) {
            done(err)
        }
    }
}

class Decipheriv extends Cipheriv {}

exports.Cipheriv = Cipheriv
exports.Decipheriv = Decipheriv
exports.createCipheriv = (name, key, iv, options) => new Cipheriv(name, key, iv, options, false)
exports.createDecipheriv = (name, key, iv, options) => new Decipheriv(name, key, iv, options, true)
exports.getCiphers = () => [...CIPHERS]
exports.getCipherInfo = (name) => {
    const found = /^aes-(128|192|256)-(cbc|ctr|ecb|gcm)$/.exec(String(name).toLowerCase())
    if (!found) return undefined
    const [, bits, mode] = found
    const iv = { cbc: 16, ctr: 16, gcm: 12 }[mode]
    return { mode, name: found[0], ...(mode !== 'ctr' && mode !== 'gcm' && { blockSize: 16 }), ...(iv && { ivLength: iv }), keyLength: bits / 8 }
}

// Signatures: data is gathered, as the key says how it is signed.
class Signing extends stream.Writable {
    #parts = []
    #digest

    constructor(digest, options) {
        super(options)
        this.#digest = keys.digestName(digest)
    }

    update(data, encoding) {
        this.#parts.push(Buffer.from(octets(data, encoding)))
        return this
    }

    _write(chunk, encoding, done) {
        this.update(chunk, encoding)
        done()
    }

    get gathered() {
        return [this.#digest, Buffer.concat(this.#parts)]
    }
}

class Sign extends Signing {
    sign(key, encoding) {
        return asked(keys.sign(...this.gathered, key), encoding)
    }
}

class Verify extends Signing {
    verify(key, signature, encoding) {
        return keys.verify(...this.gathered, key, octets(signature, encoding, 'signature'))
    }
}

exports.Sign = Sign
exports.Verify = Verify
exports.createSign = (digest, options) => new Sign(digest, options)
exports.createVerify = (digest, options) => new Verify(digest, options)

const later = (run, done) => {
    if (!done) return run()
    let made
    try {
        made = run()
    } catch (err) {
        setImmediate(done, err)
        return undefined
    }
    setImmediate(done, null, made)
    return undefined
}
exports.sign = (digest, data, key, done) => later(() => asBuffer(keys.sign(digest, octets(data), key)), done)
exports.verify = (digest, data, key, signature, done) => later(() => keys.verify(digest, octets(data), key, octets(signature)), done)
Object.assign(exports, {
    KeyObject: keys.KeyObject,
    createPrivateKey: keys.createPrivateKey,
    createPublicKey: keys.createPublicKey,
    createSecretKey: keys.createSecretKey,
    generateKeyPairSync: keys.generateKeyPairSync,
    generateKeyPair: (type, options, done) => {
        later(() => keys.generateKeyPairSync(type, options), (err, pair) => done(err, pair?.publicKey, pair?.privateKey))
    },
    getCurves: () => ['prime256v1', 'secp384r1'],
})

// Keys from passwords.
function deriving(how, password, salt, done) {
    const [secret, grain] = [octets(password, 'utf8', 'password'), octets(salt, 'utf8', 'salt')]
    if (!done) return asBuffer(crypto.deriveSync(how, secret, grain))
    needsFunction('callback', done)
    natives.outcome(crypto.derive(how, secret, grain)).then((key) => done(null, asBuffer(key)), done)
    return undefined
}

function count(name, value, least) {
    if (typeof value !== 'number') throw invalidType(name, 'number', value)
    if (!Number.isInteger(value)) throw outOfRange(name, 'an integer', value)
    if (value < least || value > 2147483647) throw outOfRange(name, `>= ${least} && <= 2147483647`, value)
}

function pbkdf2(password, salt, rounds, length, digest, done) {
    if (typeof digest !== 'string') throw invalidType('digest', 'string', digest)
    count('iterations', rounds, 1)
    count('keylen', length, 0)
    if (!/^(rsa-)?sha-?(1|256|384|512)$/i.test(digest)) throw coded(TypeError, 'ERR_CRYPTO_INVALID_DIGEST', `Invalid digest: ${digest}`)
    return deriving({ digest: digest.replace(/^rsa-/i, ''), rounds, length }, password, salt, done)
}

exports.pbkdf2Sync = (password, salt, rounds, length, digest) => pbkdf2(password, salt, rounds, length, digest)
exports.pbkdf2 = (password, salt, rounds, length, digest, done) => {
    needsFunction('callback', done)
    pbkdf2(password, salt, rounds, length, digest, done)
}

function scrypt(password, salt, length, options = {}, done) {
    count('keylen', length, 0)
    const { N = options.cost ?? 16384, r = options.blockSize ?? 8, p = options.parallelization ?? 1, maxmem = 32 << 20 } = options
    try {
        return deriving({ length, N, r, p, maxmem }, password, salt, done)
    } catch (err) {
        if (/scrypt/.test(err.message)) throw coded(RangeError, 'ERR_CRYPTO_INVALID_SCRYPT_PARAMS', err.message)
        throw err
    }
}

exports.scryptSync = (password, salt, length, options) => scrypt(password, salt, length, options)
exports.scrypt = (password, salt, length, options, done) => {
    if (typeof options === 'function') [options, done] = [{}, options]
    needsFunction('callback', done)
    scrypt(password, salt, length, options, done)
}

// RFC 5869.
exports.hkdfSync = (digest, key, salt, info, length) => {
    const size = exports.createHash(digest).digest().length
    if (length > 255 * size) throw coded(RangeError, 'ERR_CRYPTO_INVALID_KEYLEN', 'Invalid key length')
    const grain = octets(salt)
    const secret = exports.createHmac(digest, grain.length > 0 ? grain : Buffer.alloc(size)).update(secretOf(key)).digest()
    const parts = []
    let last = Buffer.alloc(0)
    for (let n = 1; parts.length * size < length; n++) {
        last = exports.createHmac(digest, secret).update(last).update(octets(info)).update(Buffer.from([n])).digest()
        parts.push(last)
    }
    return Uint8Array.from(Buffer.concat(parts).subarray(0, length)).buffer
}
exports.hkdf = (digest, key, salt, info, length, done) => later(() => exports.hkdfSync(digest, key, salt, info, length), done)

const LARGEST = 2 ** 31 - 1

exports.randomBytes = (size, done) => {
    if (typeof size !== 'number') throw invalidType('size', 'number', size)
    if (!(size >= 0 && size <= LARGEST)) throw outOfRange('size', `>= 0 && <= ${LARGEST}`, size)
    return later(() => asBuffer(crypto.random(size)), done)
}
exports.pseudoRandomBytes = exports.randomBytes
exports.rng = exports.randomBytes

exports.randomFillSync = (into, at = 0, size = undefined) => {
    const all = ArrayBuffer.isView(into) ? new Uint8Array(into.buffer, into.byteOffset, into.byteLength) : new Uint8Array(into)
    all.set(crypto.random(size ?? all.length - at), at)
    return into
}
exports.randomFill = (into, ...rest) => {
    const done = rest.pop()
    later(() => exports.randomFillSync(into, ...rest), done)
}

exports.randomInt = (least, most, done) => {
    if (most === undefined || typeof most === 'function') [least, most, done] = [0, least, most]
    if (!Number.isSafeInteger(least)) throw invalidType('min', 'a safe integer', least)
    if (!Number.isSafeInteger(most)) throw invalidType('max', 'a safe integer', most)
    if (most <= least) throw outOfRange('max', `greater than the value of "min" (${least})`, most)
    const range = most - least
    if (!(range < 2 ** 48)) throw outOfRange(least === 0 ? 'max' : 'max - min', `<= ${2 ** 48 - 1}`, range)
    // Values beyond the last whole multiple would make low results likelier.
    const limit = 2 ** 48 - (2 ** 48 % range)
    const pick = () => {
        for (;;) {
            const number = asBuffer(crypto.random(6)).readUIntBE(0, 6)
            if (number < limit) return least + (number % range)
        }
    }
    return later(pick, done)
}

exports.randomUUID = () => {
    const random = exports.randomBytes(16)
    random[6] = (random[6] & 0x0f) | 0x40
    random[8] = (random[8] & 0x3f) | 0x80
    return random.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

exports.timingSafeEqual = (a, b) => {
    const [left, right] = [octets(a, 'buffer', 'buf1'), octets(b, 'buffer', 'buf2')]
    if (left.length !== right.length) {
        throw coded(RangeError, 'ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH', 'Input buffers must have the same byte length')
    }
    let differs = 0
    for (let i = 0; i < left.length; i++) differs |= left[i] ^ right[i]
    return differs === 0
}

const missing = [
    'createDiffieHellman', 'createDiffieHellmanGroup', 'createECDH', 'getDiffieHellman', 'diffieHellman', 'generatePrime',
    'generatePrimeSync', 'checkPrime', 'checkPrimeSync', 'privateDecrypt', 'privateEncrypt', 'publicDecrypt', 'publicEncrypt',
]
for (const name of missing) {
    exports[name] = () => {
        throw absent(`crypto.${name}`)
    }
}
exports.X509Certificate = class X509Certificate {
    constructor() {
        throw absent('crypto.X509Certificate')
    }
}

const digestOf = (algorithm) => String(algorithm?.name ?? algorithm).toLowerCase()
const plain = (data) => (data instanceof ArrayBuffer ? Buffer.from(data) : octets(data))

exports.webcrypto = {
    getRandomValues: exports.randomFillSync,
    randomUUID: exports.randomUUID,
    subtle: {
        async digest(algorithm, data) {
            return Uint8Array.from(exports.createHash(digestOf(algorithm)).update(plain(data)).digest()).buffer
        },
    },
}
exports.subtle = exports.webcrypto.subtle
exports.getRandomValues = exports.randomFillSync
exports.getFips = () => 0
exports.constants = { RSA_PKCS1_PADDING: 1, RSA_NO_PADDING: 3, RSA_PKCS1_OAEP_PADDING: 4, RSA_PKCS1_PSS_PADDING: 6, SSL_OP_ALL: 0x80000850, defaultCoreCipherList: '' }
