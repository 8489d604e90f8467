// Octets to text in pieces: a character that is cut in two waits for its rest.

const { Buffer } = require('buffer')
const { invalidType, coded } = require('internal/errors')

// How many octets at the end begin a character of UTF-8 that may become complete.
function unfinished(octets) {
    for (let back = 1; back <= Math.min(3, octets.length); back++) {
        const byte = octets[octets.length - back]
        if ((byte & 0xc0) === 0x80) continue
        const needs = byte >= 0xf0 && byte <= 0xf4 ? 4 : byte >= 0xe0 && byte < 0xf0 ? 3 : byte >= 0xc2 && byte < 0xe0 ? 2 : 1
        if (needs <= back) return 0
        // Its second octet may already make it impossible.
        const second = back > 1 ? octets[octets.length - back + 1] : 0x80
        const [least, most] = { 0xe0: [0xa0, 0xbf], 0xed: [0x80, 0x9f], 0xf0: [0x90, 0xbf], 0xf4: [0x80, 0x8f] }[byte] ?? [0x80, 0xbf]
        return back > 1 && (second < least || second > most) ? 0 : back
    }
    return 0
}

// A pair of surrogates stays together.
function half(octets) {
    const odd = octets.length % 2
    const last = octets.length - odd
    return last >= 2 && (octets[last - 1] & 0xfc) === 0xd8 ? odd + 2 : odd
}

const KEPT = {
    utf8: unfinished,
    utf16le: half,
    base64: (octets) => octets.length % 3,
    base64url: (octets) => octets.length % 3,
    latin1: () => 0,
    ascii: () => 0,
    hex: () => 0,
}
const NAMES = { 'utf-8': 'utf8', binary: 'latin1', ucs2: 'utf16le', 'ucs-2': 'utf16le', 'utf-16le': 'utf16le' }

function StringDecoder(encoding = 'utf8') {
    const name = String(encoding ?? 'utf8').toLowerCase()
    this.encoding = NAMES[name] ?? name
    if (!KEPT[this.encoding]) throw coded(TypeError, 'ERR_UNKNOWN_ENCODING', `Unknown encoding: ${encoding}`)
    Object.defineProperty(this, 'held', { value: Buffer.alloc(0), writable: true, configurable: true })
}

StringDecoder.prototype.write = function (chunk) {
    if (typeof chunk === 'string') return chunk
    if (!ArrayBuffer.isView(chunk)) throw invalidType('buf', ['Buffer', 'TypedArray', 'DataView'], chunk)
    const given = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    const all = this.held.length > 0 ? Buffer.concat([this.held, given]) : given
    const keep = KEPT[this.encoding](all)
    this.held = keep > 0 ? Buffer.from(all.subarray(all.length - keep)) : Buffer.alloc(0)
    return all.toString(this.encoding, 0, all.length - keep)
}

StringDecoder.prototype.end = function (chunk) {
    const text = chunk === undefined ? '' : this.write(chunk)
    const rest = this.held.toString(this.encoding)
    this.held = Buffer.alloc(0)
    return text + rest
}

StringDecoder.prototype.text = function (chunk, offset) {
    this.held = Buffer.alloc(0)
    return this.write(chunk.slice(offset))
}

Object.defineProperty(StringDecoder.prototype, 'lastNeed', {
    configurable: true,
    get() {
        return this.held.length
    },
})

exports.StringDecoder = StringDecoder
