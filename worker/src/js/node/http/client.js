// Requests, and the answers to them.

const Agent = require('internal/http/agent')
const { IncomingMessage, OutgoingMessage } = require('internal/http/message')
const { Parser } = require('internal/http/parser')
const net = require('net')
const process = require('process')
const { coded } = require('internal/streams/common')

const { nextTick } = process

// Methods whose requests usually have no body.
const BODILESS = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT'])

const globalAgent = { http: new Agent({ keepAlive: true, scheduling: 'lifo', timeout: 5000 }), https: undefined }

const hangUp = (message = 'socket hang up') => coded('ECONNRESET', message)

// The options that a URL stands for.
function ofUrl(url) {
    const options = {
        protocol: url.protocol,
        hostname: url.hostname.replace(/^\[(.*)\]$/, '$1'),
        hash: url.hash,
        search: url.search,
        pathname: url.pathname,
        path: `${url.pathname || ''}${url.search || ''}`,
        href: url.href,
    }
    if (url.port !== '' && url.port !== null) options.port = Number(url.port)
    if (url.username || url.password) options.auth = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`
    return options
}

const isUrl = (given) => Boolean(given?.href && given.protocol && given.searchParams)

class ClientRequest extends OutgoingMessage {
    constructor(input, given, callback) {
        super()
        let options = given
        let done = callback
        let from = {}
        if (typeof input === 'string') from = ofUrl(new URL(input))
        else if (isUrl(input)) from = ofUrl(input)
        else [from, options, done] = [{}, input, given]
        if (typeof options === 'function') [options, done] = [undefined, options]
        options = { ...from, ...options }
        this._prepare(options)
        if (done) this.once('response', done)
        if (options.signal) net._abortable(this, options.signal)
        this._dispatch(options)
        // The server is asked first; what follows waits for its word.
        if (this.hasHeader('expect')) this.flushHeaders()
    }

    _prepare(options) {
        let agent = options.agent
        if (agent === false) agent = new (options._defaultAgent ?? globalAgent.http).constructor()
        else if (agent === null || agent === undefined) agent = typeof options.createConnection === 'function' ? null : options._defaultAgent ?? globalAgent.http
        const protocol = options.protocol || (options._defaultAgent ?? agent ?? globalAgent.http).protocol
        const expected = agent?.protocol ?? options._defaultAgent?.protocol ?? 'http:'
        if (protocol !== expected) {
            throw coded('ERR_INVALID_PROTOCOL', `Protocol "${protocol}" not supported. Expected "${expected}"`, TypeError)
        }
        if (options.path && /[^\x21-\xff]/.test(String(options.path))) {
            throw coded('ERR_UNESCAPED_CHARACTERS', 'Request path contains unescaped characters', TypeError)
        }
        const usual = options.defaultPort ?? agent?.defaultPort ?? (protocol === 'https:' ? 443 : 80)
        const port = (options.port = options.port || usual)
        const host = (options.host = options.hostname || options.host || 'localhost')
        this.agent = agent
        this.method = String(options.method ?? 'GET').toUpperCase()
        this.path = options.path || '/'
        this.host = host
        this.protocol = protocol
        this.port = port
        this.socketPath = options.socketPath
        this.timeout = options.timeout ?? agent?.options.timeout
        this.aborted = false
        this.reusedSocket = false
        this.maxHeadersCount = null
        this.res = null
        this.shouldKeepAlive = Boolean(agent?.keepAlive)
        // Destroyed, with nothing of an answer so far.
        Object.defineProperty(this, 'waiting', { value: [], writable: true })
        Object.defineProperty(this, 'parser', { value: null, writable: true })
        Object.defineProperty(this, 'attached', { value: null, writable: true })
        const { headers } = options
        if (Array.isArray(headers)) {
            const flat = Array.isArray(headers[0]) ? headers.flat() : headers
            for (let i = 0; i < flat.length; i += 2) this.appendHeader(flat[i], flat[i + 1])
        } else for (const name of Object.keys(headers ?? {})) this.setHeader(name, headers[name])
        if (!this.hasHeader('host') && options.setHost !== false) {
            const shown = net.isIPv6(host) ? `[${host}]` : host
            this.setHeader('Host', port && Number(port) !== usual ? `${shown}:${port}` : shown)
        }
        if (options.auth && !this.hasHeader('authorization')) {
            this.setHeader('Authorization', `Basic ${Buffer.from(options.auth).toString('base64')}`)
        }
    }

    _dispatch(options) {
        if (this.agent) {
            this.agent.addRequest(this, options)
            return
        }
        const wanted = options.socketPath ? { ...options, path: options.socketPath } : { ...options, path: undefined }
        const connect = options.createConnection ?? net.createConnection
        let told = false
        const made = (err, socket) => {
            if (told) return
            told = true
            this.onSocket(socket, err)
        }
        const socket = connect(wanted, made)
        if (socket) made(null, socket)
    }

    // A connection was found, or none can be had.
    onSocket(socket, err) {
        nextTick(() => {
            if (this.destroyed || err) {
                if (err) this.destroy(err)
                if (socket && this.reusedSocket) socket._release?.()
                else socket?.destroy()
                return
            }
            this._attach(socket)
        })
    }

    _attach(socket) {
        this.socket = socket
        this.parser = new Parser({
            response: true,
            headed: (found) => this._headed(found),
            body: (part) => {
                if (this.res && !this.res._take(part)) socket.pause()
            },
            done: () => this._answered(),
        })
        this.parser.trailer = (fields) => this.res?.rawTrailers.push(...fields)
        this.attached = {
            data: (octets) => this._data(octets),
            end: () => this._ended(),
            close: () => this._closed(),
            error: (err) => {
                this.failed = true
                if (this.res && !this.res.complete) this.res.destroy(err)
                this.destroy(err)
            },
            timeout: () => {
                this.emit('timeout')
                this.res?.emit('timeout')
            },
            drain: () => {},
        }
        for (const [event, run] of Object.entries(this.attached)) socket.on(event, run)
        if (this.timeout !== undefined && socket.timeout !== this.timeout) socket.setTimeout(this.timeout)
        this.emit('socket', socket)
        if (this.destroyed) return
        for (const [octets, done] of this.waiting.splice(0)) socket.write(octets, (err) => done(err))
        socket.resume()
    }

    _detach() {
        const { socket } = this
        if (!this.attached) return
        for (const [event, run] of Object.entries(this.attached)) socket.removeListener(event, run)
        this.attached = null
    }

    _data(octets) {
        try {
            const rest = this.parser.feed(octets)
            if (this.parser.stopped) this._handOver(rest)
        } catch (err) {
            if (!err.code?.startsWith('HPE_')) throw err
            err.rawPacket = octets
            if (this.res && !this.res.complete) {
                // The answer ends with the socket, and the request with the answer.
                this.failed = true
                nextTick(() => this.emit('error', err))
                this.socket.destroy()
            } else this.destroy(err)
        }
    }

    _headed(found) {
        if (found.statusCode >= 100 && found.statusCode < 200 && found.statusCode !== 101) {
            if (found.statusCode === 100) this.emit('continue')
            const { statusCode, statusMessage, rawHeaders } = found
            this.emit('information', { ...new IncomingMessage(null, found), statusCode, statusMessage, rawHeaders })
            return 'none'
        }
        const res = new IncomingMessage(this.socket, found)
        res.req = this
        this.res = res
        this.lasts = found.keepAlive && this.shouldKeepAlive
        if (found.statusCode === 101 || this.method === 'CONNECT') return 'upgrade'
        if (!this.emit('response', res)) res._dump()
        res.once('end', () => this._release())
        res.once('close', () => nextTick(() => this._over()))
        return this.method === 'HEAD' || found.statusCode === 204 || found.statusCode === 304 ? 'none' : 'body'
    }

    _handOver(rest) {
        const { socket, res } = this
        const event = this.method === 'CONNECT' ? 'connect' : 'upgrade'
        this._detach()
        socket.setTimeout(0)
        res.complete = true
        if (!this.emit(event, res, socket, rest ?? Buffer.alloc(0))) socket.destroy()
        this._over()
    }

    _answered() {
        // After an interim answer the real one follows.
        if (!this.res || this.res.complete) return
        this.res._complete()
    }

    // The answer was read to its end.
    _release() {
        if (!this.attached) return
        const { socket } = this
        if (this.lasts && this.writableFinished && socket._release && !socket.destroyed) {
            this._detach()
            socket.setTimeout(0)
            socket._release()
        } else if (this.lasts && !this.writableFinished) this.once('finish', () => this._release())
        else socket.destroySoon()
    }

    _ended() {
        if (this.res && !this.res.complete && this.parser.finish()) return
        if (!this.res && !this.failed && !this.destroyed) {
            this.failed = true
            this.destroy(hangUp())
        }
        this.socket.destroy()
    }

    _closed() {
        const { res } = this
        if (res && !res.complete && !this.parser.finish()) {
            res.destroy(hangUp('aborted'))
        } else if (!res && !this.failed && !this.destroyed) {
            this.failed = true
            this.destroy(hangUp())
        }
        if (!res || res.closed) this._over()
    }

    // Everything is over: the request closes.
    _over() {
        if (!this.destroyed) super.destroy()
    }

    _firstLine() {
        if (this.whole === 0 && BODILESS.has(this.method)) this.bodiless = true
        else if (!this.writableEnded && this.whole === undefined && BODILESS.has(this.method) && this._writableState.length === 0) this.bodiless = true
        return `${this.method} ${this.path} HTTP/1.1`
    }

    _toSocket(octets, done) {
        if (this.socket) this.socket.write(octets, (err) => done(err))
        else this.waiting.push([octets, done])
    }

    destroy(err) {
        if (this.destroyed) return this
        const early = !this.res
        if (this.res && !this.res.complete) this.res.destroy(err)
        super.destroy(err ?? (early && !this.lasts ? hangUp() : undefined))
        return this
    }

    _destroy(err, done) {
        if (this.socket && this.attached) {
            const { socket } = this
            const { error } = this.attached
            // What the socket still says about it is known.
            socket.removeListener('error', error)
            socket.on('error', () => {})
            socket.destroy(this.res ? undefined : err)
        }
        done(err)
    }

    abort() {
        if (this.aborted) return
        this.aborted = true
        nextTick(() => this.emit('abort'))
        this.destroy()
    }

    setNoDelay(on) {
        this.socket?.setNoDelay?.(on)
    }

    setSocketKeepAlive() {}

    clearTimeout(callback) {
        return this.setTimeout(0, callback)
    }
}

module.exports = { ClientRequest, globalAgent }
