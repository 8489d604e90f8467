// Messages that come in and go out, of clients and servers alike.

const { Readable, Writable } = require('stream')
const process = require('process')
const { coded } = require('internal/streams/common')

const { nextTick } = process

// Of these the first one counts (RFC 9110 5.2 lets no list be made of them).
const SINGLE = new Set([
    'age', 'authorization', 'content-length', 'content-type', 'etag', 'expires', 'from', 'host', 'if-modified-since',
    'if-unmodified-since', 'last-modified', 'location', 'max-forwards', 'proxy-authorization', 'referer', 'retry-after',
    'server', 'user-agent',
])

function together(raw) {
    const headers = {}
    for (let i = 0; i < raw.length; i += 2) {
        const name = raw[i].toLowerCase()
        const value = raw[i + 1]
        if (name === 'set-cookie') (headers[name] ??= []).push(value)
        else if (headers[name] === undefined) headers[name] = value
        else if (!SINGLE.has(name)) headers[name] += `${name === 'cookie' ? '; ' : ', '}${value}`
    }
    return headers
}

class IncomingMessage extends Readable {
    constructor(socket, found) {
        super({ highWaterMark: socket?.readableHighWaterMark })
        const { major = 1, minor = 1, rawHeaders = [], method = null, url = '', statusCode = null, statusMessage = null } = found ?? {}
        Object.assign(this, {
            httpVersionMajor: major, httpVersionMinor: minor, httpVersion: `${major}.${minor}`,
            complete: false, rawHeaders, rawTrailers: [], aborted: false, url, method, statusCode, statusMessage,
        })
        this.headers = together(rawHeaders)
        Object.defineProperty(this, 'socket', { value: socket, writable: true, configurable: true })
        this.joinDuplicateHeaders = null
    }

    get connection() {
        return this.socket
    }

    get trailers() {
        return together(this.rawTrailers)
    }

    get headersDistinct() {
        const all = {}
        this.rawHeaders.forEach((value, i) => i % 2 === 1 && (all[this.rawHeaders[i - 1].toLowerCase()] ??= []).push(value))
        return all
    }

    setTimeout(ms, callback) {
        if (callback) this.on('timeout', callback)
        this.socket.setTimeout(ms)
        return this
    }

    _read() {
        if (this.socket?.isPaused?.() && !this.socket.destroyed) this.socket.resume()
    }

    // What the parser finds; true if there is room for more.
    _take(part) {
        return this.push(part)
    }

    _complete() {
        this.complete = true
        this.push(null)
    }

    _destroy(err, done) {
        if (!this.readableEnded || !this.complete) {
            this.aborted = true
            this.emit('aborted')
        }
        if (this.socket && !this.socket.destroyed && this.aborted) this.socket.destroy(err)
        // Nobody may be listening to what went wrong with a body that nobody reads.
        const heard = err && this.listenerCount('error') === 0 ? null : err
        nextTick(done, heard)
    }

    _dump() {
        this.resume()
    }
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
// eslint-disable-next-line no-control-regex
const NOT_IN_VALUES = /[^\t\x20-\x7e\x80-\xff]/

function validateHeaderName(name) {
    if (typeof name !== 'string' || !TOKEN.test(name)) {
        throw coded('ERR_INVALID_HTTP_TOKEN', `Header name must be a valid HTTP token ["${name}"]`, TypeError)
    }
}

function validateHeaderValue(name, value) {
    if (value === undefined) throw coded('ERR_HTTP_INVALID_HEADER_VALUE', `Invalid value "undefined" for header "${name}"`, TypeError)
    if ([value].flat().some((one) => NOT_IN_VALUES.test(String(one)))) {
        throw coded('ERR_INVALID_CHAR', `Invalid character in header content ["${name}"]`, TypeError)
    }
}

// What is written; the head goes out before the first octet of the body.
class OutgoingMessage extends Writable {
    constructor(options) {
        super({ autoDestroy: false, emitClose: true, decodeStrings: true, ...options })
        this.headersSent = false
        this.finished = false
        this.sendDate = false
        this.shouldKeepAlive = true
        this.chunkedEncoding = false
        Object.defineProperty(this, 'fields', { value: new Map() })
        Object.defineProperty(this, 'socket', { value: null, writable: true })
        // The whole body, where end() brings it before anything was sent.
        Object.defineProperty(this, 'whole', { value: undefined, writable: true })
        // A head that nothing is added to any more.
        Object.defineProperty(this, 'settled', { value: false, writable: true })
        Object.defineProperty(this, 'trailing', { value: '', writable: true })
        Object.defineProperty(this, 'bodiless', { value: false, writable: true })
    }

    get connection() {
        return this.socket
    }

    setHeader(name, value) {
        if (this.headersSent) throw coded('ERR_HTTP_HEADERS_SENT', 'Cannot set headers after they are sent to the client')
        validateHeaderName(name)
        validateHeaderValue(name, value)
        this.fields.set(name.toLowerCase(), [name, value])
        return this
    }

    appendHeader(name, value) {
        const [, now] = this.fields.get(name.toLowerCase()) ?? []
        return this.setHeader(name, now === undefined ? value : [now, value].flat())
    }

    setHeaders(headers) {
        for (const [name, value] of headers) this.setHeader(name, value)
        return this
    }

    getHeader(name) {
        return this.fields.get(String(name).toLowerCase())?.[1]
    }

    hasHeader(name) {
        return this.fields.has(String(name).toLowerCase())
    }

    removeHeader(name) {
        if (this.headersSent) throw coded('ERR_HTTP_HEADERS_SENT', 'Cannot remove headers after they are sent to the client')
        this.fields.delete(String(name).toLowerCase())
    }

    getHeaders() {
        const all = Object.create(null)
        for (const [name, [, value]] of this.fields) all[name] = value
        return all
    }

    getHeaderNames() {
        return [...this.fields.keys()]
    }

    getRawHeaderNames() {
        return [...this.fields.values()].map(([name]) => name)
    }

    // Fields behind the body, which only a chunked one can have (RFC 9112 7.1.2).
    addTrailers(headers) {
        const pairs = Array.isArray(headers) ? headers : Object.entries(headers)
        this.trailing = ''
        for (const [name, value] of pairs) {
            validateHeaderName(name)
            validateHeaderValue(name, value)
            for (const one of [value].flat()) this.trailing += `${name}: ${one}\r\n`
        }
    }

    // The head as text: the first line, what was set, and how the body is framed.
    _head(first) {
        const lines = [first]
        for (const [name, value] of this.fields.values()) for (const one of [value].flat()) lines.push(`${name}: ${one}`)
        if (this.sendDate && !this.hasHeader('date')) lines.push(`Date: ${new Date().toUTCString()}`)
        if (!this.hasHeader('connection')) {
            lines.push(`Connection: ${this.shouldKeepAlive ? 'keep-alive' : 'close'}`)
            if (this.shouldKeepAlive && this._lasts) lines.push(`Keep-Alive: timeout=${this._lasts}`)
        } else if (/\bclose\b/i.test(String(this.getHeader('connection')))) this.shouldKeepAlive = false
        if (!this.hasHeader('content-length') && !this.hasHeader('transfer-encoding') && !this.bodiless) {
            if (this.whole !== undefined && !this.hasHeader('trailer') && this.trailing === '') lines.push(`Content-Length: ${this.whole}`)
            else {
                this.chunkedEncoding = true
                lines.push('Transfer-Encoding: chunked')
            }
        } else if (/chunked/i.test(String(this.getHeader('transfer-encoding')))) this.chunkedEncoding = true
        return `${lines.join('\r\n')}\r\n\r\n`
    }

    end(chunk, encoding, done) {
        if (!this.headersSent && !this.settled && !this.writableEnded && this._writableState.length === 0 && typeof chunk !== 'function') {
            if (chunk === undefined || chunk === null) this.whole = 0
            else this.whole = typeof chunk === 'string' ? Buffer.byteLength(chunk, typeof encoding === 'string' ? encoding : 'utf8') : chunk.length
        } else if (!this.headersSent && !this.settled && typeof chunk === 'function' && this._writableState.length === 0) this.whole = 0
        super.end(chunk, encoding, done)
        this.finished = true
        return this
    }

    flushHeaders() {
        if (!this.headersSent) this._sendHead()
    }

    // Puts a piece of the body into its frame and sends it, with the head if that is still here.
    _send(chunk, done) {
        const parts = []
        if (!this.headersSent) parts.push(Buffer.from(this._takeHead(), 'latin1'))
        if (chunk && chunk.length > 0 && !this.bodiless) {
            if (this.chunkedEncoding) parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n'))
            else parts.push(chunk)
        }
        if (chunk === null && this.chunkedEncoding && !this.bodiless) parts.push(Buffer.from(`0\r\n${this.trailing}\r\n`, 'latin1'))
        if (parts.length === 0) {
            done()
            return
        }
        this._toSocket(parts.length === 1 ? parts[0] : Buffer.concat(parts), done)
    }

    _write(chunk, _encoding, done) {
        this._send(chunk, done)
    }

    _writev(chunks, done) {
        this._send(Buffer.concat(chunks.map(({ chunk }) => chunk)), done)
    }

    _final(done) {
        this._send(null, done)
    }

    _sendHead() {
        this._toSocket(Buffer.from(this._takeHead(), 'latin1'), () => {})
    }

    _takeHead() {
        const head = this._head(this._firstLine())
        this.headersSent = true
        return head
    }

    setTimeout(ms, callback) {
        if (callback) this.on('timeout', callback)
        if (this.socket) this.socket.setTimeout(ms)
        else this.once('socket', (socket) => socket.setTimeout(ms))
        return this
    }
}

module.exports = { IncomingMessage, OutgoingMessage, validateHeaderName, validateHeaderValue }
