// Sockets over TCP and Unix sockets, and servers of them. A socket here is a number on the native side.

const EventEmitter = require('events')
const { Duplex } = require('stream')
const { coded } = require('internal/streams/common')
const { arrived } = require('internal/streams/readable')
const process = require('process')
const { net, socket: ops } = natives

const { nextTick } = process

// How long an address may take to answer while there are others.
const ATTEMPT = 250

// Told when a socket can be read and written, which under TLS is later than 'connect'.
const OPEN = Symbol('open')

exports.isIP = (text) => net.isIP(String(text))
exports.isIPv4 = (text) => exports.isIP(text) === 4
exports.isIPv6 = (text) => exports.isIP(text) === 6

const NUMBERS = {
    ECONNREFUSED: -111, ECONNRESET: -104, EPIPE: -32, ETIMEDOUT: -110, EHOSTUNREACH: -113, ENETUNREACH: -101,
    ENOENT: -2, EACCES: -13, EADDRINUSE: -98, EADDRNOTAVAIL: -99, EINVAL: -22, EMFILE: -24, ECONNABORTED: -103,
}

// A failure of the system as Node words it.
function failure(err, syscall, address, port) {
    const { code } = err
    const where = address === undefined ? '' : port === undefined ? ` ${address}` : ` ${address}:${port}`
    const out = new Error(`${syscall} ${code}${where}`)
    Object.assign(out, { errno: NUMBERS[code] ?? err.errno, code, syscall })
    if (address !== undefined) out.address = address
    if (port !== undefined) out.port = port
    return out
}

// The forms of connect and listen: options, port and host, path; a callback last.
function normalized(args) {
    if (Array.isArray(args[0])) return normalized(args[0])
    const list = [...args]
    const callback = typeof list.at(-1) === 'function' ? list.pop() : null
    const [first, host] = list
    if (first !== null && typeof first === 'object') return [{ ...first }, callback]
    if (typeof first === 'string' && !/^\d+$/.test(first)) return [{ path: first }, callback]
    const options = { port: first }
    if (typeof host === 'string') options.host = host
    return [options, callback]
}

function checkedPort(given) {
    const port = typeof given === 'string' && given.trim() !== '' ? Number(given) : given
    if (typeof port !== 'number' || !Number.isInteger(port) || port < 0 || port > 65535) {
        const said = given === undefined ? 'undefined' : `type ${typeof given} (${given})`
        throw coded('ERR_SOCKET_BAD_PORT', `Port should be >= 0 and < 65536. Received ${said}.`, RangeError)
    }
    return port
}

class SocketBody extends Duplex {
    constructor(given) {
        const options = typeof given === 'number' ? { fd: given } : given ?? {}
        super({ ...options, allowHalfOpen: Boolean(options.allowHalfOpen), decodeStrings: false, autoDestroy: true, emitClose: true, signal: undefined, read: undefined, write: undefined, objectMode: false })
        this.connecting = false
        this._hadError = false
        this.bytesRead = 0
        this.timeout = 0
        this.server = options.server ?? null
        for (const [name, value] of Object.entries({ _handle: null, _reading: 0, _writing: 0, _attempt: 0, _timer: null, _active: 0, _sent: 0, _ends: null, _securing: false, _asked: false })) {
            Object.defineProperty(this, name, { value, writable: true, configurable: true })
        }
        if (options._opened) this._take(options._opened)
        if (options.signal) abortable(this, options.signal)
    }

    connect(...args) {
        const [options, callback] = normalized(args)
        if (options.path === undefined) {
            if (options.port === undefined) {
                throw coded('ERR_MISSING_ARGS', 'The "options" or "port" or "path" argument must be specified', TypeError)
            }
            options.port = checkedPort(options.port)
        }
        if (this.destroyed || this._writableState.ended) this._undestroy()
        if (callback) this.once('connect', callback)
        this.connecting = true
        this._hadError = false
        this._ends = null
        if (options.noDelay) this._noDelay = true
        this._touch()
        if (options.path !== undefined) {
            this._attempt = natives.whenDone(ops.connectUnix(String(options.path)), (err, opened) => {
                if (err) this.destroy(failure(err, 'connect', options.path))
                else this._connected(opened)
            })
        } else {
            this._find(options)
        }
        return this
    }

    // Addresses of the host, one after another.
    _find(options) {
        const host = options.host || 'localhost'
        const family = exports.isIP(host)
        if (family) {
            nextTick(() => this.connecting && this._try([{ address: host, family }], options, []))
            return
        }
        const lookup = options.lookup ?? require('dns').lookup
        const wanted = { family: options.family ?? 0, hints: options.hints ?? 0, all: options.autoSelectFamily !== false && options.localAddress === undefined }
        lookup(host, wanted, (err, found, kind) => {
            if (!this.connecting) return
            const all = err ? [] : Array.isArray(found) ? found : [{ address: found, family: kind }]
            if (err) this.emit('lookup', err, undefined, undefined, host)
            for (const { address, family: number } of all) this.emit('lookup', null, address, number, host)
            if (err) nextTick(() => this.destroy(err))
            else this._try(all, options, [])
        })
    }

    _try(addresses, options, failed) {
        const [{ address }, ...others] = addresses
        let timer
        const next = (err) => {
            const why = failure(err, 'connect', address, options.port)
            failed.push(why)
            if (others.length > 0) return this._try(others, options, failed)
            if (failed.length === 1) return this.destroy(why)
            const all = new AggregateError(failed)
            all.code = failed[0].code
            return this.destroy(all)
        }
        this.emit('connectionAttempt', address, options.port, exports.isIP(address))
        this._attempt = natives.whenDone(ops.connect(address, options.port, options.localAddress), (err, opened) => {
            clearTimeout(timer)
            if (!err) this._connected(opened)
            else {
                this.emit('connectionAttemptFailed', address, options.port, exports.isIP(address), err)
                next(err)
            }
        })
        if (others.length > 0) {
            timer = setTimeout(() => {
                if (!this.connecting) return
                natives.callOff(this._attempt)
                next({ code: 'ETIMEDOUT' })
            }, options.autoSelectFamilyAttemptTimeout ?? ATTEMPT)
        }
    }

    // Takes over an open socket of the native side.
    _take(opened) {
        this._handle = opened.socket
        this._ends = opened
    }

    _connected(opened) {
        this._attempt = 0
        this._take(opened)
        this.connecting = false
        if (this._noDelay) ops.setNoDelay(this._handle, true)
        this._touch()
        this.emit('connect')
        if (!this._securing && !this.destroyed) this._opened()
        this.emit('ready')
    }

    _opened() {
        this.emit(OPEN)
        if (this._asked) this._read()
        else if (this.readable && !this.isPaused()) this.read(0)
        this._asked = false
    }

    // Runs it once the socket is open; the callback gets an error if that never happens.
    _whenOpen(run, done) {
        const closed = () => {
            this.removeListener(OPEN, open)
            done?.(coded('ERR_SOCKET_CLOSED_BEFORE_CONNECTION', 'Socket closed before the connection was established'))
        }
        const open = () => {
            this.removeListener('close', closed)
            run()
        }
        this.once(OPEN, open)
        this.once('close', closed)
    }

    _read() {
        if (this.connecting || this._securing || this._handle === null) {
            this._asked = true
            return
        }
        if (this._reading) return
        this._reading = natives.whenDone(ops.read(this._handle), (err, octets) => {
            this._reading = 0
            if (err) {
                this.destroy(failure(err, 'read'))
                return
            }
            this._touch()
            if (octets.length === 0) {
                this.push(null)
                this.read(0)
                return
            }
            this.bytesRead += octets.length
            arrived(this, Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength))
        })
    }

    _write(chunk, encoding, done) {
        if (this.connecting || this._securing) {
            this._whenOpen(() => this._write(chunk, encoding, done), done)
            return
        }
        if (this._handle === null) {
            done(coded('ERR_SOCKET_CLOSED', 'Socket is closed'))
            return
        }
        const plain = typeof chunk !== 'string' || encoding === 'utf8' || encoding === 'utf-8'
        const octets = plain ? chunk : Buffer.from(chunk, encoding)
        this._touch()
        const size = typeof octets === 'string' ? Buffer.byteLength(octets) : octets.length
        const number = ops.write(this._handle, octets)
        if (number === 0) {
            this._sent += size
            done()
            return
        }
        this._writing = natives.whenDone(number, (err) => {
            this._writing = 0
            this._touch()
            if (!err) this._sent += size
            done(err ? failure(err, 'write') : null)
        })
    }

    _writev(chunks, done) {
        // Texts go as one; half a character at an end of one must not find its other half.
        if (chunks.every(({ chunk, encoding }) => typeof chunk === 'string' && encoding === 'utf8' && chunk.isWellFormed())) {
            this._write(chunks.map(({ chunk }) => chunk).join(''), 'utf8', done)
            return
        }
        const all = chunks.map(({ chunk, encoding }) => (typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk))
        this._write(Buffer.concat(all), 'buffer', done)
    }

    // To a peer that has said goodbye nothing more is sent.
    write(chunk, encoding, done) {
        if (!this.readableEnded || this.allowHalfOpen || !this.writableEnded) return super.write(chunk, encoding, done)
        const callback = typeof encoding === 'function' ? encoding : done
        const err = coded('EPIPE', 'This socket has been ended by the other party')
        if (typeof callback === 'function') nextTick(callback, err)
        this.destroy(err)
        return false
    }

    _final(done) {
        if (this.connecting || this._securing) {
            this._whenOpen(() => this._final(done), done)
            return
        }
        if (this._handle !== null) ops.shutdown(this._handle)
        done()
    }

    _destroy(err, done) {
        this.connecting = false
        this._securing = false
        this.setTimeout(0)
        for (const number of [this._attempt, this._reading, this._writing]) if (number) natives.callOff(number)
        this._attempt = this._reading = this._writing = 0
        if (this._handle !== null) ops.close(this._handle)
        this._handle = null
        this._hadError = Boolean(err)
        if (this.server) this.server._gone(this)
        done(err)
    }

    // Gives the open socket away; nothing more happens here.
    _detach() {
        const opened = { ...this._ends, socket: this._handle }
        if (this._reading) natives.callOff(this._reading)
        this._reading = 0
        this._handle = null
        return opened
    }

    destroySoon() {
        if (this.writable) this.end()
        if (this.writableFinished) this.destroy()
        else this.once('finish', () => this.destroy())
    }

    resetAndDestroy() {
        return this.destroy()
    }

    setTimeout(ms, callback) {
        this.timeout = ms
        clearTimeout(this._timer)
        this._timer = null
        if (ms > 0) {
            if (callback) this.once('timeout', callback)
            this._active = Date.now()
            this._arm(ms)
        } else if (callback) this.removeListener('timeout', callback)
        return this
    }

    // One timer that looks again, since a socket is used more often than it is idle.
    _arm(ms) {
        this._timer = setTimeout(() => {
            const left = this.timeout - (Date.now() - this._active)
            if (left > 0) {
                this._arm(left)
                return
            }
            this._timer = null
            this.emit('timeout')
        }, ms)
        this._timer.unref?.()
    }

    _touch() {
        if (this.timeout > 0) {
            this._active = Date.now()
            if (this._timer === null && !this.destroyed) this._arm(this.timeout)
        }
    }

    setNoDelay(on = true) {
        this._noDelay = on
        if (this._handle !== null) ops.setNoDelay(this._handle, Boolean(on))
        return this
    }

    setKeepAlive() {
        return this
    }

    ref() {
        return this
    }

    unref() {
        return this
    }

    address() {
        return this._ends?.local ?? {}
    }

    get bytesWritten() {
        return this._sent + (this.writableLength ?? 0)
    }

    get bufferSize() {
        return this.writableLength
    }

    get pending() {
        return this._handle === null || this.connecting
    }

    get readyState() {
        if (this.connecting) return 'opening'
        if (this.readable && this.writable) return 'open'
        if (this.readable) return 'readOnly'
        return this.writable ? 'writeOnly' : 'closed'
    }

    get remoteAddress() {
        return this._handle === null ? undefined : this._ends?.remote?.address
    }

    get remotePort() {
        return this._handle === null ? undefined : this._ends?.remote?.port
    }

    get remoteFamily() {
        return this._handle === null ? undefined : this._ends?.remote?.family
    }

    get localAddress() {
        return this._handle === null ? undefined : this._ends?.local?.address
    }

    get localPort() {
        return this._handle === null ? undefined : this._ends?.local?.port
    }

    get localFamily() {
        return this._handle === null ? undefined : this._ends?.local?.family
    }
}

function abortable(subject, signal) {
    const { aborted } = require('internal/streams/pipeline')
    const abort = () => (subject.destroy ? subject.destroy(aborted(signal)) : subject.close())
    if (signal.aborted) nextTick(abort)
    else signal.addEventListener('abort', abort, { once: true })
}

// Old code calls it without `new`, and inherits from it in the old way.
const callable = (Body) =>
    new Proxy(Body, {
        apply: (_target, self, args) => {
            const made = new Body(...args)
            if (!(self instanceof Body)) return made
            for (const key of Reflect.ownKeys(made)) Object.defineProperty(self, key, Object.getOwnPropertyDescriptor(made, key))
            return self
        },
    })

const Socket = callable(SocketBody)
SocketBody.prototype.constructor = Socket

class Server extends EventEmitter {
    constructor(given, listener) {
        super()
        const [options, connected] = typeof given === 'function' ? [{}, given] : [given ?? {}, listener]
        this.options = options
        this.listening = false
        this._handle = null
        this._accepting = 0
        this._at = null
        this._sockets = new Set()
        if (connected) this.on('connection', connected)
    }

    listen(...args) {
        const [options, callback] = normalized(args)
        if (this.listening) throw coded('ERR_SERVER_ALREADY_LISTEN', 'Listen method has been called more than once without closing.')
        if (callback) this.once('listening', callback)
        if (options.signal) abortable(this, options.signal)
        try {
            const made = options.path === undefined ? bound(options) : ops.listenUnix(String(options.path))
            this._handle = made.socket
            this._at = made.at ?? options.path
        } catch (err) {
            const failed = failure(err, 'listen', options.path ?? options.host ?? '::', options.path ? undefined : options.port)
            if (err.code === 'EADDRINUSE') failed.message = failed.message.replace('EADDRINUSE', 'EADDRINUSE: address already in use')
            nextTick(() => this.emit('error', failed))
            return this
        }
        this.listening = true
        nextTick(() => this.listening && this.emit('listening'))
        this._accept()
        return this
    }

    _accept() {
        this._accepting = natives.whenDone(ops.accept(this._handle), (err, opened) => {
            if (err) {
                this.emit('error', failure(err, 'accept'))
                return
            }
            this._accept()
            if (this.maxConnections !== undefined && this._sockets.size >= this.maxConnections) {
                ops.close(opened.socket)
                this.emit('drop', {})
                return
            }
            const socket = this._socket(opened)
            this._sockets.add(socket)
            this.emit('connection', socket)
            if (!socket.destroyed && !this.options.pauseOnConnect) socket.read(0)
        })
    }

    _socket(opened) {
        return new Socket({ allowHalfOpen: this.options.allowHalfOpen, server: this, _opened: opened })
    }

    _gone(socket) {
        if (this._sockets.delete(socket)) this._closeIfDone()
    }

    close(callback) {
        if (typeof callback === 'function') {
            const stopped = coded('ERR_SERVER_NOT_RUNNING', 'Server is not running.')
            this.once('close', this._handle === null ? () => callback(stopped) : () => callback())
        }
        if (this._handle !== null) {
            natives.callOff(this._accepting)
            ops.close(this._handle)
            if (typeof this._at === 'string') require('fs').unlink(this._at, () => {})
        }
        this._handle = null
        this.listening = false
        this._closeIfDone()
        return this
    }

    _closeIfDone() {
        if (this._handle === null && this._sockets.size === 0) nextTick(() => this.emit('close'))
    }

    address() {
        return this._handle === null ? null : this._at
    }

    getConnections(callback) {
        nextTick(callback, null, this._sockets.size)
        return this
    }

    get connections() {
        return this._sockets.size
    }

    ref() {
        return this
    }

    unref() {
        return this
    }

    [Symbol.asyncDispose ?? Symbol('dispose')]() {
        return new Promise((resolve) => this.close(resolve))
    }
}

// Where no host is named: all addresses, of both families where there are both.
function bound(options) {
    const port = options.port === undefined ? 0 : checkedPort(options.port)
    if (options.host === 'localhost') return ops.listen('127.0.0.1', port)
    if (options.host) return ops.listen(options.host, port)
    try {
        return ops.listen('::', port)
    } catch (err) {
        if (err.code === 'EADDRINUSE') throw err
        return ops.listen('0.0.0.0', port)
    }
}

exports.Socket = Socket
exports.Stream = Socket
exports.Server = new Proxy(Server, { apply: (_target, _self, args) => new Server(...args) })
exports.SocketBody = SocketBody
Object.defineProperty(exports, 'SocketBody', { enumerable: false })
exports.connect = (...args) => {
    const [options, callback] = normalized(args)
    const socket = new Socket(options)
    if (options.timeout) socket.setTimeout(options.timeout)
    return socket.connect(options, callback)
}
exports.createConnection = exports.connect
exports.createServer = (options, listener) => new Server(options, listener)
exports.getDefaultAutoSelectFamily = () => true
exports.setDefaultAutoSelectFamily = () => {}
exports.getDefaultAutoSelectFamilyAttemptTimeout = () => ATTEMPT
exports.setDefaultAutoSelectFamilyAttemptTimeout = () => {}
// For the modules of this folder.
for (const [name, value] of Object.entries({ _failure: failure, _normalized: normalized, _abortable: abortable, _callable: callable })) {
    Object.defineProperty(exports, name, { value, enumerable: false })
}
