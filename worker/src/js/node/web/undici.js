// The package undici as far as clients of services use it, over `http` and `https`: the package itself
// brings its parser as WebAssembly, which the engine does not run.

const EventEmitter = require('events')
const { Readable, pipeline } = require('stream')
const { URL } = require('url')
const fetching = require('internal/web/fetch')
const net = require('net')

class UndiciError extends Error {
    constructor(message, options) {
        super(message, options)
        this.name = 'UndiciError'
        this.code = 'UND_ERR'
    }
}

const kind = (name, code, usual) =>
    class extends UndiciError {
        constructor(message = usual) {
            super(message)
            this.name = name
            this.code = code
        }
    }

const KINDS = {
    BodyTimeoutError: ['UND_ERR_BODY_TIMEOUT', 'Body Timeout Error'],
    ClientClosedError: ['UND_ERR_CLOSED', 'The client is closed'],
    ClientDestroyedError: ['UND_ERR_DESTROYED', 'The client is destroyed'],
    ConnectTimeoutError: ['UND_ERR_CONNECT_TIMEOUT', 'Connect Timeout Error'],
    HeadersOverflowError: ['UND_ERR_HEADERS_OVERFLOW', 'Headers Overflow Error'],
    HeadersTimeoutError: ['UND_ERR_HEADERS_TIMEOUT', 'Headers Timeout Error'],
    InformationalError: ['UND_ERR_INFO', 'Request information'],
    InvalidArgumentError: ['UND_ERR_INVALID_ARG', 'Invalid Argument Error'],
    InvalidReturnValueError: ['UND_ERR_INVALID_RETURN_VALUE', 'Invalid Return Value Error'],
    NotSupportedError: ['UND_ERR_NOT_SUPPORTED', 'Not supported error'],
    RequestAbortedError: ['UND_ERR_ABORTED', 'Request aborted'],
    RequestContentLengthMismatchError: ['UND_ERR_REQ_CONTENT_LENGTH_MISMATCH', 'Request body length does not match content-length header'],
    ResponseContentLengthMismatchError: ['UND_ERR_RES_CONTENT_LENGTH_MISMATCH', 'Response body length does not match content-length header'],
    SocketError: ['UND_ERR_SOCKET', 'Socket error'],
}
const errors = { UndiciError }
for (const [name, [code, usual]] of Object.entries(KINDS)) errors[name] = kind(name, code, usual)
errors.AbortError = errors.RequestAbortedError

// As undici: how long the head and each piece of a body may take, and a connection.
const PATIENCE = 300_000
const CONNECT = 10_000

const moduleOf = (url) => (url.protocol === 'https:' ? require('https') : require('http'))

// A connector: `connect(options, callback)`.
function buildConnector({ timeout = CONNECT, socketPath, ...more } = {}) {
    return (options, done) => {
        const port = Number(options.port) || (options.protocol === 'https:' ? 443 : 80)
        const wanted = { ...more, ...options, host: options.hostname, port, path: socketPath, timeout: undefined }
        const secure = options.protocol === 'https:'
        if (secure) wanted.servername = options.servername || more.servername || (net.isIP(options.hostname) ? undefined : options.hostname)
        const socket = secure ? require('tls').connect(wanted) : net.connect(wanted)
        let told = false
        const tell = (err) => {
            if (told) return
            told = true
            clearTimeout(timer)
            if (err) socket.destroy()
            done(err, err ? null : socket)
        }
        const timer = setTimeout(() => tell(new errors.ConnectTimeoutError()), timeout)
        socket.once(secure ? 'secureConnect' : 'connect', () => tell(null))
        socket.once('error', tell)
        return socket
    }
}

class Dispatcher extends EventEmitter {}

// Connections to one origin.
class Pool extends Dispatcher {
    #options
    #agent
    #url
    #state = 'open'
    #active = new Set()

    constructor(origin, options = {}) {
        super()
        this.#url = origin instanceof URL ? origin : new URL(String(origin))
        this.#options = options
        const { Agent } = moduleOf(this.#url)
        const settings = typeof options.connect === 'object' && options.connect !== null ? options.connect : {}
        const keep = { keepAlive: true, maxSockets: options.connections ?? Infinity, timeout: options.keepAliveTimeout ?? 4000 }
        this.#agent = new Agent({ ...settings, ...keep })
        const connector = typeof options.connect === 'function' ? options.connect : buildConnector(settings)
        const { hostname, host, protocol, port } = this.#url
        const bare = hostname.replace(/^\[(.*)\]$/, '$1')
        this.#agent.createConnection = (_wanted, done) => {
            connector({ hostname: bare, host, protocol, port, servername: settings.servername ?? null }, done)
        }
    }

    get closed() {
        return this.#state !== 'open'
    }

    get destroyed() {
        return this.#state === 'destroyed'
    }

    request(given, callback) {
        const asked = this.#ask(given)
        if (typeof callback !== 'function') return asked
        asked.then((found) => callback(null, found), (err) => callback(err, { body: null }))
        return undefined
    }

    async #ask({ method = 'GET', path = '/', headers, body = null, signal, query, headersTimeout, bodyTimeout }) {
        if (this.#state === 'closed') throw new errors.ClientClosedError()
        if (this.#state === 'destroyed') throw new errors.ClientDestroyedError()
        const aborted = () => signal?.reason ?? new errors.RequestAbortedError()
        if (signal?.aborted) throw aborted()
        const url = new URL(path, this.#url)
        for (const [name, value] of Object.entries(query ?? {})) url.searchParams.append(name, value)
        const limits = [headersTimeout ?? this.#options.headersTimeout ?? PATIENCE, bodyTimeout ?? this.#options.bodyTimeout ?? PATIENCE]
        const plain = typeof body === 'string' || ArrayBuffer.isView(body) ? Buffer.from(body) : body
        const sent = Array.isArray(headers) ? headers : listed(headers)
        const { request } = moduleOf(this.#url)
        return new Promise((resolve, reject) => {
            const { hostname, port, protocol } = this.#url
            const req = request({ agent: this.#agent, protocol, hostname: hostname.replace(/^\[(.*)\]$/, '$1'), port, method, path: url.pathname + url.search, headers: sent })
            this.#active.add(req)
            let late
            const timer = limits[0] > 0 ? setTimeout(() => req.destroy(new errors.HeadersTimeoutError()), limits[0]) : undefined
            const abort = () => {
                late = signal.aborted ? aborted() : new errors.RequestAbortedError()
                req.destroy(late)
                reject(late)
            }
            if (signal?.addEventListener) signal.addEventListener('abort', abort, { once: true })
            else signal?.once?.('abort', abort)
            req.on('error', (err) => reject(late ?? worded(err, req.socket)))
            req.on('close', () => {
                clearTimeout(timer)
                this.#active.delete(req)
                signal?.removeEventListener?.('abort', abort)
            })
            req.on('response', (res) => {
                clearTimeout(timer)
                if (limits[1] > 0) req.setTimeout(limits[1], () => res.destroy(new errors.BodyTimeoutError()))
                resolve({ statusCode: res.statusCode, statusText: res.statusMessage, headers: res.headers, body: readable(res), trailers: res.trailers, opaque: null, context: {} })
            })
            if (plain === null || plain === undefined || Buffer.isBuffer(plain)) {
                req.end(plain ?? undefined)
            } else {
                pipeline(plain instanceof Readable ? plain : Readable.from(plain), req, (err) => err && reject(err))
            }
        })
    }

    async stream(options, factory) {
        const { statusCode, headers, body } = await this.request(options)
        const to = factory({ statusCode, headers, opaque: options.opaque })
        await new Promise((resolve, reject) => pipeline(body, to, (err) => (err ? reject(err) : resolve())))
        return { trailers: {}, opaque: options.opaque }
    }

    async close() {
        if (this.#state === 'open') this.#state = 'closed'
        await Promise.all([...this.#active].map((req) => new Promise((resolve) => req.once('close', resolve))))
        this.#agent.destroy()
    }

    async destroy(err) {
        this.#state = 'destroyed'
        for (const req of this.#active) req.destroy(err ?? new errors.ClientDestroyedError())
        this.#agent.destroy()
    }
}

const listed = (headers) => {
    const pairs = headers?.[Symbol.iterator] ? [...headers] : Object.entries(headers ?? {})
    return pairs.filter(([, value]) => value !== undefined && value !== null).flatMap(([name, value]) => [value].flat().flatMap((one) => [name, one]))
}

function worded(err, socket) {
    if (err.code !== 'ECONNRESET' || err.syscall) return err
    const out = new errors.SocketError('other side closed')
    out.socket = { localAddress: socket?.localAddress, localPort: socket?.localPort, remoteAddress: socket?.remoteAddress, remotePort: socket?.remotePort }
    return out
}

// The body with the methods of one that fetch gives.
function readable(res) {
    const octets = async () => {
        const parts = []
        for await (const part of res) parts.push(Buffer.from(part))
        return Buffer.concat(parts)
    }
    const methods = {
        text: async () => (await octets()).toString(),
        json: async () => JSON.parse((await octets()).toString()),
        bytes: async () => new Uint8Array(await octets()),
        arrayBuffer: async () => new Uint8Array(await octets()).buffer,
        blob: async () => new fetching.Blob([await octets()]),
        dump: async () => {
            res.resume()
        },
    }
    for (const [name, value] of Object.entries(methods)) Object.defineProperty(res, name, { value, configurable: true })
    return res
}

// A pool for each origin.
class Agent extends Dispatcher {
    #pools = new Map()
    #options

    constructor(options = {}) {
        super()
        this.#options = options
    }

    request({ origin, ...options }, callback) {
        const url = new URL(String(origin ?? options.path))
        let pool = this.#pools.get(url.origin)
        if (!pool) this.#pools.set(url.origin, (pool = new Pool(url.origin, this.#options)))
        return pool.request(options, callback)
    }

    async close() {
        await Promise.all([...this.#pools.values()].map((pool) => pool.close()))
    }

    async destroy(err) {
        await Promise.all([...this.#pools.values()].map((pool) => pool.destroy(err)))
    }
}

let globalDispatcher = new Agent()

async function request(input, options = {}) {
    const url = input instanceof URL ? input : new URL(String(input))
    const { dispatcher = globalDispatcher, ...more } = options
    return dispatcher.request({ ...more, origin: url.origin, path: options.path ?? url.pathname + url.search, method: options.method ?? (options.body ? 'PUT' : 'GET') })
}

module.exports = {
    ...fetching,
    Agent,
    Client: Pool,
    Dispatcher,
    Pool,
    BalancedPool: Pool,
    buildConnector,
    errors,
    request,
    getGlobalDispatcher: () => globalDispatcher,
    setGlobalDispatcher: (dispatcher) => (globalDispatcher = dispatcher),
}
