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
        for (let at = 1; at < frames.length; ) {
            const from = at
            const first = frames[at]
            if (typeof first === 'string') {
                while (typeof frames[at] === 'string') at += 3 + frames[at + 2]
                this.onPush([FOLLOWED, frames, from, at])
                continue
            }
            at += 3
            if (first !== null && isPlain(this.getTypeMapping())) this.onReply(first[0])
            else write.call(this, all.subarray(frames[from + 1], frames[from + 2]))
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

    prototype.handleMessageReply = function (reply) {
        if (reply[0] !== FOLLOWED) return handleMessageReply.call(this, reply)
        const frames = reply[1]
        const to = reply[3]
        const isTraced = traced.hasSubscribers
        let channel, message
        const tell = (listener) => listener(message, channel)
        for (let at = reply[2]; at < to; ) {
            const pattern = frames[at]
            channel = frames[at + 1]
            const end = at + 3 + frames[at + 2]
            for (at += 3; at < end; at += 1) {
                message = frames[at]
                // A listener may have let go of the others.
                const heard = this.listeners.PATTERNS.get(pattern)
                if (heard === undefined) continue
                if (heard.buffers.size > 0 || isTraced || channel === '__redis__:invalidate') {
                    handleMessageReply.call(this, [FOLLOWED, pattern, channel, message].map((part) => Buffer.from(part)))
                } else heard.strings.forEach(tell)
            }
        }
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
