// HTTP/1 over TLS, for clients.

const HttpAgent = require('internal/http/agent')
const { ClientRequest } = require('internal/http/client')
const tls = require('tls')
const { coded } = require('internal/streams/common')

// Connections with different ones of these are not the same.
const PARTS = ['ca', 'cert', 'key', 'servername', 'rejectUnauthorized', 'minVersion', 'maxVersion', 'passphrase']

class Agent extends HttpAgent {
    constructor(options) {
        super(options)
        this.defaultPort = 443
        this.protocol = 'https:'
    }

    createConnection(options, callback) {
        const socket = tls.connect(options)
        if (callback) {
            socket.once('secureConnect', () => callback(null, socket))
            socket.once('error', callback)
            return undefined
        }
        return socket
    }

    getName(options = {}) {
        return [super.getName(options), ...PARTS.map((part) => options[part] ?? '')].join(':')
    }

    open(req, options, name) {
        // The request gets its socket at once, as it does in the clear, and waits in it for TLS.
        const { createConnection } = this
        if (createConnection !== Agent.prototype.createConnection) return super.open(req, options, name)
        this.createConnection = (wanted) => tls.connect(wanted)
        try {
            return super.open(req, options, name)
        } finally {
            delete this.createConnection
        }
    }
}

let globalAgent = new Agent({ keepAlive: true, scheduling: 'lifo', timeout: 5000 })

function request(input, given, callback) {
    const isUrl = typeof input === 'string' || Boolean(input?.href && input.searchParams)
    const [url, options, done] = isUrl ? [input, given, callback] : [undefined, input, given]
    const [wanted, answered] = typeof options === 'function' ? [{}, options] : [options, done]
    const all = { ...wanted, _defaultAgent: globalAgent }
    return url === undefined ? new ClientRequest(all, answered) : new ClientRequest(url, all, answered)
}

exports.Agent = Agent
exports.request = request
exports.get = (...args) => {
    const req = request(...args)
    req.end()
    return req
}
exports.createServer = () => {
    throw coded('ERR_METHOD_NOT_IMPLEMENTED', 'https.createServer: there are no TLS servers for scripts')
}
Object.defineProperty(exports, 'globalAgent', {
    get: () => globalAgent,
    set: (agent) => (globalAgent = agent),
    enumerable: true,
    configurable: true,
})
