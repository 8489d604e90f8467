// What addresses are, and the shape of sockets: connecting tells that it cannot be done.

const { Duplex } = require('stream')
const { net } = natives

exports.isIP = (text) => net.isIP(String(text))
exports.isIPv4 = (text) => net.isIP(String(text)) === 4
exports.isIPv6 = (text) => net.isIP(String(text)) === 6

class Socket extends Duplex {
    connect() {
        const err = new Error('connect: sockets of scripts are not available')
        this.destroy(Object.assign(err, { code: 'ENOTSUP', syscall: 'connect' }))
        return this
    }

    setTimeout() {
        return this
    }

    setNoDelay() {
        return this
    }

    setKeepAlive() {
        return this
    }
}

exports.Socket = Socket
exports.connect = (...args) => new Socket().connect(...args)
exports.createConnection = exports.connect
