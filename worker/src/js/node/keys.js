// Keys of signatures, in the forms that files have: PEM and DER.

const { Buffer } = require('buffer')
const { coded, invalidType, absent } = require('internal/errors')
const { keys } = natives

const asBuffer = (made) => Buffer.from(made.buffer, made.byteOffset, made.byteLength)

function pem(label, der) {
    const lines = asBuffer(der).toString('base64').replace(/(.{64})(?=.)/g, '$1\n')
    return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`
}

const unreadable = () =>
    Object.assign(new Error('error:1E08010C:DECODER routines::unsupported'), { library: 'DECODER routines', reason: 'unsupported', code: 'ERR_OSSL_UNSUPPORTED' })

function read(form, der) {
    try {
        return keys.read(form, der)
    } catch (err) {
        if (/DECODER/.test(err.message)) throw unreadable()
        throw err
    }
}

// The first key of the text.
function fromPem(text) {
    const found = /-----BEGIN ([A-Z0-9 ]+)-----([\s\S]*?)-----END \1-----/.exec(text)
    if (!found) throw unreadable()
    const [, label, body] = found
    if (/ENCRYPTED/.test(label) || /Proc-Type:.*ENCRYPTED/.test(body)) throw absent('an encrypted private key')
    return read(label, Buffer.from(body, 'base64'))
}

class KeyObject {
    #data

    constructor(type, data) {
        this.type = type
        this.#data = data
        Object.defineProperty(this, 'type', { enumerable: false, writable: false })
    }

    static from(key) {
        return key
    }

    get data() {
        return this.#data
    }

    get symmetricKeySize() {
        return this.type === 'secret' ? this.#data.length : undefined
    }

    get asymmetricKeyType() {
        return this.type === 'secret' ? undefined : this.#data.kind
    }

    get asymmetricKeyDetails() {
        const { kind, bits, exponent, curve } = this.#data
        if (this.type === 'secret') return undefined
        if (kind === 'rsa') return { modulusLength: bits, publicExponent: BigInt(exponent) }
        return curve ? { namedCurve: curve } : {}
    }

    export({ type, format = 'pem' } = {}) {
        if (this.type === 'secret') return Buffer.from(this.#data)
        const secret = this.type === 'private'
        const wanted = type ?? (secret ? 'pkcs8' : 'spki')
        let der = asBuffer(secret ? this.#data.private : this.#data.public)
        let label = secret ? 'PRIVATE KEY' : 'PUBLIC KEY'
        if (format === 'jwk') throw absent('the form JWK of a key')
        if (wanted === 'pkcs1' || wanted === 'sec1') {
            der = inner(der, secret)
            label = `${wanted === 'sec1' ? 'EC' : 'RSA'} ${label}`
        }
        return format === 'der' ? Buffer.from(der) : pem(label, der)
    }

    equals(other) {
        if (this.type !== other.type) return false
        return this.type === 'secret' ? this.#data.equals(other.data) : this.export({ format: 'der' }).equals(other.export({ format: 'der' }))
    }

    get [Symbol.toStringTag]() {
        return 'KeyObject'
    }
}

// The key's own structure within the one that says its kind.
function inner(der, secret) {
    const open = (at) => {
        const short = der[at + 1]
        if (short < 128) return [at + 2, short]
        const count = short & 127
        return [at + 2 + count, der.readUIntBE(at + 2, count)]
    }
    const skip = (at) => {
        const [start, length] = open(at)
        return start + length
    }
    let at = open(0)[0]
    if (secret) at = skip(at)
    const [start, length] = open(skip(at))
    return der.subarray(secret ? start : start + 1, start + length)
}

const isOctets = (value) => ArrayBuffer.isView(value) || value instanceof ArrayBuffer

// What a key was given as: text, octets, an object with options, a key object.
function material(given, secret) {
    if (given instanceof KeyObject) return given.data
    if (typeof given === 'string') return fromPem(given)
    if (isOctets(given)) return fromPem(Buffer.from(given).toString('latin1'))
    if (typeof given !== 'object' || given === null || given.key === undefined) {
        throw invalidType('key', ['string', 'ArrayBuffer', 'Buffer', 'TypedArray', 'DataView', 'KeyObject', 'CryptoKey'], given)
    }
    const { key, format = 'pem', type } = given
    if (key instanceof KeyObject) return key.data
    if (format === 'jwk') throw absent('the form JWK of a key')
    if (format !== 'der') return material(key, secret)
    const forms = secret
        ? { pkcs8: 'PRIVATE KEY', pkcs1: 'RSA PRIVATE KEY', sec1: 'EC PRIVATE KEY' }
        : { spki: 'PUBLIC KEY', pkcs1: 'RSA PUBLIC KEY' }
    return read(forms[type] ?? (secret ? 'PRIVATE KEY' : 'PUBLIC KEY'), Buffer.from(key))
}

function privateKey(given) {
    const data = material(given, true)
    if (!data.private) throw unreadable()
    return data
}

function digestName(digest) {
    if (digest === null || digest === undefined) return undefined
    if (typeof digest !== 'string') throw invalidType('algorithm', 'string', digest)
    if (!/^(rsa-)?(md5|sha-?(1|224|256|384|512))$/i.test(digest)) {
        throw coded(TypeError, 'ERR_CRYPTO_INVALID_DIGEST', 'Invalid digest')
    }
    return digest
}

const plainPadding = (key) => {
    if (key?.padding !== undefined && key.padding !== 1) throw absent('RSA-PSS')
    if (key?.dsaEncoding === 'ieee-p1363') throw absent('the form ieee-p1363 of a signature')
}

exports.KeyObject = KeyObject
exports.digestName = digestName
exports.sign = (digest, data, key) => {
    plainPadding(key)
    return keys.sign(digestName(digest), privateKey(key).private, data)
}
exports.verify = (digest, data, key, signature) => {
    plainPadding(key)
    return keys.verify(digestName(digest), material(key, false).public, data, signature)
}
exports.createPrivateKey = (given) => new KeyObject('private', privateKey(given))
exports.createPublicKey = (given) => new KeyObject('public', material(given, false))
exports.createSecretKey = (key, encoding) => new KeyObject('secret', Buffer.from(key, encoding))
exports.generateKeyPairSync = (type, options = {}) => {
    const name = type === 'ed25519' ? type : type === 'ec' ? options.namedCurve : undefined
    if (!name) throw absent(`making keys of type ${type}`)
    const data = read('PRIVATE KEY', keys.generate(name))
    const made = (kind, encoding) => {
        const key = new KeyObject(kind, data)
        return encoding ? key.export(encoding) : key
    }
    return { publicKey: made('public', options.publicKeyEncoding), privateKey: made('private', options.privateKeyEncoding) }
}
