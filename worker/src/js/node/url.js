// URLs by the WHATWG's rules, from the native side, and host names. The older form is a module of its own.

const { url } = natives
const { coded, invalidType } = require('internal/errors')
const legacy = require('internal/legacy_url')

const custom = Symbol.for('nodejs.util.inspect.custom')

// As forms are sent: RFC 1738's plain characters stay, a space is `+`.
function encode(text) {
    return encodeURIComponent(text.toWellFormed()).replace(/%20/g, '+').replace(/[!'()~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
}

function decode(text) {
    const spaced = text.replace(/\+/g, ' ')
    return spaced.includes('%') ? require('querystring').unescapeBuffer(Buffer.from(spaced).toString('latin1')).toString() : spaced
}

function pairsOf(text) {
    const all = text.split('&').filter((pair) => pair !== '')
    return all.map((pair) => {
        const at = pair.indexOf('=')
        return at < 0 ? [decode(pair), ''] : [decode(pair.slice(0, at)), decode(pair.slice(at + 1))]
    })
}

class URLSearchParams {
    #pairs = []
    #changed

    constructor(given = '', changed = undefined) {
        this.#changed = typeof changed === 'function' ? changed : undefined
        if (given === null || (typeof given !== 'object' && typeof given !== 'function')) {
            this.#pairs = pairsOf(String(given).replace(/^\?/, ''))
        } else if (typeof given[Symbol.iterator] === 'function') {
            for (const pair of given) {
                const both = [...pair]
                if (both.length !== 2) throw coded(TypeError, 'ERR_INVALID_TUPLE', 'Each query pair must be an iterable [name, value] tuple')
                this.#pairs.push(both.map(String))
            }
        } else {
            this.#pairs = Object.entries(given).map(([key, value]) => [String(key), String(value)])
        }
    }

    // Anew, as the URL has changed.
    reset(query) {
        this.#pairs = pairsOf(query)
    }

    get size() {
        return this.#pairs.length
    }

    get(name) {
        return this.#pairs.find(([key]) => key === String(name))?.[1] ?? null
    }

    getAll(name) {
        return this.#pairs.filter(([key]) => key === String(name)).map(([, value]) => value)
    }

    has(name, value) {
        return this.#pairs.some(([key, held]) => key === String(name) && (value === undefined || held === String(value)))
    }

    append(name, value) {
        this.#pairs.push([String(name), String(value)])
        this.#changed?.()
    }

    delete(name, value) {
        this.#pairs = this.#pairs.filter(([key, held]) => key !== String(name) || (value !== undefined && held !== String(value)))
        this.#changed?.()
    }

    set(name, value) {
        const first = this.#pairs.findIndex(([key]) => key === String(name))
        if (first < 0) return this.append(name, value)
        this.#pairs = this.#pairs.filter(([key], i) => i <= first || key !== String(name))
        this.#pairs[first] = [String(name), String(value)]
        return this.#changed?.()
    }

    sort() {
        this.#pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
        this.#changed?.()
    }

    forEach(run, self) {
        if (typeof run !== 'function') throw invalidType('callback', 'function', run)
        for (const [key, value] of this.#pairs) run.call(self, value, key, this)
    }

    keys() {
        return this.#pairs.map(([key]) => key).values()
    }

    values() {
        return this.#pairs.map(([, value]) => value).values()
    }

    entries() {
        return this.#pairs.map((pair) => [...pair]).values()
    }

    [Symbol.iterator]() {
        return this.entries()
    }

    toString() {
        return this.#pairs.map(([key, value]) => `${encode(key)}=${encode(value)}`).join('&')
    }

    get [Symbol.toStringTag]() {
        return 'URLSearchParams'
    }

    [custom](_depth, options, inspect) {
        const shown = this.#pairs.map(([key, value]) => `${inspect(key, options)} => ${inspect(value, options)}`)
        return shown.length > 0 ? `URLSearchParams { ${shown.join(', ')} }` : 'URLSearchParams {}'
    }
}
Object.defineProperty(URLSearchParams.prototype, 'reset', { enumerable: false })

const FIELDS = ['href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search']

class URL {
    #parts
    #params

    constructor(given, base) {
        const input = `${given}`
        const parts = base === undefined ? url.parse(input) : url.parse(input, `${base}`)
        if (!parts) {
            throw Object.assign(coded(TypeError, 'ERR_INVALID_URL', 'Invalid URL'), { input, ...(base !== undefined && { base: `${base}` }) })
        }
        this.#parts = parts
    }

    static canParse(given, base) {
        return Boolean(base === undefined ? url.parse(`${given}`) : url.parse(`${given}`, `${base}`))
    }

    static parse(given, base) {
        return URL.canParse(given, base) ? new URL(given, base) : null
    }

    part(name) {
        return this.#parts[name]
    }

    change(name, value) {
        if (name === 'href') {
            const parts = url.parse(value)
            if (!parts) throw Object.assign(coded(TypeError, 'ERR_INVALID_URL', 'Invalid URL'), { input: value })
            this.#parts = parts
        } else {
            this.#parts = url.with(this.#parts.href, name, value) ?? this.#parts
        }
        if (name === 'href' || name === 'search') this.#params?.reset(this.#parts.search.slice(1))
    }

    get searchParams() {
        this.#params ??= new URLSearchParams(this.#parts.search, () => {
            this.#parts = url.with(this.#parts.href, 'search', this.#params.toString()) ?? this.#parts
        })
        return this.#params
    }

    toString() {
        return this.#parts.href
    }

    toJSON() {
        return this.#parts.href
    }

    get [Symbol.toStringTag]() {
        return 'URL'
    }

    [custom](depth, options, inspect) {
        if (typeof depth === 'number' && depth < 0) return 'URL {}'
        const shown = Object.fromEntries([...FIELDS, 'searchParams', 'hash'].map((name) => [name, this[name]]))
        return `URL ${inspect(shown, { ...options, compact: false })}`
    }
}
for (const name of ['part', 'change']) Object.defineProperty(URL.prototype, name, { enumerable: false })

for (const name of [...FIELDS, 'hash']) {
    Object.defineProperty(URL.prototype, name, {
        configurable: true,
        enumerable: true,
        get() {
            return this.part(name)
        },
        set: name === 'origin' ? undefined : function (value) {
            this.change(name, `${value}`)
        },
    })
}
for (const name of ['searchParams', 'toString', 'toJSON']) {
    Object.defineProperty(URL.prototype, name, { ...Object.getOwnPropertyDescriptor(URL.prototype, name), enumerable: true })
}

exports.URL = URL
exports.URLSearchParams = URLSearchParams
exports.domainToASCII = (name) => url.toAscii(String(name))
exports.domainToUnicode = (name) => url.toUnicode(String(name))

exports.fileURLToPath = (given) => {
    if (typeof given !== 'string' && !(given instanceof URL)) throw invalidType('path', ['string', 'URL'], given)
    const found = typeof given === 'string' ? new URL(given) : given
    if (found.protocol !== 'file:') throw coded(TypeError, 'ERR_INVALID_URL_SCHEME', 'The URL must be of scheme file')
    if (found.hostname !== '') throw coded(TypeError, 'ERR_INVALID_FILE_URL_HOST', 'File URL host must be "localhost" or empty on linux')
    if (/%2f/i.test(found.pathname)) throw coded(TypeError, 'ERR_INVALID_FILE_URL_PATH', 'File URL path must not include encoded / characters')
    return decodeURIComponent(found.pathname)
}
exports.pathToFileURL = (path) => {
    const whole = require('path').resolve(path) + (path.endsWith('/') && path !== '/' ? '/' : '')
    const escaped = whole.replace(/[%\\\n\r\t?#]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
    return new URL(`file://${escaped}`)
}
exports.urlToHttpOptions = (given) => ({
    __proto__: null,
    ...given,
    protocol: given.protocol,
    hostname: given.hostname.replace(/^\[(.*)\]$/, '$1'),
    hash: given.hash,
    search: given.search,
    pathname: given.pathname,
    path: `${given.pathname}${given.search}`,
    href: given.href,
    ...(given.port !== '' && { port: Number(given.port) }),
    ...((given.username || given.password) && { auth: `${decodeURIComponent(given.username)}:${decodeURIComponent(given.password)}` }),
})

Object.assign(exports, { Url: legacy.Url, parse: legacy.parse, resolve: legacy.resolve, resolveObject: legacy.resolveObject })
exports.format = (given, options = {}) => {
    if (!(given instanceof URL)) return legacy.format(given)
    const { auth = true, fragment = true, search = true, unicode = false } = options ?? {}
    const changed = new URL(given.href)
    if (!auth) [changed.username, changed.password] = ['', '']
    if (!fragment) changed.hash = ''
    if (!search) changed.search = ''
    return unicode ? changed.href.replace(changed.hostname, exports.domainToUnicode(changed.hostname)) : changed.href
}
