// A simple server: requests in, one answer each, in order.

const { IncomingMessage, OutgoingMessage } = require('internal/http/message')
const { Parser } = require('internal/http/parser')
const net = require('net')
const { coded } = require('internal/streams/common')

const STATUS_CODES = {
    100: 'Continue', 101: 'Switching Protocols', 102: 'Processing', 103: 'Early Hints', 200: 'OK', 201: 'Created',
    202: 'Accepted', 203: 'Non-Authoritative Information', 204: 'No Content', 205: 'Reset Content', 206: 'Partial Content',
    207: 'Multi-Status', 208: 'Already Reported', 226: 'IM Used', 300: 'Multiple Choices', 301: 'Moved Permanently',
    302: 'Found', 303: 'See Other', 304: 'Not Modified', 305: 'Use Proxy', 307: 'Temporary Redirect',
    308: 'Permanent Redirect', 400: 'Bad Request', 401: 'Unauthorized', 402: 'Payment Required', 403: 'Forbidden',
    404: 'Not Found', 405: 'Method Not Allowed', 406: 'Not Acceptable', 407: 'Proxy Authentication Required',
    408: 'Request Timeout', 409: 'Conflict', 410: 'Gone', 411: 'Length Required', 412: 'Precondition Failed',
    413: 'Payload Too Large', 414: 'URI Too Long', 415: 'Unsupported Media Type', 416: 'Range Not Satisfiable',
    417: 'Expectation Failed', 418: "I'm a Teapot", 421: 'Misdirected Request', 422: 'Unprocessable Entity', 423: 'Locked',
    424: 'Failed Dependency', 425: 'Too Early', 426: 'Upgrade Required', 428: 'Precondition Required',
    429: 'Too Many Requests', 431: 'Request Header Fields Too Large', 451: 'Unavailable For Legal Reasons',
    500: 'Internal Server Error', 501: 'Not Implemented', 502: 'Bad Gateway', 503: 'Service Unavailable',
    504: 'Gateway Timeout', 505: 'HTTP Version Not Supported', 506: 'Variant Also Negotiates',
    507: 'Insufficient Storage', 508: 'Loop Detected', 509: 'Bandwidth Limit Exceeded', 510: 'Not Extended',
    511: 'Network Authentication Required',
}

// Requests of one connection that wait while another is answered.
const MOST_WAITING = 16

class ServerResponse extends OutgoingMessage {
    constructor(req) {
        super()
        this.req = req
        this.statusCode = 200
        this.statusMessage = undefined
        this.sendDate = true
        this._lasts = 5
        if (req.method === 'HEAD') this.bodiless = true
    }

    writeHead(code, message, headers) {
        if (this.headersSent) throw coded('ERR_HTTP_HEADERS_SENT', 'Cannot write headers after they are sent to the client')
        this.statusCode = code
        // From here on the head is settled, before the length of the body is known.
        this.settled = true
        if (typeof message === 'string') this.statusMessage = message
        const given = typeof message === 'string' ? headers : message
        if (Array.isArray(given)) for (let i = 0; i < given.length; i += 2) this.appendHeader(given[i], given[i + 1])
        else for (const [name, value] of Object.entries(given ?? {})) this.setHeader(name, value)
        return this
    }

    writeContinue() {
        this.socket?.write('HTTP/1.1 100 Continue\r\n\r\n')
    }

    writeProcessing() {
        this.socket?.write('HTTP/1.1 102 Processing\r\n\r\n')
    }

    _firstLine() {
        this.statusMessage ||= STATUS_CODES[this.statusCode] ?? 'unknown'
        if (this.statusCode === 204 || this.statusCode === 304) this.bodiless = true
        return `HTTP/1.1 ${this.statusCode} ${this.statusMessage}`
    }

    _toSocket(octets, done) {
        if (this.socket && !this.socket.destroyed) this.socket.write(octets, (err) => done(err))
        else done()
    }

    _destroy(err, done) {
        if (!this.writableFinished) this.socket?.destroy(err)
        done(err)
    }
}

class Server extends net.Server {
    constructor(options, listener) {
        const [given, answer] = typeof options === 'function' ? [{}, options] : [options ?? {}, listener]
        super({ ...given, allowHalfOpen: true })
        this.timeout = 0
        this.keepAliveTimeout = given.keepAliveTimeout ?? 5000
        this.headersTimeout = 60000
        this.requestTimeout = 300000
        this.maxHeadersCount = null
        if (answer) this.on('request', answer)
        this.on('connection', (socket) => this._serve(socket))
    }

    _serve(socket) {
        const waiting = []
        let current = null
        // No request is under way; the client has this long for the next.
        let idle
        const next = () => {
            current = waiting.shift() ?? null
            if (!current) return
            const { req, res } = current
            res.socket = socket
            if (waiting.length < MOST_WAITING) socket.resume()
            res.once('finish', () => {
                res.destroy()
                if (!req.complete) req._dump()
                if (!res.shouldKeepAlive) socket.destroySoon()
                else next()
                if (!current && this.keepAliveTimeout) idle = setTimeout(() => socket.destroy(), this.keepAliveTimeout)
            })
            const { expect } = req.headers
            if (expect !== undefined && /^100-continue$/i.test(expect)) {
                if (this.emit('checkContinue', req, res)) return
                res.writeContinue()
            } else if (expect !== undefined) {
                if (!this.emit('checkExpectation', req, res)) res.writeHead(417).end()
                return
            }
            if (!this.emit('request', req, res)) res.writeHead(404).end()
        }
        let coming = null
        const parser = new Parser({
            response: false,
            headed: (found) => {
                const req = new IncomingMessage(socket, found)
                coming = req
                if (/\bupgrade\b/i.test(req.headers.connection ?? '') && this.listenerCount('upgrade') > 0) return 'upgrade'
                const res = new ServerResponse(req)
                res._lasts = Math.floor(this.keepAliveTimeout / 1000)
                res.shouldKeepAlive = found.keepAlive
                waiting.push({ req, res })
                if (!current) next()
                else if (waiting.length >= MOST_WAITING) socket.pause()
                return 'body'
            },
            body: (part) => {
                if (!coming._take(part)) socket.pause()
            },
            done: () => coming._complete(),
        })
        parser.trailer = (fields) => coming.rawTrailers.push(...fields)
        socket.on('data', (octets) => {
            clearTimeout(idle)
            try {
                const rest = parser.feed(octets)
                if (parser.stopped) {
                    socket.removeAllListeners('data')
                    this.emit('upgrade', coming, socket, rest ?? Buffer.alloc(0))
                }
            } catch (err) {
                if (!err.code?.startsWith('HPE_')) throw err
                if (!this.emit('clientError', err, socket)) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
            }
        })
        socket.on('error', (err) => this.emit('clientError', err, socket) || socket.destroy())
        socket.on('end', () => {
            if (!current) socket.end()
        })
        socket.on('timeout', () => this.emit('timeout', socket) || socket.destroy())
        socket.on('close', () => {
            clearTimeout(idle)
            if (coming && !coming.complete) coming.destroy(coded('ECONNRESET', 'aborted'))
            if (current && !current.res.writableFinished) current.res.destroy()
        })
        if (this.timeout) socket.setTimeout(this.timeout)
    }

    setTimeout(ms, callback) {
        this.timeout = ms
        if (callback) this.on('timeout', callback)
        return this
    }

    closeAllConnections() {
        for (const socket of [...this._sockets]) socket.destroy()
    }

    closeIdleConnections() {
        this.closeAllConnections()
    }
}

module.exports = { Server, ServerResponse, STATUS_CODES }
