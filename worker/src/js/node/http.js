// HTTP/1: clients and simple servers; the parts are in `http/`.

const Agent = require('internal/http/agent')
const { ClientRequest, globalAgent } = require('internal/http/client')
const { IncomingMessage, OutgoingMessage, validateHeaderName, validateHeaderValue } = require('internal/http/message')
const { Server, ServerResponse, STATUS_CODES } = require('internal/http/server')

const METHODS = [
    'ACL', 'BIND', 'CHECKOUT', 'CONNECT', 'COPY', 'DELETE', 'GET', 'HEAD', 'LINK', 'LOCK', 'M-SEARCH', 'MERGE',
    'MKACTIVITY', 'MKCALENDAR', 'MKCOL', 'MOVE', 'NOTIFY', 'OPTIONS', 'PATCH', 'POST', 'PROPFIND', 'PROPPATCH', 'PURGE',
    'PUT', 'REBIND', 'REPORT', 'SEARCH', 'SOURCE', 'SUBSCRIBE', 'TRACE', 'UNBIND', 'UNLINK', 'UNLOCK', 'UNSUBSCRIBE',
]

function request(...args) {
    return new ClientRequest(...args)
}

function get(...args) {
    const req = request(...args)
    req.end()
    return req
}

Object.assign(exports, {
    METHODS,
    STATUS_CODES,
    Agent,
    ClientRequest,
    IncomingMessage,
    OutgoingMessage,
    Server,
    ServerResponse,
    createServer: (options, listener) => new Server(options, listener),
    request,
    get,
    maxHeaderSize: 16 * 1024,
    validateHeaderName,
    validateHeaderValue,
    setMaxIdleHTTPParsers() {},
})
Object.defineProperty(exports, 'globalAgent', {
    get: () => globalAgent.http,
    set: (agent) => (globalAgent.http = agent),
    enumerable: true,
    configurable: true,
})
