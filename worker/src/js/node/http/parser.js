// Messages of HTTP/1 (RFC 9112) out of octets that arrive in pieces. Knows no socket.

const { coded } = require('internal/streams/common')

// As Node: a head that is longer is an attack.
const LONGEST_HEAD = 16 * 1024
// The line before a chunk, with its extensions.
const LONGEST_LINE = 4096

const bad = (code, reason) => Object.assign(coded(code, `Parse Error: ${reason}`), { reason })

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

// What follows the first line: names and values in turn.
function fields(lines) {
    const raw = []
    for (const line of lines) {
        if (/^[ \t]/.test(line) && raw.length > 0) {
            raw[raw.length - 1] = `${raw.at(-1)} ${line.trim()}`.trim()
            continue
        }
        const at = line.indexOf(':')
        const name = line.slice(0, at)
        if (at <= 0 || !TOKEN.test(name)) throw bad('HPE_INVALID_HEADER_TOKEN', 'Invalid header token')
        raw.push(name, line.slice(at + 1).trim())
    }
    return raw
}

const valuesOf = (raw, name) => raw.filter((_value, i) => i % 2 === 1 && raw[i - 1].toLowerCase() === name)

// Calls `headed` with what came before the body, which tells whether there is one ('none', 'upgrade'),
// `body` for its pieces, `done` at the end of a message.
class Parser {
    constructor({ response, headed, body, done }) {
        Object.assign(this, { response, headed, body, done })
        this.held = null
        this.stopped = false
        this.begin()
    }

    begin() {
        this.state = 'head'
        this.left = 0
    }

    // Takes octets. Gives how many it has used if it was stopped at the end of a message.
    feed(octets) {
        let rest = this.held ? Buffer.concat([this.held, octets]) : octets
        this.held = null
        while (rest.length > 0 && !this.stopped) {
            const after = this[this.state](rest)
            if (after === null) {
                this.held = rest
                return null
            }
            rest = after
        }
        return rest
    }

    // The connection has ended: whether the message may end so.
    finish() {
        if (this.state === 'untilEnd') {
            this.over()
            return true
        }
        return this.state === 'head' && !this.held
    }

    over() {
        this.begin()
        this.done()
    }

    // The text before this end; null while that has not arrived.
    upTo(end, octets, most) {
        const at = octets.indexOf(end)
        if (at < 0 ? octets.length > most : at > most) throw bad('HPE_HEADER_OVERFLOW', 'Header overflow')
        return at < 0 ? null : octets.toString('latin1', 0, at)
    }
}

const states = {
    head(octets) {
        let from = 0
        while (octets[from] === 13 || octets[from] === 10) from++
        const rest = octets.subarray(from)
        if (rest.length === 0) return rest
        let end = '\r\n\r\n'
        let text = this.upTo(end, rest, LONGEST_HEAD)
        if (text === null) {
            end = '\n\n'
            text = this.upTo(end, rest, LONGEST_HEAD)
        }
        if (text === null) return null
        const [first, ...lines] = text.split(/\r?\n/)
        const start = this.response ? statusLine(first) : requestLine(first)
        const raw = fields(lines)
        const keepAlive = lasting(start, raw)
        this.frame(raw, this.headed({ ...start, rawHeaders: raw, keepAlive }))
        return rest.subarray(text.length + end.length)
    },

    fixed(octets) {
        const part = octets.subarray(0, this.left)
        this.left -= part.length
        this.body(part)
        if (this.left === 0) this.over()
        return octets.subarray(part.length)
    },

    untilEnd(octets) {
        this.body(octets)
        return octets.subarray(octets.length)
    },

    size(octets) {
        const line = this.upTo('\r\n', octets, LONGEST_LINE)
        if (line === null) return null
        const [, digits] = /^([0-9a-fA-F]{1,12})\s*(?:;.*)?$/.exec(line) ?? []
        if (!digits) throw bad('HPE_INVALID_CHUNK_SIZE', 'Invalid character in chunk size')
        this.left = Number.parseInt(digits, 16)
        this.state = this.left === 0 ? 'trailers' : 'chunk'
        return octets.subarray(line.length + 2)
    },

    chunk(octets) {
        const part = octets.subarray(0, this.left)
        this.left -= part.length
        this.body(part)
        if (this.left === 0) this.state = 'afterChunk'
        return octets.subarray(part.length)
    },

    afterChunk(octets) {
        if (octets.length < 2) return null
        if (octets[0] !== 13 || octets[1] !== 10) throw bad('HPE_STRICT', 'Expected LF after chunk data')
        this.state = 'size'
        return octets.subarray(2)
    },

    trailers(octets) {
        const line = this.upTo('\r\n', octets, LONGEST_HEAD)
        if (line === null) return null
        if (line === '') this.over()
        else this.trailer?.(fields([line]))
        return octets.subarray(line.length + 2)
    },
}

for (const [name, value] of Object.entries(states)) Object.defineProperty(Parser.prototype, name, { value })

Object.assign(Parser.prototype, {
    // How long the body is (RFC 9112 6.3).
    frame(raw, body) {
        const length = valuesOf(raw, 'content-length')
        const coding = valuesOf(raw, 'transfer-encoding').join(',').toLowerCase()
        if (body === 'none') return this.over()
        if (body === 'upgrade') {
            this.stopped = true
            return undefined
        }
        if (/(^|,)\s*chunked\s*$/.test(coding)) {
            if (length.length > 0) throw bad('HPE_INVALID_TRANSFER_ENCODING', "Content-Length can't be present with Transfer-Encoding")
            this.state = 'size'
        } else if (length.length > 0) {
            if (!/^\d{1,15}$/.test(length[0]) || length.some((one) => one !== length[0])) {
                throw bad('HPE_INVALID_CONTENT_LENGTH', 'Invalid character in Content-Length')
            }
            this.left = Number(length[0])
            if (this.left === 0) return this.over()
            this.state = 'fixed'
        } else if (this.response) this.state = 'untilEnd'
        else return this.over()
        return undefined
    },
})

function statusLine(line) {
    const [, major, minor, code, message = ''] = /^HTTP\/(\d)\.(\d) (\d{3})(?: (.*))?$/.exec(line) ?? []
    if (!code) throw bad('HPE_INVALID_CONSTANT', 'Expected HTTP/, RTSP/ or ICE/')
    return { major: Number(major), minor: Number(minor), statusCode: Number(code), statusMessage: message }
}

function requestLine(line) {
    const [, method, url, major, minor] = /^([A-Z-]+) (\S+) HTTP\/(\d)\.(\d)$/.exec(line) ?? []
    if (!method) throw bad('HPE_INVALID_METHOD', 'Invalid method encountered')
    return { major: Number(major), minor: Number(minor), method, url }
}

// Whether the connection may carry another message.
function lasting({ major, minor, statusCode }, raw) {
    const wish = valuesOf(raw, 'connection').join(',').toLowerCase()
    if (/\bclose\b/.test(wish)) return false
    if (major < 1 || (major === 1 && minor === 0)) return /\bkeep-alive\b/.test(wish)
    const framed = valuesOf(raw, 'content-length').length > 0 || valuesOf(raw, 'transfer-encoding').length > 0
    return statusCode === undefined || framed || statusCode === 204 || statusCode === 304 || statusCode < 200
}

exports.Parser = Parser
