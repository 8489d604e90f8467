// Queries of URLs as plain objects.

exports.escape = encodeURIComponent
exports.unescape = (text) => {
    try {
        return decodeURIComponent(text)
    } catch {
        return text
    }
}

exports.parse = (text, between = '&', within = '=') => {
    const out = Object.create(null)
    for (const pair of String(text ?? '').split(between).filter(Boolean)) {
        const at = pair.indexOf(within)
        const decode = (part) => exports.unescape(part.replace(/\+/g, ' '))
        const key = decode(at < 0 ? pair : pair.slice(0, at))
        const value = at < 0 ? '' : decode(pair.slice(at + within.length))
        out[key] = key in out ? [].concat(out[key], value) : value
    }
    return out
}

exports.stringify = (given, between = '&', within = '=') => {
    const pairs = Object.entries(given ?? {}).flatMap(([key, value]) => [].concat(value).map((one) => [key, one ?? '']))
    return pairs.map(([key, value]) => `${exports.escape(key)}${within}${exports.escape(value)}`).join(between)
}

exports.decode = exports.parse
exports.encode = exports.stringify
