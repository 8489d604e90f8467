// URLs and host names in both of their forms.

const querystring = require('querystring')
const punycode = require('punycode')

const PORTS = { 'http:': '80', 'https:': '443', 'ws:': '80', 'wss:': '443', 'ftp:': '21' }
const FORM = /^([a-z][a-z0-9+.-]*:)(\/\/(?:([^@/?#]*)@)?(\[[^\]]*\]|[^:/?#]*)(?::(\d*))?)?([^?#]*)(\?[^#]*)?(#.*)?$/i

class URLSearchParams {
    #pairs = []
    #changed

    constructor(given = '', changed = () => {}) {
        this.#changed = changed
        if (typeof given === 'string') {
            const parsed = querystring.parse(given.replace(/^\?/, ''))
            for (const [key, value] of Object.entries(parsed)) for (const one of [].concat(value)) this.#pairs.push([key, one])
        } else {
            const pairs = given[Symbol.iterator] ? [...given] : Object.entries(given)
            this.#pairs = pairs.map(([key, value]) => [String(key), String(value)])
        }
    }

    get(name) {
        return this.#pairs.find(([key]) => key === name)?.[1] ?? null
    }

    getAll(name) {
        return this.#pairs.filter(([key]) => key === name).map(([, value]) => value)
    }

    has(name) {
        return this.#pairs.some(([key]) => key === name)
    }

    append(name, value) {
        this.#pairs.push([String(name), String(value)])
        this.#changed(this)
    }

    delete(name) {
        this.#pairs = this.#pairs.filter(([key]) => key !== name)
        this.#changed(this)
    }

    set(name, value) {
        this.delete(name)
        this.append(name, value)
    }

    forEach(run) {
        for (const [key, value] of this.#pairs) run(value, key, this)
    }

    keys() {
        return this.#pairs.map(([key]) => key).values()
    }

    values() {
        return this.#pairs.map(([, value]) => value).values()
    }

    entries() {
        return this.#pairs.values()
    }

    [Symbol.iterator]() {
        return this.entries()
    }

    toString() {
        const encode = (text) => encodeURIComponent(text).replace(/%20/g, '+')
        return this.#pairs.map(([key, value]) => `${encode(key)}=${encode(value)}`).join('&')
    }
}

function joined(base, rest) {
    if (/^[a-z][a-z0-9+.-]*:/i.test(rest)) return rest
    if (rest.startsWith('//')) return base.protocol + rest
    const origin = `${base.protocol}//${base.authority()}`
    if (rest.startsWith('/')) return origin + rest
    if (rest.startsWith('?')) return origin + base.pathname + rest
    if (rest.startsWith('#')) return origin + base.pathname + base.search + rest
    return `${origin}${base.pathname.replace(/[^/]*$/, '')}${rest}`
}

class URL {
    constructor(text, base) {
        const whole = base === undefined ? String(text) : joined(new URL(String(base)), String(text))
        const found = FORM.exec(whole.trim())
        if (!found || (found[2] === undefined && PORTS[found[1].toLowerCase()])) {
            throw Object.assign(new TypeError('Invalid URL'), { code: 'ERR_INVALID_URL', input: String(text) })
        }
        const [, protocol, slashes, login, host, port, path, search, hash] = found
        this.protocol = protocol.toLowerCase()
        const at = login === undefined ? -1 : login.indexOf(':')
        this.username = login === undefined ? '' : at < 0 ? login : login.slice(0, at)
        this.password = at < 0 ? '' : login.slice(at + 1)
        this.hostname = slashes === undefined ? '' : exports.domainToASCII(host) || host.toLowerCase()
        this.port = port && port !== PORTS[this.protocol] ? port : ''
        this.pathname = PORTS[this.protocol] ? require('path').normalize(`/${path.replace(/^\//, '')}`) : path
        this.search = search && search !== '?' ? search : ''
        this.hash = hash && hash !== '#' ? hash : ''
        this.slashes = slashes !== undefined
        this.searchParams = new URLSearchParams(this.search, (params) => {
            const query = params.toString()
            this.search = query ? `?${query}` : ''
        })
        for (const hidden of ['slashes', 'searchParams']) Object.defineProperty(this, hidden, { enumerable: false })
    }

    authority() {
        const login = this.password ? `${this.username}:${this.password}@` : this.username ? `${this.username}@` : ''
        return login + this.host
    }

    get host() {
        return this.port ? `${this.hostname}:${this.port}` : this.hostname
    }

    get origin() {
        return PORTS[this.protocol] ? `${this.protocol}//${this.host}` : 'null'
    }

    get href() {
        return `${this.protocol}${this.slashes ? `//${this.authority()}` : ''}${this.pathname}${this.search}${this.hash}`
    }

    toString() {
        return this.href
    }

    toJSON() {
        return this.href
    }

    static canParse(text, base) {
        try {
            return Boolean(new URL(text, base))
        } catch {
            return false
        }
    }
}

exports.URL = URL
exports.URLSearchParams = URLSearchParams
exports.domainToASCII = (name) => {
    try {
        return punycode.toASCII(String(name).toLowerCase())
    } catch {
        return ''
    }
}
exports.domainToUnicode = (name) => {
    try {
        return punycode.toUnicode(String(name).toLowerCase())
    } catch {
        return ''
    }
}
exports.fileURLToPath = (url) => decodeURIComponent(new URL(String(url)).pathname)
exports.pathToFileURL = (path) => new URL(`file://${encodeURI(path)}`)

// The older form: all parts, none where there is nothing.
exports.parse = (text, query = false) => {
    const found = /^([a-z][a-z0-9+.-]*:)?(\/\/)?(?:([^@/?#]*)@)?(\[[^\]]*\]|[^:/?#]*)?(?::(\d*))?([^?#]*)?(\?[^#]*)?(#.*)?$/i.exec(String(text))
    const [, protocol = null, slashes, auth = null, host, port = null, path, search = null, hash = null] = found ?? []
    const named = Boolean(slashes)
    const pathname = named ? path || null : `${host ?? ''}${path ?? ''}` || null
    return {
        protocol,
        slashes: named || null,
        auth: auth === null ? null : decodeURIComponent(auth),
        host: named ? (port ? `${host}:${port}` : host) : null,
        port,
        hostname: named ? host.replace(/^\[|\]$/g, '') : null,
        hash,
        search,
        query: query ? querystring.parse((search ?? '').slice(1)) : search?.slice(1) ?? null,
        pathname,
        path: pathname === null && search === null ? null : `${pathname ?? ''}${search ?? ''}`,
        href: String(text),
    }
}

exports.format = (given) => {
    if (typeof given === 'string' || given instanceof URL) return String(given)
    const { protocol = '', host, hostname = '', port, pathname = '', search = '', hash = '' } = given
    const where = host ?? (port ? `${hostname}:${port}` : hostname)
    return `${protocol}${where ? `//${where}` : ''}${pathname}${search ?? ''}${hash ?? ''}`
}

exports.resolve = (from, to) => {
    const base = new URL(from, 'resolve://')
    const url = new URL(to, base)
    return url.protocol === 'resolve:' ? url.pathname + url.search + url.hash : url.href
}
