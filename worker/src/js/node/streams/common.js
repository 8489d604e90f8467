// What all streams share: errors with Node's codes, marks of fullness, octets of any view.

const { Buffer } = require('buffer')

exports.coded = (code, message, Type = Error) => {
    const err = new Type(message)
    Object.defineProperty(err, 'name', { value: err.name, configurable: true, writable: true })
    err.code = code
    return err
}

const LEVELS = { octets: 16 * 1024, objects: 16 }
// No source is asked for more at once.
const MOST = 0x40000000

exports.levels = {
    of(options, objectMode, own) {
        const given = options.highWaterMark ?? (own ? options[own] : undefined)
        if (given === undefined || given === null) return objectMode ? LEVELS.objects : LEVELS.octets
        if (!Number.isInteger(given) || given < 0) {
            const named = own && options.highWaterMark === undefined ? own : 'highWaterMark'
            throw exports.coded('ERR_INVALID_ARG_VALUE', `The property 'options.${named}' is invalid. Received ${given}`, TypeError)
        }
        return given
    },
    above: (n) => Math.min(MOST, 2 ** Math.ceil(Math.log2(n))),
    get: (objectMode) => (objectMode ? LEVELS.objects : LEVELS.octets),
    set(objectMode, value) {
        LEVELS[objectMode ? 'objects' : 'octets'] = value
    },
}

// As a Buffer over the same memory; nothing for what holds no octets.
exports.octetsOf = (chunk) => {
    if (chunk instanceof Buffer) return chunk
    if (ArrayBuffer.isView(chunk)) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    return undefined
}
