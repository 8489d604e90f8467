// What plugins found out (RES-01 to RES-04).

const config = require('haraka-config')
const logger = require('internal/logger')
const Publisher = require('internal/publisher')
const server = require('internal/server')

const LISTS = ['msg', 'pass', 'fail', 'skip', 'err']
const CORE = ['local', 'remote', 'helo', 'reset', 'disconnect']
const IS_CORE = Object.assign(Object.create(null), ...CORE.map((name) => ({ [name]: true })))

// What becomes of a key that a plugin gives. Those of the last kind come from no plugin.
const [LIST, REPLACED, SAID, REFUSED] = [1, 2, 3, 4]
const KINDS = Object.assign(Object.create(null), {
    ...Object.fromEntries(LISTS.map((key) => [key, LIST])),
    hide: REPLACED, order: REPLACED,
    emit: SAID, human: SAID, human_html: SAID,
    constructor: REFUSED, prototype: REFUSED,
})
Object.defineProperty(KINDS, '__proto__', { value: REFUSED, enumerable: true })

const [ERROR, INFO, DEBUG] = [3, 6, 7]

// Where a finding keeps its summary.
const SUMMARY = Symbol('summary')

let settings
// Whether the settings say that nobody is told.
let silent = false
let publisher

function text(value) {
    return value instanceof Error ? value.message : value
}

function named(plugin) {
    return typeof plugin === 'string' ? plugin : plugin?.name
}

function words(list) {
    return list ? String(list).trim().split(/[,; ]+/) : []
}

const NOTHING_TOLD = CORE.map(() => 0)

function configure() {
    settings = config.get('results.ini', { booleans: ['+main.redis_publish'] }, () => {
        settings = undefined
        silent = false
    })
    silent = settings?.main?.redis_publish === false
}

class ResultStore {
    #core
    #news
    // Numbers of what the core found when it was last told.
    #marks = NOTHING_TOLD

    constructor(conn, core, news) {
        Object.defineProperty(this, 'conn', { value: conn, writable: true })
        this.#core = core
        this.#news = news
        this.store = Object.create(null)
        if (settings === undefined) configure()
    }

    resolve_plugin_name(plugin) {
        return named(plugin)
    }

    private_collate(own, name) {
        return lines(own, name)
    }

    // Other programs follow what is found, where a plugin has connected to redis (RES-05).
    redis_publish(plugin, given) {
        const { redis } = server.notes
        if (!redis || silent) return
        const { conn } = this
        const channel = 'result-' + (conn?.transaction?.uuid ?? conn?.uuid)
        const name = named(plugin)
        if (publisher === undefined || publisher.client !== redis) publisher = Publisher.suits(redis) ? new Publisher(redis) : undefined
        if (publisher !== undefined && publisher.publish(channel, name, given)) return
        redis.publish(channel, Publisher.message(name, given)).catch?.((why) => {
            this.conn.logerror('results', `redis publish failed: ${why?.message ?? why}`)
        })
    }

    // All under a name but empty lists.
    found(name) {
        const filled = ([, value]) => !Array.isArray(value) || value.length > 0
        return Object.fromEntries(Object.entries(this.get(name) ?? {}).filter(filled))
    }

    // What the core found stands nowhere, so it is told when a hook begins, if it is new.
    publishCore() {
        if (!this.followed()) return
        const news = this.#news?.(this.#marks)
        if (!news) return
        this.#marks = news[0]
        for (const name of CORE) if (news[1][name]) this.redis_publish(name, news[1][name])
    }

    // Whether anybody can follow what is found (RES-05).
    followed() {
        return Boolean(server.notes.redis) && !silent
    }

    own(name) {
        return (this.store[name] ??= { pass: [], fail: [], msg: [], err: [], skip: [] })
    }

    add(plugin, given) {
        const name = named(plugin)
        this.redis_publish(name, given)
        const own = this.store[name] ?? this.own(name)
        if (given.human) summarised(own)
        const keys = Object.keys(given)
        for (let at = 0; at < keys.length; at += 1) {
            const key = keys[at]
            const value = given[key]
            if (value === undefined) continue
            const kind = KINDS[key]
            if (kind === LIST) {
                if (typeof value === 'string') own[key].push(value)
                else if (Array.isArray(value)) own[key] = own[key].concat(value.map(text))
                else own[key].push(text(value))
            } else if (kind === undefined || kind === REPLACED) {
                own[key] = value
            }
        }
        this.tell(plugin, name, own, given)
    }

    incr(plugin, given) {
        const now = {}
        const own = this.own(named(plugin))
        for (const key of Object.keys(given)) {
            if (KINDS[key] === REFUSED) continue
            untold(own, key)
            own[key] = (parseFloat(own[key]) || 0) + (parseFloat(given[key]) || 0)
            now[key] = own[key]
        }
        this.redis_publish(plugin, now)
    }

    push(plugin, given) {
        const name = named(plugin)
        this.redis_publish(name, given)
        const own = this.own(name)
        for (const key of Object.keys(given)) {
            if (KINDS[key] === REFUSED) continue
            own[key] = (own[key] || []).concat(given[key])
        }
        this.tell(plugin, name, own, given)
    }

    // What the core itself found is made up when it is asked for.
    get(plugin) {
        const name = named(plugin)
        const own = this.store[name]
        if (this.#core === undefined || IS_CORE[name] === undefined) return own
        const known = this.#core(name)
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
        if (Array.isArray(held)) return wanted instanceof RegExp ? held.some(is) : held.indexOf(wanted) >= 0
        return ['string', 'number', 'boolean'].includes(typeof held) && is(held)
    }

    collate(plugin) {
        const own = this.get(plugin)
        return own ? lines(own, named(plugin)).join(', ') : undefined
    }

    tell(plugin, name, own, given) {
        const summary = own[SUMMARY] ?? begun(own, name)
        if (given.human) summary.human = given.human
        else {
            summary.stale = true
            summary.before = undefined
        }
        if (given.emit && logger.would_log(INFO)) this.conn.loginfo(plugin, own.human)
        if (given.err && logger.would_log(ERROR)) this.conn.logerror(plugin, text(given.err))
        if (!given.emit && !given.err && settings?.[name]?.debug && logger.would_log(DEBUG)) this.conn.logdebug(plugin, own.human)
    }
}

// Keys of the plugin's own first, then the lists in their order.
function lines(own, name, before) {
    const hide = words(settings?.[name]?.hide)
    const out = []
    if (before !== undefined) own = as(own, before)
    const isHidden = (key) => hide.length > 0 && hide.includes(key)
    const keys = Object.keys(own)
    for (let at = 0; at < keys.length; at += 1) {
        const key = keys[at]
        if (KINDS[key] !== undefined || key[0] === '_' || isHidden(key)) continue
        const value = own[key]
        if (typeof value !== 'object' || (Array.isArray(value) && value.length > 0)) out.push(`${key}: ${value}`)
    }
    const configured = words(settings?.[name]?.order)
    const order = own.order?.length ? own.order : configured.length ? configured : LISTS
    for (const key of order) {
        if (own[key]?.length && !isHidden(key)) out.push(`${key}:${Array.isArray(own[key]) ? own[key].join(', ') : own[key]}`)
    }
    return out
}

// A finding with values that it had before.
function as(own, before) {
    const was = Object.create(null)
    for (const key of Object.keys(own)) {
        if (KINDS[key] === SAID) continue
        const value = before.has(key) ? before.get(key) : own[key]
        if (value !== undefined) was[key] = value
    }
    return was
}

// A value is about to change that the summary goes on telling as it was.
function untold(own, key) {
    const summary = own[SUMMARY]
    if (!summary?.stale) return
    summary.before ??= new Map()
    if (!summary.before.has(key)) summary.before.set(key, own[key])
}

// The summary of a finding for people. Plugins add more often than anybody reads, so it is made when
// it is read, of the values that it is to tell. Holds nothing of its finding, as a cycle would wait for
// the collector.
function summarised(own) {
    const summary = own[SUMMARY]
    if (summary?.stale) {
        summary.stale = false
        const all = lines(own, summary.name, summary.before)
        summary.before = undefined
        summary.human = all.join(', ')
        summary.human_html = all.join(', \t ')
    }
    return summary
}

function begun(own, name) {
    Object.defineProperty(own, SUMMARY, { value: { name, stale: false, before: undefined, human: undefined, human_html: undefined } })
    Object.defineProperties(own, SUMMARIES)
    return own[SUMMARY]
}

const part = (key) => ({
    get() {
        return summarised(this)[key]
    },
    set(given) {
        summarised(this)[key] = given
    },
    enumerable: true,
    configurable: true,
})
const SUMMARIES = { human: part('human'), human_html: part('human_html') }

module.exports = ResultStore
