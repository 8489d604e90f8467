// Octets to text in pieces: a character that is cut in two waits for its rest.

const { Buffer } = require('buffer')

// How many octets at the end begin a character of UTF-8 that is not complete.
function unfinished(octets) {
    for (let back = 1; back <= Math.min(3, octets.length); back++) {
        const byte = octets[octets.length - back]
        if ((byte & 0xc0) === 0x80) continue
        const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
        return needs > back ? back : 0
    }
    return 0
}

const GROUPS = { base64: 3, base64url: 3, utf16le: 2, ucs2: 2 }

class StringDecoder {
    constructor(encoding = 'utf8') {
        this.encoding = String(encoding).toLowerCase().replace('utf-8', 'utf8')
        this.held = Buffer.alloc(0)
    }

    write(chunk) {
        if (typeof chunk === 'string') return chunk
        const all = this.held.length > 0 ? Buffer.concat([this.held, chunk]) : Buffer.from(chunk)
        const group = GROUPS[this.encoding]
        const keep = group ? all.length % group : this.encoding === 'utf8' ? unfinished(all) : 0
        this.held = all.subarray(all.length - keep)
        return all.subarray(0, all.length - keep).toString(this.encoding)
    }

    end(chunk) {
        const text = (chunk ? this.write(chunk) : '') + this.held.toString(this.encoding)
        this.held = Buffer.alloc(0)
        return text
    }
}

exports.StringDecoder = StringDecoder
