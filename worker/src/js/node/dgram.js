// Datagrams: UDP sockets.

const EventEmitter = require('events')
const net = require('net')
const process = require('process')
const { coded } = require('internal/streams/common')
const { dgram: ops } = natives

const { nextTick } = process

const octets = (given) => {
    if (typeof given === 'string') return Buffer.from(given)
    if (Array.isArray(given)) return Buffer.concat(given.map(octets))
    if (ArrayBuffer.isView(given)) return Buffer.from(given.buffer, given.byteOffset, given.byteLength)
    const what = 'The "buffer" argument must be of type string or an instance of Buffer, TypedArray, or DataView.'
    throw coded('ERR_INVALID_ARG_TYPE', `${what} Received ${typeof given}`, TypeError)
}

class Socket extends EventEmitter {
    #handle = null
    #at = null
    #to = null
    #receiving = 0
    #closed = false
    // Sends that wait for names; the socket closes at once regardless.
    #options

    constructor(given, listener) {
        super()
        this.#options = typeof given === 'string' ? { type: given } : { ...given }
        this.type = this.#options.type
        if (this.type !== 'udp4' && this.type !== 'udp6') {
            throw coded('ERR_SOCKET_BAD_TYPE', 'Bad socket type specified. Valid types are: udp4, udp6', TypeError)
        }
        if (listener) this.on('message', listener)
        if (this.#options.signal) net._abortable(this, this.#options.signal)
    }

    #check() {
        if (this.#closed) throw coded('ERR_SOCKET_DGRAM_NOT_RUNNING', 'Not running')
    }

    bind(...args) {
        this.#check()
        if (this.#handle !== null) throw coded('ERR_SOCKET_ALREADY_BOUND', 'Socket is already bound')
        const list = [...args]
        const done = typeof list.at(-1) === 'function' ? list.pop() : undefined
        const [first, second] = list
        const { port = 0, address } = first !== null && typeof first === 'object' ? first : { port: first, address: second }
        if (done) this.once('listening', done)
        this.#open(port ?? 0, address)
        if (this.#handle !== null) nextTick(() => !this.#closed && this.emit('listening'))
        return this
    }

    #open(port, address) {
        const any = this.type === 'udp4' ? '0.0.0.0' : '::'
        const host = address === 'localhost' ? (this.type === 'udp4' ? '127.0.0.1' : '::1') : address || any
        try {
            const made = ops.bind(host, Number(port))
            this.#handle = made.socket
            this.#at = made.at
            this.#receive()
        } catch (err) {
            nextTick(() => this.emit('error', net._failure(err, 'bind', host, port)))
        }
    }

    #receive() {
        this.#receiving = natives.whenDone(ops.receive(this.#handle), (err, got) => {
            if (this.#closed) return
            this.#receive()
            if (err) {
                // Told about a datagram that was sent earlier, to a port that nobody listens on.
                if (err.code !== 'ECONNREFUSED') this.emit('error', net._failure(err, 'recvmsg'))
                return
            }
            const all = Buffer.from(got.buffer, got.byteOffset, got.byteLength)
            const length = all.readUInt16BE(0)
            const message = all.subarray(2 + length)
            const from = JSON.parse(all.subarray(2, 2 + length).toString())
            this.emit('message', message, { ...from, size: message.length })
        })
    }

    // send(message[, offset, length][, port][, address][, callback])
    send(message, ...args) {
        this.#check()
        const list = [...args]
        const done = typeof list.at(-1) === 'function' ? list.pop() : undefined
        while (list.length > 0 && list.at(-1) === undefined) list.pop()
        let data = octets(message)
        const parts = this.#to ? 2 : 3
        if (list.length >= parts || (list.length === 3 && typeof list[1] === 'number')) {
            const [offset, length] = list.splice(0, 2)
            data = data.subarray(offset, offset + length)
        }
        const [port, address] = this.#to ? [this.#to.port, this.#to.address] : list
        if (!this.#to && !(Number(port) > 0 && Number(port) < 65536)) {
            throw coded('ERR_SOCKET_BAD_PORT', `Port should be > 0 and < 65536. Received ${port}.`, RangeError)
        }
        if (this.#handle === null) {
            this.#open(0)
            if (this.#handle === null) return
            nextTick(() => !this.#closed && this.emit('listening'))
        }
        const fail = (err) => {
            if (done) done(err)
            else this.emit('error', err)
        }
        this.#resolve(address, (err, ip) => {
            if (err) return fail(err)
            if (this.#closed) return undefined
            return natives.whenDone(ops.send(this.#handle, data, ip, Number(port)), (failed, sent) => {
                if (failed) fail(net._failure(failed, 'send', ip, Number(port)))
                else done?.(null, sent)
            })
        })
    }

    #resolve(address, done) {
        const host = address || (this.type === 'udp4' ? '127.0.0.1' : '::1')
        if (net.isIP(host)) {
            nextTick(done, null, host)
            return
        }
        const lookup = this.#options.lookup ?? require('dns').lookup
        lookup(host, { family: this.type === 'udp4' ? 4 : 6 }, done)
    }

    connect(port, address, done) {
        const [host, callback] = typeof address === 'function' ? [undefined, address] : [address, done]
        if (callback) this.once('connect', callback)
        this.#resolve(host, (err, ip) => {
            if (err) return callback ? callback(err) : this.emit('error', err)
            this.#to = { port, address: ip, family: this.type === 'udp4' ? 'IPv4' : 'IPv6' }
            if (this.#handle === null) this.#open(0)
            return this.emit('connect')
        })
    }

    disconnect() {
        this.#to = null
    }

    remoteAddress() {
        if (!this.#to) throw coded('ERR_SOCKET_DGRAM_NOT_CONNECTED', 'Not connected')
        return this.#to
    }

    close(done) {
        if (typeof done === 'function') this.on('close', done)
        this.#check()
        this.#closed = true
        if (this.#receiving) natives.callOff(this.#receiving)
        if (this.#handle !== null) ops.close(this.#handle)
        this.#handle = null
        nextTick(() => this.emit('close'))
        return this
    }

    address() {
        this.#check()
        if (!this.#at) throw net._failure({ code: 'EBADF', errno: -9 }, 'getsockname')
        return { ...this.#at }
    }

    setBroadcast(on) {
        if (this.#handle !== null) ops.setBroadcast(this.#handle, Boolean(on))
    }

    setTTL(ttl) {
        return ttl
    }

    setMulticastTTL(ttl) {
        return ttl
    }

    setMulticastLoopback() {}

    setRecvBufferSize() {}

    setSendBufferSize() {}

    getRecvBufferSize() {
        return 212992
    }

    getSendBufferSize() {
        return 212992
    }

    ref() {
        return this
    }

    unref() {
        return this
    }
}

exports.Socket = Socket
exports.createSocket = (options, listener) => new Socket(options, listener)
