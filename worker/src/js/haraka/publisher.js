// Results on their way to redis. They are many and nobody waits for what redis says to them, so they
// have a connection of their own without replies, on which those of one turn leave together. It goes
// where the plugin's client goes; what that client does in ways of its own is left to it.

const net = require('net')

const { socket: ops } = natives

// Octets that may wait for redis; a follower that is so far behind has lost the thread anyway.
const MOST = 1 << 20

// How long the plugin's client is used after the connection was lost.
const REST = 5000

const text = (part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`
const command = (...parts) => `*${parts.length}\r\n${parts.map(text).join('')}`

class Publisher {
    constructor(client) {
        this.client = client
        this.socket = null
        // Its number on the native side, which writes to it from the time when it is open and all before is said.
        this.open = 0
        this.waiting = ''
        this.again = 0
        this.flush = this.flush.bind(this)
    }

    // Whether the client's server can be reached in the plain way.
    static suits(client) {
        const { options } = client
        const to = options?.socket
        return Boolean(client.isReady && to && !to.tls && !options.credentialsProvider && (to.path || to.port))
    }

    // What followers get.
    static message(plugin, result) {
        return JSON.stringify({ plugin, result })
    }

    // False if the client has to do it.
    publish(channel, plugin, result) {
        if (this.open !== 0) return ops.publish(this.open, channel, plugin, result)
        if (this.socket === null && !this.connect()) return false
        const said = Publisher.message(plugin, result)
        if (this.socket.writableLength + this.waiting.length > MOST) return false
        if (this.waiting === '') setImmediate(this.flush)
        // Channels are made of hexadecimal digits.
        this.waiting += `*3\r\n$7\r\nPUBLISH\r\n$${channel.length}\r\n${channel}\r\n${text(said)}`
        return true
    }

    flush() {
        const all = this.waiting
        this.waiting = ''
        if (all !== '') this.socket?.write(all)
    }

    connect() {
        if (Date.now() < this.again || !Publisher.suits(this.client)) return false
        const { socket: to, username, password } = this.client.options
        const socket = net.connect(to.path ? { path: to.path } : { host: to.host ?? '127.0.0.1', port: to.port })
        const lost = () => {
            if (this.socket !== socket) return
            this.socket = null
            this.open = 0
            this.again = Date.now() + REST
        }
        socket.on('error', lost).on('close', lost)
        // Nothing is answered, so that what is small would wait for the acknowledgement of what went before.
        socket.setNoDelay(true)
        socket.unref()
        if (password) socket.write(username ? command('AUTH', username, password) : command('AUTH', password))
        socket.once('ready', () => {
            this.flush()
            if (this.socket === socket && socket.writableLength === 0) this.open = socket._handle
        })
        // Its name in what redis tells of its clients.
        socket.write(command('CLIENT', 'SETNAME', 'haraka-results'))
        socket.write(command('CLIENT', 'REPLY', 'OFF'))
        // Replies to these are all that comes.
        socket.resume()
        this.socket = socket
        return true
    }
}

module.exports = Publisher
