// What plugins found out (RES-01 to RES-04).

const config = require('haraka-config')

const LISTS = ['msg', 'pass', 'fail', 'skip', 'err']
const REPLACED = ['hide', 'order']
const SAID = ['emit', 'human', 'human_html']
const KNOWN = new Set([...LISTS, ...REPLACED, ...SAID])
const CORE = ['local', 'remote', 'helo', 'reset', 'disconnect']
const REFUSED = new Set(['__proto__', 'constructor', 'prototype'])

let settings

function text(value) {
    return value instanceof Error ? value.message : value
}

function named(plugin) {
    return typeof plugin === 'string' ? plugin : plugin?.name
}

function words(list) {
    return list ? String(list).trim().split(/[,; ]+/) : []
}

class ResultStore {
    constructor(conn, core) {
        Object.defineProperty(this, 'conn', { value: conn, writable: true })
        Object.defineProperty(this, 'core', { value: core && ((name) => (CORE.includes(name) ? core(name) : undefined)) })
        this.store = Object.create(null)
        settings ??= config.get('results.ini', { booleans: ['+main.redis_publish'] }, () => {
            settings = undefined
        })
    }

    resolve_plugin_name(plugin) {
        return named(plugin)
    }

    private_collate(own, name) {
        return this.lines(own, name)
    }

    // Other programs follow what is found, where a plugin has connected to redis (RES-05).
    redis_publish(plugin, given) {
        const { redis } = globalThis.server.notes
        if (!redis || settings?.main?.redis_publish === false) return
        const channel = `result-${this.conn?.transaction?.uuid ?? this.conn?.uuid}`
        redis.publish(channel, JSON.stringify({ plugin: named(plugin), result: given })).catch?.((why) => {
            this.conn.logerror('results', `redis publish failed: ${why?.message ?? why}`)
        })
    }

    own(name) {
        this.store[name] ??= { pass: [], fail: [], msg: [], err: [], skip: [] }
        return this.store[name]
    }

    add(plugin, given) {
        this.redis_publish(plugin, given)
        const own = this.own(named(plugin))
        for (const [key, value] of Object.entries(given)) {
            if (value === undefined || REFUSED.has(key) || SAID.includes(key)) continue
            if (LISTS.includes(key)) {
                own[key] = own[key].concat(Array.isArray(value) ? value.map(text) : [text(value)])
            } else {
                own[key] = value
            }
        }
        return this.tell(plugin, own, given)
    }

    incr(plugin, given) {
        const now = {}
        const own = this.own(named(plugin))
        for (const [key, value] of Object.entries(given)) {
            if (REFUSED.has(key)) continue
            own[key] = (parseFloat(own[key]) || 0) + (parseFloat(value) || 0)
            now[key] = own[key]
        }
        this.redis_publish(plugin, now)
    }

    push(plugin, given) {
        this.redis_publish(plugin, given)
        const own = this.own(named(plugin))
        for (const [key, value] of Object.entries(given)) {
            if (REFUSED.has(key)) continue
            own[key] = (own[key] || []).concat(value)
        }
        return this.tell(plugin, own, given)
    }

    // What the core itself found is made up when it is asked for; see `core`.
    get(plugin) {
        const own = this.store[named(plugin)]
        const known = this.core?.(named(plugin))
        return known ? { pass: [], fail: [], msg: [], err: [], skip: [], ...known, ...own } : own
    }

    get_all() {
        const core = Object.fromEntries(CORE.map((name) => [name, this.get(name)]).filter(([, found]) => found))
        return { ...core, ...this.store }
    }

    has(plugin, list, wanted) {
        const held = this.get(plugin)?.[list]
        const is = (value) =>
            wanted instanceof RegExp ? typeof value === 'string' && wanted.test(value) : value === wanted
        if (Array.isArray(held)) return held.some(is)
        return ['string', 'number', 'boolean'].includes(typeof held) && is(held)
    }

    collate(plugin) {
        const own = this.get(plugin)
        return own ? this.lines(own, named(plugin)).join(', ') : undefined
    }

    // Keys of the plugin's own first, then the lists in their order.
    lines(own, name) {
        const hide = words(settings?.[name]?.hide)
        const shows = (key, value) => {
            if (key.startsWith('_') || KNOWN.has(key) || hide.includes(key)) return false
            return Array.isArray(value) ? value.length > 0 : typeof value !== 'object'
        }
        const out = Object.entries(own).filter(([key, value]) => shows(key, value))
        const lines = out.map(([key, value]) => `${key}: ${value}`)
        const configured = words(settings?.[name]?.order)
        const order = own.order?.length ? own.order : configured.length ? configured : LISTS
        for (const key of order) {
            if (own[key]?.length && !hide.includes(key)) lines.push(`${key}:${[].concat(own[key]).join(', ')}`)
        }
        return lines
    }

    tell(plugin, own, given) {
        own.human = given.human
        if (!own.human) {
            const lines = this.lines(own, named(plugin))
            own.human = lines.join(', ')
            own.human_html = lines.join(', \t ')
        }
        if (given.emit) this.conn.loginfo(plugin, own.human)
        if (given.err) this.conn.logerror(plugin, text(given.err))
        if (!given.emit && !given.err && settings?.[named(plugin)]?.debug) this.conn.logdebug(plugin, own.human)
        return own.human
    }
}

module.exports = ResultStore
