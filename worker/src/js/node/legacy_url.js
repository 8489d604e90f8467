// `url.parse` and its like: the older form of URLs, which takes nearly any text.

const { invalidType, coded } = require('internal/errors')

const SLASHED = new Set(['http:', 'https:', 'ftp:', 'gopher:', 'file:', 'ws:', 'wss:'])
const HOSTLESS = new Set(['javascript:'])

// Characters that are never in a URL as they are.
const UNWISE = /[\t\n\r "<>{}|\\^`']/g
const escaped = (text) => text.replace(UNWISE, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)

class Url {
    constructor() {
        Object.assign(this, {
            protocol: null, slashes: null, auth: null, host: null, port: null, hostname: null, hash: null, search: null,
            query: null, pathname: null, path: null, href: null,
        })
    }

    format() {
        return format(this)
    }

    resolve(to) {
        return resolve(this.href ?? format(this), to)
    }
}
for (const name of ['format', 'resolve']) {
    Object.defineProperty(Url.prototype, name, { ...Object.getOwnPropertyDescriptor(Url.prototype, name), enumerable: true })
}

function parse(given, query = false, slashesMeanHost = false) {
    if (given instanceof Url) return given
    if (typeof given !== 'string') throw invalidType('url', 'string', given)
    const out = new Url()
    let rest = given.trim()
    // Backslashes before the query are slashes.
    const cut = rest.search(/[?#]/)
    rest = (cut < 0 ? rest : rest.slice(0, cut)).replace(/\\/g, '/') + (cut < 0 ? '' : rest.slice(cut))
    const scheme = /^([a-z0-9.+-]+:)/i.exec(rest)
    if (scheme) {
        out.protocol = scheme[1].toLowerCase()
        rest = rest.slice(scheme[1].length)
    }
    // What no known scheme takes for a path may have a host without slashes.
    if (scheme && !SLASHED.has(out.protocol) && !HOSTLESS.has(out.protocol) && !rest.startsWith('/') && rest !== '') {
        rest = host(out, rest, given)
    } else if (!HOSTLESS.has(out.protocol) && rest.startsWith('//') && (slashesMeanHost || scheme || /^\/\/[^@/]+@[^@/]+/.test(rest))) {
        out.slashes = true
        rest = host(out, rest.slice(2), given)
    }
    rest = escaped(rest)
    const hash = rest.indexOf('#')
    if (hash >= 0) {
        out.hash = rest.slice(hash)
        rest = rest.slice(0, hash)
    }
    const ask = rest.indexOf('?')
    if (ask >= 0) {
        out.search = rest.slice(ask)
        out.query = query ? require('querystring').parse(out.search.slice(1)) : out.search.slice(1)
        rest = rest.slice(0, ask)
    } else if (query) {
        out.search = null
        out.query = Object.create(null)
    }
    if (rest !== '') out.pathname = rest
    if (SLASHED.has(out.protocol) && out.hostname !== null && out.hostname !== '' && !out.pathname) out.pathname = '/'
    if (out.pathname !== null || out.search !== null) out.path = (out.pathname ?? '') + (out.search ?? '')
    out.href = format(out)
    return out
}

// Login, name and port up to the first character that ends them.
function host(out, rest, given) {
    const end = rest.search(/[/?#]/)
    let authority = end < 0 ? rest : rest.slice(0, end)
    let after = end < 0 ? '' : rest.slice(end)
    const at = authority.lastIndexOf('@')
    if (at >= 0) {
        try {
            out.auth = decodeURIComponent(authority.slice(0, at))
        } catch {
            throw coded(URIError, 'ERR_INVALID_URI', 'URI malformed')
        }
        authority = authority.slice(at + 1)
    }
    const stop = authority.search(/[\t\n\r "<>{}|^`';%]/)
    if (stop >= 0) {
        after = `${authority.slice(stop)}${after}`
        authority = authority.slice(0, stop)
        if (!after.startsWith('/')) after = `/${after}`
    }
    const port = /:(\d*)$/.exec(authority)
    if (port && !/^\[[^\]]*$/.test(authority)) {
        if (port[1] !== '') out.port = port[1]
        authority = authority.slice(0, -port[0].length)
    }
    if (authority.length > 255) authority = ''
    const literal = authority.startsWith('[') && authority.endsWith(']')
    if (!literal && /:/.test(authority)) {
        throw Object.assign(coded(TypeError, 'ERR_INVALID_URL', 'Invalid URL'), { input: given })
    }
    const name = literal ? authority.slice(1, -1).toLowerCase() : authority.toLowerCase()
    out.hostname = literal || /^[\x21-\x7e]*$/.test(name) ? name : natives.url.toAscii(name)
    out.host = (literal ? `[${name}]` : out.hostname) + (out.port === null ? '' : `:${out.port}`)
    return after
}

function format(given) {
    if (typeof given === 'string') given = parse(given)
    else if (typeof given !== 'object' || given === null) throw invalidType('urlObject', ['Object', 'string'], given)
    const auth = given.auth ? `${encodeURIComponent(given.auth).replace(/%3A/i, ':')}@` : ''
    let protocol = given.protocol ?? ''
    if (protocol && !protocol.endsWith(':')) protocol += ':'
    let where = ''
    if (given.host) where = auth + given.host
    else if (given.hostname) {
        const name = given.hostname.includes(':') && !given.hostname.startsWith('[') ? `[${given.hostname}]` : given.hostname
        where = auth + name + (given.port ? `:${given.port}` : '')
    }
    let search = given.search ?? ''
    if (!search && given.query !== null && typeof given.query === 'object') search = require('querystring').stringify(given.query)
    if (search && !search.startsWith('?')) search = `?${search}`
    let hash = given.hash ?? ''
    if (hash && !hash.startsWith('#')) hash = `#${hash}`
    let pathname = (given.pathname ?? '').replace(/[?#]/g, encodeURIComponent)
    search = search.replace(/#/g, '%23')
    if (given.slashes || SLASHED.has(protocol)) {
        if (given.slashes || where) {
            if (pathname && !pathname.startsWith('/')) pathname = `/${pathname}`
            where = `//${where}`
        } else if (protocol === 'file:') {
            where = '//'
        }
    }
    return protocol + where + pathname + search + hash
}

// RFC 3986, section 5.2, on the older form.
function resolveObject(from, to) {
    const base = parse(typeof from === 'string' ? from : format(from), false, true)
    const next = parse(typeof to === 'string' ? to : format(to), false, true)
    const out = Object.assign(new Url(), base)
    out.hash = next.hash
    if (typeof to === 'string' && to === '') return finish(out)
    if (next.protocol && next.protocol !== base.protocol && !(next.protocol && !next.slashes && SLASHED.has(next.protocol) && SLASHED.has(base.protocol) && next.protocol === base.protocol)) return next
    const fields = (names) => {
        for (const name of names) out[name] = next[name]
    }
    if (next.slashes || next.host) {
        fields(['auth', 'host', 'port', 'hostname', 'search', 'query'])
        out.slashes = true
        out.pathname = next.pathname
    } else if (next.pathname) {
        fields(['search', 'query'])
        out.pathname = next.pathname.startsWith('/') ? next.pathname : `${(base.pathname ?? '').replace(/[^/]*$/, '') || (base.host ? '/' : '')}${next.pathname}`
    } else if (next.search !== null) {
        fields(['search', 'query'])
    }
    out.pathname = dotless(out.pathname, Boolean(out.host))
    return finish(out)
}

function dotless(path, absolute) {
    if (!path) return absolute ? '/' : path
    const begins = path.startsWith('/') || absolute
    const all = path.split('/')
    const last = all.at(-1)
    const out = []
    for (const part of all) {
        if (part === '..') {
            if (out.length > 0 && out.at(-1) !== '..' && !(out.length === 1 && out[0] === '')) out.pop()
            else if (!begins) out.push('..')
        } else if (part !== '.') out.push(part)
    }
    if (last === '.' || last === '..') out.push('')
    const text = out.join('/')
    return begins && !text.startsWith('/') ? `/${text}` : text
}

function finish(out) {
    if (out.pathname !== null || out.search !== null) out.path = (out.pathname ?? '') + (out.search ?? '')
    out.href = format(out)
    return out
}

const resolve = (from, to) => resolveObject(from, to).href

Object.assign(exports, { Url, parse, format, resolve, resolveObject })
