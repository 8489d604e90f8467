// Notes and results that live here while native plugins read and write them.

const Notes = require('haraka-notes')
const ResultStore = require('haraka-results')

// How deep and how much of a tree native code sees.
const DEEPEST = 32
const MOST = 10000

// Connections by number and transactions by uuid, as long as they last.
const owners = new Map()
exports.owners = owners

exports.notes = (handle, owner) => new Notes(natives.live.handOver(handle, owner, 'notes'))

exports.results = (handle, owner, conn, core, news) => {
    const results = new ResultStore(conn, core, news)
    const found = natives.live.handOver(handle, owner, 'results')
    Object.assign(results.store, found)
    for (const name of Object.keys(found)) results.redis_publish(name, results.found(name))
    return results
}

// What JSON can say of a value: plain objects, arrays and scalars; cycles end.
function plain(value, left, above = []) {
    if (value === null || ['string', 'boolean'].includes(typeof value)) return value
    if (typeof value === 'number') return Number.isFinite(value) ? value : undefined
    if (typeof value !== 'object' || above.length > DEEPEST || above.includes(value)) return undefined
    if (left.count-- <= 0) return undefined
    if (typeof value.toJSON === 'function' && !(value instanceof Uint8Array)) {
        return plain(value.toJSON(), left, [...above, value])
    }
    const inside = [...above, value]
    if (Array.isArray(value)) return value.map((item) => plain(item, left, inside) ?? null)
    const prototype = Object.getPrototypeOf(value)
    if (prototype !== Object.prototype && prototype !== null && !(value instanceof Notes)) return undefined
    const out = {}
    for (const [key, held] of Object.entries(value)) {
        const said = plain(held, left, inside)
        if (said !== undefined) out[key] = said
    }
    return out
}

exports.plain = (value) => plain(value, { count: MOST })

function makeWay(root, path, kind, owner) {
    let at = root
    for (let depth = 0; depth < path.length - 1; depth += 1) {
        const name = path[depth]
        if (kind === 'results' && depth === 0) owner.results.own(name)
        if (at[name] === null || typeof at[name] !== 'object') at[name] = {}
        at = at[name]
    }
    return at
}

// What native code asks of a tree; gives JSON, or nothing.
exports.ask = (number, kind, what, value, ...path) => {
    const owner = owners.get(number)
    if (!owner) return undefined
    const root = kind === 'results' ? owner.results.store : owner.notes
    if (what === 'read') {
        let at = root
        for (const name of path) {
            if (at === null || typeof at !== 'object' || !Object.hasOwn(at, name)) return undefined
            at = at[name]
        }
        const said = plain(at, { count: MOST })
        return said === undefined ? undefined : JSON.stringify(said)
    }
    const last = path.at(-1)
    const at = makeWay(root, path, kind, owner)
    if (what === 'append') {
        at[last] = Array.isArray(at[last]) ? [...at[last], value] : [value]
    } else {
        at[last] = value
    }
    if (kind === 'results' && path.length === 2) owner.results.redis_publish(path[0], { [last]: value })
    return undefined
}
