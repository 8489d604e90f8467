// Notes: a plain object with dotted access (RES-07).

const REFUSED = new Set(['__proto__', 'constructor', 'prototype'])

function parts(path) {
    if (typeof path !== 'string' && !Array.isArray(path)) {
        throw new TypeError('a notes path is text or an array')
    }
    const names = typeof path === 'string' ? path.split('.') : [...path]
    const bad = names.find((name) => REFUSED.has(name))
    if (bad) throw new TypeError(`a notes path cannot contain "${bad}"`)
    return names
}

function set(path, value, onlyWhenUndefined) {
    if (path === undefined || value === undefined) return
    const names = parts(path)
    const last = names.pop()
    let at = this
    for (const name of names) {
        const next = at[name]
        const holds = next !== null && ['object', 'function'].includes(typeof next)
        if (!holds) at[name] = {}
        at = at[name]
    }
    if (onlyWhenUndefined && at[last] !== undefined) return
    at[last] = value
}

function get(path) {
    if (!path) return undefined
    return parts(path).reduce((at, name) => (at ? at[name] : undefined), this)
}

class Notes {
    constructor(held) {
        if (held && typeof held === 'object') Object.assign(this, held)
        for (const method of [set, get]) {
            Object.defineProperty(this, method.name, { value: method.bind(this) })
        }
    }
}

module.exports = Notes
