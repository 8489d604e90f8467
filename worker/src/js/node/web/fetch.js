// fetch with its objects, over `http` and `https`. Bodies are streams of Node below.

const { Readable } = require('stream')
const { URLSearchParams, URL } = require('url')
const { validateHeaderName, validateHeaderValue } = require('internal/http/message')

// Redirects that are followed (Fetch standard, HTTP-redirect fetch).
const MOST_REDIRECTS = 20
// As undici: how long a connection and the head of an answer may take.
const PATIENCE = 300_000

class Headers {
    #all = new Map()

    constructor(given) {
        if (given === undefined || given === null) return
        const pairs = given instanceof Headers || typeof given[Symbol.iterator] === 'function' ? given : Object.entries(given)
        for (const [name, value] of pairs) this.append(name, value)
    }

    static #checked(name, value) {
        validateHeaderName(String(name))
        if (value === undefined) return String(name).toLowerCase()
        validateHeaderValue(name, value)
        return String(name).toLowerCase()
    }

    append(name, value) {
        const key = Headers.#checked(name, String(value))
        const now = this.#all.get(key) ?? []
        this.#all.set(key, [...now, String(value).trim()])
    }

    set(name, value) {
        this.#all.set(Headers.#checked(name, String(value)), [String(value).trim()])
    }

    get(name) {
        return this.#all.get(Headers.#checked(name))?.join(', ') ?? null
    }

    has(name) {
        return this.#all.has(Headers.#checked(name))
    }

    delete(name) {
        this.#all.delete(Headers.#checked(name))
    }

    getSetCookie() {
        return [...(this.#all.get('set-cookie') ?? [])]
    }

    forEach(run, self) {
        for (const [name, value] of this) run.call(self, value, name, this)
    }

    *entries() {
        for (const name of [...this.#all.keys()].sort()) {
            if (name === 'set-cookie') for (const cookie of this.#all.get(name)) yield [name, cookie]
            else yield [name, this.#all.get(name).join(', ')]
        }
    }

    *keys() {
        for (const [name] of this.entries()) yield name
    }

    *values() {
        for (const [, value] of this.entries()) yield value
    }

    [Symbol.iterator]() {
        return this.entries()
    }
}

// The body of an answer as streams of the web are read.
class ReadableStream {
    #source
    #locked = false

    constructor(source) {
        this.#source = source instanceof Readable ? source : Readable.from(pulled(source ?? {}))
    }

    get locked() {
        return this.#locked
    }

    getReader() {
        if (this.#locked) throw new TypeError('Invalid state: ReadableStream is locked')
        this.#locked = true
        const chunks = this.#source[Symbol.asyncIterator]()
        const closed = new Promise((resolve) => this.#source.once('close', resolve))
        return {
            closed,
            read: async () => {
                const { done, value } = await chunks.next()
                return done ? { done: true, value: undefined } : { done: false, value: plain(value) }
            },
            cancel: async () => {
                this.#source.destroy()
            },
            releaseLock: () => {
                this.#locked = false
            },
        }
    }

    async cancel() {
        this.#source.destroy()
    }

    async *[Symbol.asyncIterator]() {
        this.#locked = true
        for await (const chunk of this.#source) yield plain(chunk)
    }

    static from(items) {
        return new ReadableStream(Readable.from(items))
    }
}

const plain = (chunk) => (Buffer.isBuffer(chunk) ? new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength) : chunk)

// What a source's controller was given.
async function* pulled(source) {
    const waiting = []
    let over = false
    let failed
    const controller = {
        enqueue: (chunk) => waiting.push(chunk),
        close: () => (over = true),
        error: (err) => (failed = err ?? new Error('stream failed')),
        desiredSize: 1,
    }
    await source.start?.(controller)
    for (;;) {
        if (failed) throw failed
        if (waiting.length > 0) yield waiting.shift()
        else if (over || !source.pull) return
        else await source.pull(controller)
    }
}

class Blob {
    #octets

    constructor(parts = [], { type = '' } = {}) {
        this.#octets = Buffer.concat(parts.map((part) => (part instanceof Blob ? part.#octets : octetsOf(part))))
        this.type = String(type).toLowerCase()
    }

    get size() {
        return this.#octets.length
    }

    async arrayBuffer() {
        return Uint8Array.from(this.#octets).buffer
    }

    async text() {
        return this.#octets.toString()
    }

    slice(start, end, type) {
        return new Blob([this.#octets.subarray(start, end)], { type })
    }

    stream() {
        return new ReadableStream(Readable.from([this.#octets]))
    }

    static octets(blob) {
        return blob.#octets
    }
}

const { octets: octetsOfBlob } = Blob
delete Blob.octets

function octetsOf(given) {
    if (given instanceof ArrayBuffer) return Buffer.from(given)
    if (ArrayBuffer.isView(given)) return Buffer.from(given.buffer, given.byteOffset, given.byteLength)
    return Buffer.from(String(given))
}

class FormData {
    #fields = []

    append(name, value, file) {
        this.#fields.push([String(name), value instanceof Blob ? value : String(value), file])
    }

    set(name, value, file) {
        this.delete(name)
        this.append(name, value, file)
    }

    get(name) {
        return this.#fields.find(([key]) => key === name)?.[1] ?? null
    }

    getAll(name) {
        return this.#fields.filter(([key]) => key === name).map(([, value]) => value)
    }

    has(name) {
        return this.#fields.some(([key]) => key === name)
    }

    delete(name) {
        this.#fields = this.#fields.filter(([key]) => key !== name)
    }

    *entries() {
        for (const [name, value] of this.#fields) yield [name, value]
    }

    [Symbol.iterator]() {
        return this.entries()
    }

    // As multipart/form-data (RFC 7578).
    static encoded(form) {
        const boundary = `----formdata-${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}`
        const quoted = (text) => String(text).replace(/\r/g, '%0D').replace(/\n/g, '%0A').replace(/"/g, '%22')
        const parts = form.#fields.flatMap(([name, value, file]) => {
            const isBlob = value instanceof Blob
            const named = isBlob ? `; filename="${quoted(file ?? 'blob')}"` : ''
            const type = isBlob ? `Content-Type: ${value.type || 'application/octet-stream'}\r\n` : ''
            const head = `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(name)}"${named}\r\n${type}\r\n`
            return [Buffer.from(head), isBlob ? octetsOfBlob(value) : Buffer.from(value), Buffer.from('\r\n')]
        })
        return [Buffer.concat([...parts, Buffer.from(`--${boundary}--\r\n`)]), `multipart/form-data; boundary=${boundary}`]
    }
}

const { encoded } = FormData
delete FormData.encoded

// A body as octets or a stream, and its type.
function extracted(given) {
    if (given === undefined || given === null) return [null, null]
    if (typeof given === 'string') return [Buffer.from(given), 'text/plain;charset=UTF-8']
    if (given instanceof URLSearchParams) return [Buffer.from(given.toString()), 'application/x-www-form-urlencoded;charset=UTF-8']
    if (given instanceof Blob) return [octetsOfBlob(given), given.type || null]
    if (given instanceof FormData) return encoded(given)
    if (given instanceof ArrayBuffer || ArrayBuffer.isView(given)) return [octetsOf(given), null]
    if (given instanceof Readable) return [given, null]
    if (given[Symbol.asyncIterator]) return [Readable.from(given), null]
    return [Buffer.from(String(given)), 'text/plain;charset=UTF-8']
}

// What requests and answers have in common.
class Body {
    #body
    #used = false
    #stream

    constructor(body) {
        this.#body = body
    }

    get bodyUsed() {
        return this.#used
    }

    get body() {
        if (this.#body === null) return null
        if (!this.#stream) {
            this.#stream = new ReadableStream(this.#body instanceof Readable ? this.#body : Readable.from([this.#body]))
        }
        return this.#stream
    }

    static raw(of) {
        return of.#body
    }

    async #octets() {
        if (this.#used || this.#stream?.locked) throw new TypeError('Body is unusable: Body has already been read')
        if (this.#body === null) return Buffer.alloc(0)
        this.#used = true
        if (!(this.#body instanceof Readable)) return this.#body
        const parts = []
        try {
            for await (const part of this.#body) parts.push(part)
        } catch (err) {
            if (err?.name === 'AbortError' || err?.name === 'TimeoutError') throw err
            throw new TypeError('terminated', { cause: err })
        }
        return Buffer.concat(parts)
    }

    async text() {
        return new TextDecoder().decode(await this.#octets())
    }

    async json() {
        return JSON.parse(await this.text())
    }

    async arrayBuffer() {
        return Uint8Array.from(await this.#octets()).buffer
    }

    async bytes() {
        return Uint8Array.from(await this.#octets())
    }

    async blob() {
        return new Blob([await this.#octets()], { type: this.headers.get('content-type') ?? '' })
    }
}

const { raw } = Body
delete Body.raw

class Request extends Body {
    constructor(input, given = {}) {
        const from = input instanceof Request ? input : null
        const method = normal(given.method ?? from?.method ?? 'GET')
        const [body, type] = given.body !== undefined ? extracted(given.body) : [from ? raw(from) : null, null]
        if (body !== null && (method === 'GET' || method === 'HEAD')) throw new TypeError('Request with GET/HEAD method cannot have body.')
        super(body)
        let url
        try {
            url = new URL(from ? from.url : String(input))
        } catch (err) {
            throw new TypeError(`Failed to parse URL from ${input}`, { cause: err })
        }
        if (url.username || url.password) throw new TypeError(`Request cannot be constructed from a URL that includes credentials: ${input}`)
        this.url = url.href
        this.method = method
        this.headers = new Headers(given.headers ?? from?.headers)
        if (type && !this.headers.has('content-type')) this.headers.set('content-type', type)
        this.signal = given.signal ?? from?.signal ?? new AbortController().signal
        this.redirect = given.redirect ?? from?.redirect ?? 'follow'
        this.keepalive = Boolean(given.keepalive)
        this.duplex = 'half'
    }

    clone() {
        return new Request(this)
    }
}

const normal = (method) => (/^(get|head|post|put|delete|options)$/i.test(method) ? method.toUpperCase() : method)

class Response extends Body {
    constructor(given, { status = 200, statusText = '', headers, url = '', redirected = false } = {}) {
        const [body, type] = extracted(given)
        super(body)
        if (!Number.isInteger(status) || status < 200 || status > 599) {
            throw new RangeError('init["status"] must be in the range of 200 to 599, inclusive.')
        }
        this.status = status
        this.statusText = statusText
        this.headers = new Headers(headers)
        if (type && !this.headers.has('content-type')) this.headers.set('content-type', type)
        this.url = url
        this.redirected = redirected
        this.type = 'default'
    }

    get ok() {
        return this.status >= 200 && this.status < 300
    }

    clone() {
        const body = raw(this)
        if (body instanceof Readable) throw new TypeError('Response.clone: a body that arrives cannot be read twice')
        return new Response(body, this)
    }

    static json(value, options) {
        const made = new Response(JSON.stringify(value), options)
        made.headers.set('content-type', 'application/json')
        return made
    }

    static error() {
        const made = new Response(null)
        Object.assign(made, { status: 0, type: 'error' })
        return made
    }
}

function uncompressed(res) {
    const coding = String(res.headers['content-encoding'] ?? '').toLowerCase()
    const make = { gzip: 'createGunzip', 'x-gzip': 'createGunzip', deflate: 'createInflate', br: 'createBrotliDecompress' }[coding]
    const zlib = make ? require('zlib') : null
    if (!zlib?.[make]) return res
    const { pipeline } = require('stream')
    return pipeline(res, zlib[make](), () => {})
}

// One exchange: the answer's head.
function exchange(url, request, method, headers, body) {
    const secure = url.protocol === 'https:'
    const { request: start } = secure ? require('https') : require('http')
    return new Promise((resolve, reject) => {
        const all = Object.fromEntries(headers.entries())
        all.accept ??= '*/*'
        all['accept-language'] ??= '*'
        all['sec-fetch-mode'] ??= 'cors'
        all['user-agent'] ??= 'node'
        all['accept-encoding'] ??= secure ? 'br, gzip, deflate' : 'gzip, deflate'
        if (body !== null && !(body instanceof Readable)) all['content-length'] = String(body.length)
        else if (body === null && ['POST', 'PUT', 'PATCH'].includes(method)) all['content-length'] = '0'
        const req = start(url, { method, headers: all, timeout: PATIENCE })
        let res
        const { signal } = request
        const abort = () => {
            reject(signal.reason)
            if (res) res.destroy(signal.reason)
            req.destroy(signal.reason)
        }
        signal.addEventListener('abort', abort, { once: true })
        req.on('close', () => signal.removeEventListener('abort', abort))
        req.on('timeout', () => req.destroy(Object.assign(new Error('Headers Timeout Error'), { code: 'UND_ERR_HEADERS_TIMEOUT' })))
        req.on('error', (err) => reject(new TypeError('fetch failed', { cause: err })))
        req.on('response', (answer) => {
            res = answer
            resolve(answer)
        })
        if (body instanceof Readable) require('stream').pipeline(body, req, (err) => err && reject(new TypeError('fetch failed', { cause: err })))
        else req.end(body ?? undefined)
    })
}

async function fetch(input, given) {
    const request = new Request(input, given)
    request.signal.throwIfAborted()
    let url = new URL(request.url)
    let { method } = request
    let body = raw(request)
    const { headers } = request
    for (let redirects = 0; ; redirects++) {
        if (url.protocol !== 'http:' && url.protocol !== 'https:') {
            throw new TypeError('fetch failed', { cause: new Error(`unknown scheme: ${url.protocol}`) })
        }
        const res = await exchange(url, request, method, headers, body)
        const target = res.headers.location
        if (target === undefined || ![301, 302, 303, 307, 308].includes(res.statusCode) || request.redirect === 'manual') {
            return answered(res, url, method, redirects > 0)
        }
        res.resume()
        const fail = (why) => new TypeError('fetch failed', { cause: new Error(why) })
        if (request.redirect === 'error') throw fail('unexpected redirect')
        if (redirects >= MOST_REDIRECTS) throw fail('redirect count exceeded')
        const next = new URL(target, url.href)
        if (next.origin !== url.origin) for (const name of ['authorization', 'cookie', 'host']) headers.delete(name)
        url = next
        if (res.statusCode === 303 ? method !== 'HEAD' && method !== 'GET' : res.statusCode < 303 && method === 'POST') {
            method = 'GET'
            body = null
            for (const name of ['content-type', 'content-length', 'content-encoding', 'content-language']) headers.delete(name)
        } else if (body instanceof Readable) throw fail('a body that was sent cannot be sent again')
    }
}

function answered(res, url, method, redirected) {
    const pairs = []
    for (let i = 0; i < res.rawHeaders.length; i += 2) pairs.push([res.rawHeaders[i], res.rawHeaders[i + 1]])
    const bodiless = method === 'HEAD' || res.statusCode === 204 || res.statusCode === 304
    if (bodiless) res.resume()
    return new Response(bodiless ? null : uncompressed(res), {
        status: res.statusCode,
        statusText: res.statusMessage,
        headers: pairs,
        url: url.href,
        redirected,
    })
}

module.exports = { fetch, Headers, Request, Response, FormData, Blob, ReadableStream }
