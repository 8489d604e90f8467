// `require('./tls_socket')`: a connection that begins in the clear and may be upgraded to TLS (SMC rows).

const net = require('net')
const tls = require('tls')
const { Stream } = require('stream')
const { coded } = require('internal/streams/common')

const EVENTS = ['data', 'connect', 'end', 'close', 'drain', 'timeout']

// One socket to those who hold it, whichever is below.
class PluggableStream extends Stream {
    constructor(socket) {
        super()
        this.readable = true
        this.writable = true
        this._timeout = 0
        this._keepalive = false
        if (socket) this.attach(socket)
    }

    attach(socket) {
        this.targetsocket = socket
        for (const event of EVENTS) {
            socket.on(event, (...args) => {
                if (this.targetsocket !== socket) return
                if (event === 'connect') this.#addresses(socket)
                if (event === 'end' || event === 'close') this.writable = Boolean(socket.writable)
                this.emit(event, ...args)
            })
        }
        socket.on('secureConnect', () => {
            this.emit('secureConnect')
            this.emit('secure')
        })
        socket.on('error', (err) => {
            if (this.targetsocket !== socket) return
            this.writable = Boolean(socket.writable)
            err.source = 'tls'
            if (this.listenerCount('error') > 0) this.emit('error', err)
        })
        this.#addresses(socket)
    }

    #addresses(socket) {
        for (const name of ['remotePort', 'remoteAddress', 'localPort', 'localAddress']) {
            if (socket[name]) this[name] = socket[name]
        }
    }

    // Nothing is heard of the socket below any more.
    clean() {
        this.targetsocket = { write: () => true }
    }

    pause() {
        this.readable = false
        this.targetsocket.pause?.()
    }

    resume() {
        this.readable = true
        this.targetsocket.resume?.()
    }

    write(...args) {
        return this.targetsocket.write?.(...args) ?? false
    }

    end(...args) {
        return this.targetsocket.end?.(...args)
    }

    destroy(...args) {
        return this.targetsocket.destroy?.(...args)
    }

    destroySoon() {
        return this.targetsocket.destroySoon?.()
    }

    setKeepAlive(on) {
        this._keepalive = on
        return this.targetsocket.setKeepAlive?.(on)
    }

    setNoDelay() {}

    unref() {
        return this.targetsocket.unref?.()
    }

    setTimeout(ms) {
        this._timeout = ms
        return this.targetsocket.setTimeout?.(ms)
    }

    isEncrypted() {
        return this.targetsocket.encrypted
    }

    isSecure() {
        return this.targetsocket.encrypted && this.targetsocket.authorized
    }
}

// `upgrade(options, done)`: done(authorized, why not, certificate, cipher).
exports.connect = (options = {}) => {
    const plain = net.connect(options)
    const socket = new PluggableStream(plain)
    socket.upgrade = (given, done) => {
        socket.clean()
        const secure = tls.connect({ ...given, socket: plain })
        secure.once('secureConnect', () => {
            const cipher = { ...secure.getCipher(), version: secure.getProtocol() }
            done?.(secure.authorized, secure.authorizationError, secure.getPeerCertificate(), cipher)
        })
        socket.cleartext = secure
        if (socket._timeout) secure.setTimeout(socket._timeout)
        secure.setKeepAlive?.(socket._keepalive)
        socket.attach(secure)
    }
    return socket
}
exports.createConnection = exports.connect

exports.createServer = () => {
    throw coded('ERR_METHOD_NOT_IMPLEMENTED', 'tls_socket.createServer: the server offers TLS on its own ports; see tls.ini')
}
exports.Server = exports.createServer
