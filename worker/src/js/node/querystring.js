// Queries of URLs as plain objects.

const { Buffer } = require('buffer')

// Octets that stay as they are.
const PLAIN = /[^A-Za-z0-9\-_.!~*'()]/

function escape(given) {
    if (typeof given !== 'string') given = typeof given === 'object' ? String(given) : `${given}`
    if (!PLAIN.test(given)) return given
    if (!given.isWellFormed()) throw Object.assign(new URIError('URI malformed'), { code: 'ERR_INVALID_URI' })
    return encodeURIComponent(given)
}

// What is not a code of an octet stays; the octets together are UTF-8.
function unescapeBuffer(given) {
    const out = []
    const octets = Buffer.from(String(given), 'latin1')
    for (let i = 0; i < octets.length; i++) {
        const code = octets[i] === 37 ? /^[0-9A-Fa-f]{2}/.exec(octets.toString('latin1', i + 1, i + 3)) : null
        if (code) i += 2
        out.push(code ? parseInt(code[0], 16) : octets[i])
    }
    return Buffer.from(out)
}

function unescape(given) {
    try {
        return decodeURIComponent(given)
    } catch {
        return unescapeBuffer(Buffer.from(String(given)).toString('latin1')).toString()
    }
}

exports.escape = escape
exports.unescape = unescape
exports.unescapeBuffer = unescapeBuffer

exports.parse = (given, between, within, options) => {
    const out = Object.create(null)
    if (typeof given !== 'string' || given === '') return out
    const [pairs, equals] = [between || '&', within || '=']
    const own = options?.decodeURIComponent ?? exports.unescape
    const most = options?.maxKeys ?? 1000
    const decode = (part) => {
        const spaced = part.replace(/\+/g, ' ')
        if (own === unescape && !spaced.includes('%')) return spaced
        try {
            return own(spaced)
        } catch {
            return unescape(spaced)
        }
    }
    let all = given.split(pairs).filter((pair) => pair !== '')
    if (most > 0) all = all.slice(0, most)
    for (const pair of all) {
        const at = pair.indexOf(equals)
        const key = decode(at < 0 ? pair : pair.slice(0, at))
        const value = at < 0 ? '' : decode(pair.slice(at + equals.length))
        if (!(key in out)) out[key] = value
        else if (Array.isArray(out[key])) out[key].push(value)
        else out[key] = [out[key], value]
    }
    return out
}

const primitive = (value) => {
    if (typeof value === 'string') return value
    if (typeof value === 'number') return Number.isFinite(value) ? String(value) : ''
    return typeof value === 'bigint' || typeof value === 'boolean' ? String(value) : ''
}

exports.stringify = (given, between, within, options) => {
    if (typeof given !== 'object' || given === null) return ''
    const encode = options?.encodeURIComponent ?? exports.escape
    const pairs = Object.keys(given).flatMap((key) => [].concat(given[key]).map((one) => [key, one]))
    return pairs.map(([key, value]) => `${encode(primitive(key))}${within || '='}${encode(primitive(value))}`).join(between || '&')
}

exports.decode = exports.parse
exports.encode = exports.stringify
