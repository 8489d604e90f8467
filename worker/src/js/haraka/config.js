// `config.get` and what belongs to it, over the server's own reader (CFS rows).

const path = require('path')
const { config } = natives

const TYPES = ['ini', 'json', 'hjson', 'yaml', 'js', 'list', 'data', 'value', 'binary']
const REFUSED = ['__proto__', 'constructor']

// Who wants to know of changes, by number: file and callback.
const followers = new Map()
let numbers = 0

// One follower for a file and package: a plugin that asks again replaces its earlier callback.
const following = new Map()

// What has been read, by file and then by how, until the file changes.
const held = new Map()

function follow(owner, name, callback) {
    const key = `${owner ?? ''}\n${name}\n${String(callback)}`
    const known = following.get(key)
    if (known) {
        followers.get(known).callback = callback
        return
    }
    numbers += 1
    if (!config.follow(name, numbers)) return
    followers.set(numbers, { name, key, callback })
    following.set(key, numbers)
}

function hold(name, how, value) {
    if (!held.has(name)) {
        numbers += 1
        // What nobody tells the changes of is read each time.
        if (!config.follow(name, numbers)) return value
        followers.set(numbers, { name })
        held.set(name, new Map())
    }
    held.get(name).set(how, value)
    return value
}

exports.changed = (number) => {
    const follower = followers.get(number)
    held.get(follower?.name)?.clear()
    follower?.callback?.()
}

function unfollow(name) {
    for (const [number, follower] of followers) {
        if (follower.name !== name && !follower.name.startsWith(`${name}/`)) continue
        config.unfollow(number)
        followers.delete(number)
        following.delete(follower.key)
        held.delete(follower.name)
    }
}

// `get(name, [type], [callback], [options])`, in any of the orders that plugins use.
function sorted(args) {
    const found = { type: undefined, callback: undefined, options: undefined }
    for (const arg of args) {
        if (typeof arg === 'function') found.callback = arg
        else if (typeof arg === 'string' && TYPES.includes(arg)) found.type = arg
        else if (arg !== null && typeof arg === 'object') found.options = arg
    }
    return found
}

function typeOf(name) {
    const ending = name.slice(name.lastIndexOf('.') + 1).toLowerCase()
    if (!name.includes('.')) return 'value'
    if (ending === 'yml') return 'yaml'
    if (['pem', 'bin'].includes(ending)) return 'binary'
    return TYPES.includes(ending) ? ending : 'value'
}

// JSON has null where Haraka's reader has nothing.
function withoutNulls(sections) {
    for (const section of Object.values(sections)) {
        for (const key of Object.keys(section)) if (section[key] === null) section[key] = undefined
    }
    return sections
}

// The export of a script, as it is now (CFS-14); nothing if there is no such file.
function script(file) {
    if (!require('fs').existsSync(file)) return undefined
    const loader = require('internal/loader')
    delete loader.cache[file]
    return loader.main.require(file)
}

function copied(value) {
    if (Array.isArray(value)) return value.map(copied)
    if (value === null || typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype) return value
    const out = {}
    for (const key of Object.keys(value)) out[key] = copied(value[key])
    return out
}

// A plugin's own values, with the operator's over them.
function merged(own, over) {
    const [a, b] = [own, over].map((value) => value !== null && typeof value === 'object')
    if (!a || !b) return over ?? own
    const out = Array.isArray(own) ? [...own] : { ...own }
    for (const [key, value] of Object.entries(over)) {
        if (!REFUSED.includes(key) && value !== null) out[key] = merged(own[key], value)
    }
    return out
}

class Config {
    constructor(owner) {
        Object.defineProperty(this, 'owner', { value: owner })
        this.root_path = owner ? path.join(owner, 'config') : config.root()
        this.overrides_path = config.root()
    }

    get(name, ...args) {
        const { type = typeOf(name), callback, options } = sorted(args)
        const how = [this.owner, type, ...(options?.booleans ?? [])].join('\n')
        const known = held.get(name)
        const found = known?.has(how) ? known.get(how) : hold(name, how, this.read(name, type, options))
        if (callback) follow(this.owner, name, callback)
        // A copy each, as plugins complete what they get; what a script exports is as it is.
        return type === 'js' ? found : copied(found)
    }

    read(name, type, options) {
        if (type === 'js') return this.script(name) ?? {}
        const twin = /\.h?json$/.test(name) ? name.replace(/\.h?json$/, '.yaml') : name
        if (process.env.HARAKA_JS_CONFIG && ![name, twin].some((file) => config.exists(file))) {
            const given = this.script(`${name}.js`)
            if (given !== undefined) return given
        }
        if (type === 'binary') {
            const bytes = config.bytes(this.owner, name)
            return bytes ? Buffer.from(bytes) : null
        }
        const found = config.get(this.owner, name, type, (options?.booleans ?? []).map(String))
        return type === 'ini' ? withoutNulls(found) : found
    }

    script(name) {
        try {
            const own = this.owner && !path.isAbsolute(name) ? script(path.join(this.root_path, name)) : undefined
            return merged(own, script(config.path(name)))
        } catch (err) {
            require('internal/logger').error(`config: ${name}: ${err.message}`)
            return undefined
        }
    }

    getInt(name, fallback) {
        if (!name) return NaN
        const found = parseInt(this.get(name, 'value'), 10)
        return Number.isNaN(found) ? parseInt(fallback, 10) : found
    }

    // All files below a directory, each as its type is read.
    getDir(name, options, done) {
        const { type, watchCb } = options ?? {}
        const all = Promise.resolve().then(() => {
            const files = config.files(name)
            if (watchCb) for (const file of [config.path(name), ...files]) follow(this.owner, file, watchCb)
            return files.map((file) => ({ path: file, data: this.read(file, type ?? typeOf(file), options) }))
        })
        if (!done) return all
        all.then(
            (found) => done(null, found),
            (err) => done(err),
        )
        return undefined
    }

    // Nobody is told of changes of the file, or of those below a directory, any more.
    stop_watching(name) {
        for (const at of new Set([name, config.path(name)])) unfollow(at)
    }

    arrange_args(args) {
        const { type, callback, options } = sorted(args.slice(1))
        return [args[0], type ?? typeOf(args[0]), callback, options]
    }

    module_config(defaults) {
        return new Config(defaults)
    }
}

module.exports = Object.assign(new Config(undefined), { changed: exports.changed, Config })
Object.defineProperty(module.exports, 'get', {
    value: Config.prototype.get.bind(module.exports),
    writable: true,
    enumerable: true,
})
