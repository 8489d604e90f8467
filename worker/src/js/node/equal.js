// Whether two values are the same all the way down: `util.isDeepStrictEqual` and `assert.deepEqual`.

const tagOf = (value) => Object.prototype.toString.call(value)

const enumerable = (value) => [
    ...Object.keys(value),
    ...Object.getOwnPropertySymbols(value).filter((s) => Object.prototype.propertyIsEnumerable.call(value, s)),
]

function same(a, b, strict, seen) {
    if (a === b) return a !== 0 || !strict || Object.is(a, b)
    if (strict) {
        if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return Object.is(a, b)
        if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false
    } else if (a === null || typeof a !== 'object' || b === null || typeof b !== 'object') {
        if ((a === null || typeof a !== 'object') && (b === null || typeof b !== 'object')) {
            // eslint-disable-next-line eqeqeq
            return a == b || (Number.isNaN(a) && Number.isNaN(b))
        }
        return false
    }
    if (tagOf(a) !== tagOf(b) || Array.isArray(a) !== Array.isArray(b)) return false
    if (!inner(a, b, strict)) return false
    // A cycle is the same as one that goes the same way.
    const before = seen.get(a)
    if (before) return before === b
    seen.set(a, b)
    const equal = parts(a, b, strict, seen)
    seen.delete(a)
    return equal
}

// What is not a property: the value of boxed values, dates, octets, errors.
function inner(a, b, strict) {
    if (a instanceof Date) return Object.is(a.getTime(), b.getTime())
    if (a instanceof RegExp) return String(a) === String(b) && a.lastIndex === b.lastIndex
    if (a instanceof Error) return a.message === b.message && a.name === b.name
    if (ArrayBuffer.isView(a)) {
        if (a.byteLength !== b.byteLength) return false
        if (a instanceof DataView) a = new Uint8Array(a.buffer, a.byteOffset, a.byteLength)
        if (b instanceof DataView) b = new Uint8Array(b.buffer, b.byteOffset, b.byteLength)
        return a.every((value, i) => (strict ? Object.is(value, b[i]) : value === b[i] || (Number.isNaN(value) && Number.isNaN(b[i]))))
    }
    if (a instanceof ArrayBuffer) return inner(new Uint8Array(a), new Uint8Array(b), strict)
    for (const Boxed of [Number, String, Boolean]) if (a instanceof Boxed) return Object.is(a.valueOf(), b.valueOf())
    return true
}

function parts(a, b, strict, seen) {
    if (Array.isArray(a) && a.length !== b.length) return false
    const view = ArrayBuffer.isView(a)
    const keys = (value) => (strict ? enumerable(value) : Object.keys(value)).filter((k) => !view || !/^\d+$/.test(String(k)))
    const [left, right] = [keys(a), keys(b)]
    if (left.length !== right.length) return false
    for (const key of left) {
        if (!Object.prototype.propertyIsEnumerable.call(b, key) || !same(a[key], b[key], strict, seen)) return false
    }
    if (a instanceof Set) {
        if (a.size !== b.size) return false
        return matched([...a].filter((v) => !b.has(v)), [...b].filter((v) => !a.has(v)), (x, y) => typeof x === 'object' === (typeof y === 'object') && same(x, y, strict, seen))
    }
    if (a instanceof Map) {
        if (a.size !== b.size) return false
        const [mine, theirs] = [[], [...b].filter(([k]) => !a.has(k))]
        for (const [k, v] of a) {
            if (!b.has(k)) mine.push([k, v])
            else if (!same(v, b.get(k), strict, seen)) return false
        }
        return matched(mine, theirs, ([k, v], [l, w]) => same(k, l, strict, seen) && same(v, w, strict, seen))
    }
    return true
}

// Whether each of the one has an equal among the others, all of them different ones.
function matched(left, right, equal) {
    return left.every((value) => {
        const at = right.findIndex((other) => equal(value, other))
        if (at >= 0) right.splice(at, 1)
        return at >= 0
    })
}

exports.deep = (a, b) => same(a, b, false, new Map())
exports.deepStrict = (a, b) => same(a, b, true, new Map())
