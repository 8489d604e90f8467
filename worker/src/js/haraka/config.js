// `config.get` and what belongs to it, over the server's own reader (CFS rows).

const { config } = natives

const TYPES = ['ini', 'json', 'hjson', 'yaml', 'js', 'list', 'data', 'value', 'binary']

// Who wants to know of changes, by number.
const followers = new Map()
let numbers = 0

// One follower for a file and package: a plugin that asks again replaces its earlier callback.
const following = new Map()

function follow(owner, name, callback) {
    const key = `${owner ?? ''}\n${name}\n${String(callback)}`
    const known = following.get(key)
    if (known) {
        followers.set(known, callback)
        return
    }
    numbers += 1
    followers.set(numbers, callback)
    following.set(key, numbers)
    config.follow(name, numbers)
}

exports.changed = (number) => followers.get(number)?.()

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

class Config {
    constructor(owner) {
        Object.defineProperty(this, 'owner', { value: owner })
        this.root_path = config.root()
    }

    get(name, ...args) {
        const { type = typeOf(name), callback, options } = sorted(args)
        if (callback) follow(this.owner, name, callback)
        if (type === 'binary') {
            const bytes = config.bytes(this.owner, name)
            return Buffer.from(bytes ?? [])
        }
        const found = config.get(this.owner, name, type, (options?.booleans ?? []).map(String))
        return type === 'ini' ? withoutNulls(found) : found
    }

    getInt(name, fallback = 0) {
        const found = parseInt(this.get(name), 10)
        return Number.isNaN(found) ? fallback : found
    }

    getDir(name, options, done) {
        const { fs } = natives
        const files = config.files(name)
        const read = (file) => ({ path: file, data: Buffer.from(fs.bytesSync(file)) })
        const all = Promise.resolve().then(() => files.map(read))
        if (!done) return all
        all.then(
            (found) => done(null, found),
            (err) => done(err),
        )
        return undefined
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
