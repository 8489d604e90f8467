// Compression: as a whole, with callbacks, and as streams.

const { Transform } = require('stream')
const { Buffer } = require('buffer')
const { coded, absent, invalidType, needsFunction, outOfRange } = require('internal/errors')
const { zlib } = natives

const constants = {
    Z_NO_FLUSH: 0, Z_PARTIAL_FLUSH: 1, Z_SYNC_FLUSH: 2, Z_FULL_FLUSH: 3, Z_FINISH: 4, Z_BLOCK: 5, Z_OK: 0, Z_STREAM_END: 1,
    Z_NEED_DICT: 2, Z_ERRNO: -1, Z_STREAM_ERROR: -2, Z_DATA_ERROR: -3, Z_MEM_ERROR: -4, Z_BUF_ERROR: -5, Z_VERSION_ERROR: -6,
    Z_NO_COMPRESSION: 0, Z_BEST_SPEED: 1, Z_BEST_COMPRESSION: 9, Z_DEFAULT_COMPRESSION: -1, Z_FILTERED: 1, Z_HUFFMAN_ONLY: 2,
    Z_RLE: 3, Z_FIXED: 4, Z_DEFAULT_STRATEGY: 0, Z_MIN_WINDOWBITS: 8, Z_MAX_WINDOWBITS: 15, Z_DEFAULT_WINDOWBITS: 15,
    Z_MIN_CHUNK: 64, Z_MAX_CHUNK: Infinity, Z_DEFAULT_CHUNK: 16384, Z_MIN_MEMLEVEL: 1, Z_MAX_MEMLEVEL: 9,
    Z_DEFAULT_MEMLEVEL: 8, Z_MIN_LEVEL: -1, Z_MAX_LEVEL: 9, Z_DEFAULT_LEVEL: -1,
}

function octets(data) {
    if (typeof data === 'string') return Buffer.from(data)
    if (data instanceof ArrayBuffer) return Buffer.from(data)
    if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    throw invalidType('buffer', ['string', 'Buffer', 'TypedArray', 'DataView', 'ArrayBuffer'], data)
}

// In zlib's words; the library below has others.
function failure(err, name, first) {
    if (err.message === 'too large') return coded(RangeError, 'ERR_BUFFER_TOO_LARGE', 'Cannot create a Buffer larger than what scripts may have')
    let [code, message] = ['Z_DATA_ERROR', 'invalid stored block lengths']
    if (name === 'brotliDecompress') {
        return Object.assign(new Error(err.message === 'unexpected end of file' ? 'unexpected end of file' : 'Decompression failed'), { errno: -5, code: err.message === 'unexpected end of file' ? 'Z_BUF_ERROR' : 'ERR_BROTLI_DECOMPRESSION_FAILED' })
    }
    if (name !== 'inflateRaw' && first !== undefined && !(name === 'gunzip' ? first[0] === 0x1f && (first.length < 2 || first[1] === 0x8b) : (first[0] & 15) === 8)) message = 'incorrect header check'
    else if (err.message === 'unexpected end of file') [code, message] = ['Z_BUF_ERROR', err.message]
    else if (name === 'gunzip') message = /corrupt gzip/.test(err.message) ? 'incorrect data check' : 'invalid block type'
    return Object.assign(new Error(message), { errno: constants[code], code })
}

function kindFor(name, first) {
    if (name !== 'unzip') return name
    return first[0] === 0x1f ? 'gunzip' : 'inflate'
}

function level(options) {
    const given = options?.level
    if (given === undefined) return -1
    if (typeof given !== 'number') throw invalidType('options.level', 'number', given)
    if (!(given >= -1 && given <= 9)) throw outOfRange('options.level', '>= -1 and <= 9', given)
    return given
}

function whole(name, data, options) {
    const given = octets(data)
    const kind = kindFor(name, given)
    const state = zlib.start(kind, level(options))
    try {
        const out = [zlib.feed(state, given)]
        // Who takes what there is, takes it without its end.
        if (options?.finishFlush === undefined || options.finishFlush === constants.Z_FINISH) out.push(zlib.finish(state))
        else out.push(zlib.flush(state))
        const made = Buffer.concat(out)
        if (made.length > (options?.maxOutputLength ?? Infinity)) {
            throw coded(RangeError, 'ERR_BUFFER_TOO_LARGE', `Cannot create a Buffer larger than ${options.maxOutputLength} bytes`)
        }
        return made
    } catch (err) {
        throw err.code ? err : failure(err, kind, given)
    }
}

class Zlib extends Transform {
    #name
    #state
    #first
    #level

    constructor(name, options = {}) {
        super(options)
        this.#name = name
        this.#level = level(options)
        this.bytesWritten = 0
    }

    _transform(chunk, _encoding, done) {
        try {
            if (this.#state === undefined) {
                this.#name = kindFor(this.#name, chunk)
                this.#first = Buffer.from(chunk.subarray(0, 2))
                this.#state = zlib.start(this.#name, this.#level)
            }
            this.bytesWritten += chunk.length
            const made = zlib.feed(this.#state, chunk)
            if (made.length > 0) this.push(Buffer.from(made.buffer))
        } catch (err) {
            return done(failure(err, this.#name, this.#first))
        }
        return done()
    }

    _flush(done) {
        try {
            this.#state ??= zlib.start(kindFor(this.#name, [0x1f]), this.#level)
            const made = zlib.finish(this.#state)
            if (made.length > 0) this.push(Buffer.from(made.buffer))
        } catch (err) {
            if (this.bytesWritten === 0) return done()
            return done(failure(err, this.#name, this.#first))
        }
        return done()
    }

    flush(_kind, done = _kind) {
        if (this.#state !== undefined) {
            const made = zlib.flush(this.#state)
            if (made.length > 0) this.push(Buffer.from(made.buffer))
        }
        if (typeof done === 'function') setImmediate(done)
    }

    params(_level, _strategy, done) {
        setImmediate(done)
    }

    close(done) {
        if (done) this.once('close', done)
        this.destroy()
    }
}

for (const name of ['deflate', 'deflateRaw', 'gzip', 'inflate', 'inflateRaw', 'gunzip', 'unzip', 'brotliDecompress']) {
    const title = name[0].toUpperCase() + name.slice(1)
    const Class = { [title]: class extends Zlib {
        constructor(options) {
            super(name, options)
        }
    } }[title]
    exports[title] = new Proxy(Class, { apply: (target, _this, args) => Reflect.construct(target, args) })
    exports[`create${title}`] = (options) => new Class(options)
    exports[`${name}Sync`] = (data, options) => whole(name, data, options)
    exports[name] = (data, options, done) => {
        if (typeof options === 'function') [options, done] = [{}, options]
        needsFunction('callback', done)
        const given = octets(data)
        setImmediate(() => {
            let made
            try {
                made = whole(name, given, options)
            } catch (err) {
                return done(err)
            }
            return done(null, made)
        })
    }
}
for (const name of ['brotliCompress', 'brotliCompressSync', 'createBrotliCompress']) {
    exports[name] = () => {
        throw absent(`zlib.${name}`)
    }
}
exports.crc32 = (data, before = 0) => zlib.crc32(octets(data), before)
exports.constants = constants
exports.codes = Object.fromEntries(['Z_OK', 'Z_STREAM_END', 'Z_NEED_DICT', 'Z_ERRNO', 'Z_STREAM_ERROR', 'Z_DATA_ERROR', 'Z_MEM_ERROR', 'Z_BUF_ERROR', 'Z_VERSION_ERROR'].flatMap((name) => [[name, constants[name]], [constants[name], name]]))
for (const [name, value] of Object.entries(constants)) Object.defineProperty(exports, name, { value, enumerable: false })
