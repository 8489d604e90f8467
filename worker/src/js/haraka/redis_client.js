// The package `@redis/client` where a plugin has it from npm: what it does most is done natively, all else is left to
// it. This stands in for what is inside of its files, so it is only for those that `known_files.js` knows.

const { redis } = natives

// What a decoder has of the next frame, or that it reads by itself: until it is reset.
const REST = Symbol('rest')
const THEIRS = Symbol('theirs')

// Octets of a frame that is not whole: more are read as they come.
const MOST = 1 << 16

const FOLLOWED = 'pmessage'

// Whether replies are to be what they are where nobody asks for anything else: numbers, texts, arrays, objects.
function isPlain(mapping) {
    for (const _kind in mapping) return false
    return true
}

// Gives whole frames to the package's decoder, but for what followers of a pattern get and for replies of the usual kinds.
function decoder(module) {
    const { prototype } = module.exports.Decoder
    const { write, reset } = prototype

    prototype.write = function (chunk) {
        const rest = this[REST]
        if (rest === THEIRS) return write.call(this, chunk)
        const all = rest ? Buffer.concat([rest, chunk]) : chunk
        const frames = redis.frames(all)
        if (!frames || all.length - frames[0] > MOST) {
            this[REST] = THEIRS
            return write.call(this, all)
        }
        this[REST] = frames[0] < all.length ? all.subarray(frames[0]) : undefined
        for (let at = 1; at < frames.length; at += 3) {
            const first = frames[at]
            if (typeof first === 'string') {
                const from = at
                while (typeof frames[at + 3] === 'string') at += 3
                this.onPush([FOLLOWED, frames, from, at])
            } else if (first !== null && isPlain(this.getTypeMapping())) this.onReply(first[0])
            else write.call(this, all.subarray(frames[at + 1], frames[at + 2]))
        }
        return undefined
    }

    prototype.reset = function () {
        this[REST] = undefined
        return reset.call(this)
    }
}

// What the decoder above gives as text, to whom it is for.
function followers(module) {
    const { prototype } = module.exports.PubSub
    const { handleMessageReply } = prototype
    const traced = require('diagnostics_channel').channel('node-redis:pubsub')

    const tell = (pubsub, pattern, channel, message) => {
        const heard = pubsub.listeners.PATTERNS.get(pattern)
        if (!heard) return
        if (heard.buffers.size > 0 || traced.hasSubscribers || channel === '__redis__:invalidate') {
            handleMessageReply.call(pubsub, [FOLLOWED, pattern, channel, message].map((part) => Buffer.from(part)))
        } else heard.strings.forEach((listener) => listener(message, channel))
    }

    prototype.handleMessageReply = function (reply) {
        if (reply[0] !== FOLLOWED) return handleMessageReply.call(this, reply)
        const frames = reply[1]
        for (let at = reply[2]; at <= reply[3]; at += 3) tell(this, frames[at], frames[at + 1], frames[at + 2])
        return true
    }
}

// The classes of clients are kept by what their configuration is as JSON, in which the modules are most. Mostly these
// are the same objects again, so that only the rest is made JSON.
function configurations(module) {
    const text = (config) => {
        const seen = new WeakSet()
        return JSON.stringify(config, (_, value) => {
            if (value === null || typeof value !== 'object') return value
            if (seen.has(value)) return 'circular'
            seen.add(value)
            return value
        })
    }
    const without = (config) => text({ ...config, modules: 0 })
    const same = (a, b) => {
        const [names, others] = [Object.keys(a), Object.keys(b)]
        return names.length === others.length && names.every((name, i) => name === others[i] && a[name] === b[name])
    }

    module.exports.default = class SingleEntryCache {
        #cached
        #text
        #rest
        #modules

        get(config) {
            const alike = config?.modules && this.#modules && same(config.modules, this.#modules)
            return (alike ? without(config) === this.#rest : text(config) === this.#text) ? this.#cached : undefined
        }

        set(config, made) {
            this.#cached = made
            this.#text = text(config)
            this.#rest = config?.modules && without(config)
            this.#modules = config?.modules && { ...config.modules }
        }
    }
}

exports.decoder = decoder
exports.followers = followers
exports.configurations = configurations
