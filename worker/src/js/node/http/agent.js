// Connections of clients: made for requests, kept for later ones.

const EventEmitter = require('events')
const net = require('net')

class Agent extends EventEmitter {
    constructor(options) {
        super()
        this.defaultPort = 80
        this.protocol = 'http:'
        this.options = { noDelay: true, ...options, path: null }
        this.requests = Object.create(null)
        this.sockets = Object.create(null)
        this.freeSockets = Object.create(null)
        this.keepAlive = Boolean(this.options.keepAlive)
        this.keepAliveMsecs = this.options.keepAliveMsecs ?? 1000
        this.maxSockets = this.options.maxSockets ?? Infinity
        this.maxFreeSockets = this.options.maxFreeSockets ?? 256
        this.maxTotalSockets = this.options.maxTotalSockets ?? Infinity
        this.scheduling = this.options.scheduling ?? 'lifo'
        this.totalSocketCount = 0
    }

    createConnection(options, callback) {
        return net.createConnection(options, callback)
    }

    getName(options = {}) {
        const { host = 'localhost', port = '', localAddress = '', family, socketPath } = options
        const more = family === 4 || family === 6 ? `:${family}` : ''
        return `${host}:${port}:${localAddress}${more}${socketPath ? `:${socketPath}` : ''}`
    }

    addRequest(req, given) {
        const options = { ...given, ...this.options }
        if (given.timeout !== undefined) options.timeout = given.timeout
        if (options.socketPath) options.path = options.socketPath
        else delete options.path
        const name = this.getName(options)
        const free = this.freeSockets[name] ?? []
        let socket
        while (!socket && free.length > 0) {
            const candidate = this.scheduling === 'fifo' ? free.shift() : free.pop()
            if (!candidate.destroyed && candidate.writable) socket = candidate
        }
        if (free.length === 0) delete this.freeSockets[name]
        if (socket) {
            socket._idle(false)
            ;(this.sockets[name] ??= []).push(socket)
            req.reusedSocket = true
            if (options.timeout !== undefined) socket.setTimeout(options.timeout)
            req.onSocket(socket)
        } else if ((this.sockets[name]?.length ?? 0) < this.maxSockets && this.totalSocketCount < this.maxTotalSockets) {
            this.open(req, options, name)
        } else {
            ;(this.requests[name] ??= []).push([req, options])
        }
    }

    open(req, options, name) {
        let told = false
        const made = (err, socket) => {
            if (told) return
            told = true
            if (err) {
                req.onSocket(null, err)
                return
            }
            this.own(socket, options, name)
            req.onSocket(socket)
        }
        const wanted = { ...options, servername: options.servername ?? serverName(req, options) }
        const socket = this.createConnection(wanted, made)
        if (socket) made(null, socket)
    }

    own(socket, options, name) {
        ;(this.sockets[name] ??= []).push(socket)
        this.totalSocketCount++
        const drop = () => {
            for (const all of [this.sockets, this.freeSockets]) {
                const at = all[name]?.indexOf(socket) ?? -1
                if (at >= 0) all[name].splice(at, 1)
                if (all[name]?.length === 0) delete all[name]
            }
        }
        const idle = {
            data: () => socket.destroy(),
            end: () => socket.destroy(),
            error: () => socket.destroy(),
            timeout: () => socket.destroy(),
        }
        Object.defineProperty(socket, '_idle', {
            value: (on) => {
                for (const [event, run] of Object.entries(idle)) {
                    socket.removeListener(event, run)
                    if (on) socket.on(event, run)
                }
            },
            configurable: true,
        })
        Object.defineProperty(socket, '_release', {
            value: () => {
                drop()
                const waiting = this.requests[name]?.shift()
                if (this.requests[name]?.length === 0) delete this.requests[name]
                if (waiting && !waiting[0].destroyed) {
                    ;(this.sockets[name] ??= []).push(socket)
                    waiting[0].onSocket(socket)
                } else if (this.keepAlive && (this.freeSockets[name]?.length ?? 0) < this.maxFreeSockets) {
                    ;(this.freeSockets[name] ??= []).push(socket)
                    socket._idle(true)
                    if (this.options.timeout) socket.setTimeout(this.options.timeout)
                    else socket.setTimeout(0)
                    socket.resume()
                    this.emit('free', socket, options)
                } else socket.destroy()
            },
            configurable: true,
        })
        socket.once('close', () => {
            drop()
            this.totalSocketCount--
            const waiting = this.requests[name]?.shift()
            if (this.requests[name]?.length === 0) delete this.requests[name]
            if (waiting && !waiting[0].destroyed) this.open(waiting[0], waiting[1], name)
        })
    }

    keepSocketAlive() {
        return true
    }

    reuseSocket() {}

    destroy() {
        for (const all of [this.freeSockets, this.sockets]) {
            for (const name of Object.keys(all)) for (const socket of [...all[name]]) socket.destroy()
        }
    }
}

function serverName(req, options) {
    const host = String(req.getHeader('host') ?? options.host ?? '').replace(/:\d+$/, '')
    return net.isIP(host) ? '' : host
}

module.exports = Agent
