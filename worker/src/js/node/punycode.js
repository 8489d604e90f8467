// Names with letters beyond ASCII (RFC 3492, RFC 5890).

const BASE = 36
const [TMIN, TMAX, SKEW, DAMP, BIAS, FIRST] = [1, 26, 38, 700, 72, 128]

function adapt(delta, count, first) {
    let k = 0
    delta = first ? Math.floor(delta / DAMP) : delta >> 1
    delta += Math.floor(delta / count)
    for (; delta > ((BASE - TMIN) * TMAX) >> 1; k += BASE) delta = Math.floor(delta / (BASE - TMIN))
    return Math.floor(k + ((BASE - TMIN + 1) * delta) / (delta + SKEW))
}

const threshold = (k, bias) => Math.max(TMIN, Math.min(TMAX, k - bias))
const digit = (n) => String.fromCharCode(n < 26 ? n + 97 : n + 22)

function value(code) {
    if (code >= 48 && code < 58) return code - 22
    const letter = code | 32
    if (letter >= 97 && letter < 123) return letter - 97
    throw new RangeError('Invalid input')
}

exports.encode = (text) => {
    const points = [...text].map((c) => c.codePointAt(0))
    let out = points
        .filter((p) => p < FIRST)
        .map((p) => String.fromCharCode(p))
        .join('')
    const basic = out.length
    if (basic > 0) out += '-'
    let [n, delta, bias, handled] = [FIRST, 0, BIAS, basic]
    while (handled < points.length) {
        const next = Math.min(...points.filter((p) => p >= n))
        delta += (next - n) * (handled + 1)
        n = next
        for (const point of points) {
            if (point < n) delta += 1
            if (point !== n) continue
            let q = delta
            for (let k = BASE; ; k += BASE) {
                const t = threshold(k, bias)
                if (q < t) break
                out += digit(t + ((q - t) % (BASE - t)))
                q = Math.floor((q - t) / (BASE - t))
            }
            out += digit(q)
            bias = adapt(delta, handled + 1, handled === basic)
            delta = 0
            handled += 1
        }
        delta += 1
        n += 1
    }
    return out
}

exports.decode = (text) => {
    const basic = text.lastIndexOf('-')
    const out = basic > 0 ? [...text.slice(0, basic)].map((c) => c.codePointAt(0)) : []
    let [n, i, bias, at] = [FIRST, 0, BIAS, basic > 0 ? basic + 1 : 0]
    while (at < text.length) {
        const before = i
        for (let [w, k] = [1, BASE]; ; k += BASE) {
            if (at >= text.length) throw new RangeError('Invalid input')
            const d = value(text.charCodeAt(at++))
            i += d * w
            const t = threshold(k, bias)
            if (d < t) break
            w *= BASE - t
        }
        bias = adapt(i - before, out.length + 1, before === 0)
        n += Math.floor(i / (out.length + 1))
        i %= out.length + 1
        if (n > 0x10ffff) throw new RangeError('Invalid input')
        out.splice(i++, 0, n)
    }
    return String.fromCodePoint(...out)
}

const labels = (name, change) => name.split(/[.\u3002\uff0e\uff61]/).map(change).join('.')

exports.toASCII = (name) =>
    labels(name, (label) => (/[^\0-\x7f]/.test(label) ? `xn--${exports.encode(label.normalize('NFC').toLowerCase())}` : label))
exports.toUnicode = (name) =>
    labels(name, (label) => (label.startsWith('xn--') ? exports.decode(label.slice(4).toLowerCase()) : label))
exports.ucs2 = {
    decode: (text) => [...text].map((c) => c.codePointAt(0)),
    encode: (points) => String.fromCodePoint(...points),
}
