// `haraka-utils`, where a plugin does not bring its own.

const crypto = require('crypto')
const fs = require('fs')
const path = require('path')

const REFUSED = ['__proto__', 'constructor', 'prototype']
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

const pad = (value, width, filler = '0') => String(value).padStart(width, filler)

exports.pad = pad
exports.uuid = () => crypto.randomUUID().toUpperCase()
exports.in_array = (item, list) => Array.isArray(list) && list.includes(item)

exports.to_object = (list) => {
    const names = typeof list === 'string' ? list.split(/[\s,;]+/) : list
    if (!Array.isArray(names)) throw new TypeError('to_object takes text or a list')
    return Object.fromEntries(names.filter((name) => name !== undefined).map((name) => [name, true]))
}

exports.sort_keys = (object) => Object.keys(object).sort()
exports.uniq = (list) => [...new Set(list)]

exports.extend = (target, ...sources) => {
    for (const source of sources) {
        for (const [key, value] of Object.entries(source ?? {})) {
            if (!REFUSED.includes(key)) target[key] = value
        }
    }
    return target
}

exports.ISODate = (date) => `${date.toISOString().slice(0, 19)}Z`

exports.date_to_str = (date) => {
    const offset = -date.getTimezoneOffset()
    const zone = `${offset < 0 ? '-' : '+'}${pad(Math.floor(Math.abs(offset) / 60), 2)}${pad(Math.abs(offset) % 60, 2)}`
    const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => pad(part, 2)).join(':')
    return `${DAYS[date.getDay()]}, ${pad(date.getDate(), 2)} ${MONTHS[date.getMonth()]} ${date.getFullYear()} ${time} ${zone}`
}

exports.node_min = (min, now = process.version.slice(1)) => {
    const [wants, has] = [min, now].map((version) => version.split('.').map(Number))
    const differs = has.findIndex((part, i) => i < 3 && part !== (wants[i] ?? 0))
    return differs < 0 || has[differs] > (wants[differs] ?? 0)
}

exports.existsSync = fs.existsSync

exports.indexOfLF = (octets, limit) => {
    const found = octets.indexOf(10)
    return limit && found >= limit ? -1 : found
}

exports.prettySize = (size) => {
    if (!size) return 0
    const power = Math.floor(Math.log(size) / Math.log(1024))
    return `${Number((size / 1024 ** power).toFixed(2))}${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`
}

exports.valid_regexes = (list, file) =>
    list.filter((text) => {
        try {
            return Boolean(new RegExp(text))
        } catch {
            console.error(`invalid regex in ${file}, ${text}`)
            return false
        }
    })

exports.regexp_escape = (text) => text.replace(/[-[\]{}()*+?.,\\^$|#\s]/g, '\\$&')
exports.wildcard_to_regexp = (text) => `${text.replace(/[-[\]/{}()+.,\\^$|#\s]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.')}$`

exports.sanitize = (text, { replacement = '', keepTab = false } = {}) =>
    String(text ?? '').replace(keepTab ? /[\x00-\x08\x0a-\x1f\x7f]/g : /[\x00-\x1f\x7f]/g, replacement)

exports.base64 = (text) => Buffer.from(text, 'utf8').toString('base64')
exports.unbase64 = (text) => Buffer.from(text, 'base64').toString('utf8')

exports.cram_md5_response = (user, password, challenge) => {
    const digest = crypto.createHmac('md5', password).update(exports.unbase64(challenge)).digest('hex')
    return exports.base64(`${user} ${digest}`)
}

exports.shuffle = (list) => {
    for (let left = list.length; left > 1; left -= 1) {
        const other = Math.floor(Math.random() * left)
        ;[list[left - 1], list[other]] = [list[other], list[left - 1]]
    }
    return list
}

// Seconds since a time in milliseconds; fewer digits the longer it is.
exports.elapsed = (start, places) => {
    const seconds = (Date.now() - start) / 1000
    if (places === undefined) return seconds.toFixed(seconds > 5 ? 0 : seconds > 2 ? 1 : 2)
    const digits = parseInt(places, 10)
    return seconds.toFixed(Number.isNaN(digits) ? 2 : digits)
}

exports.line_regexp = /^([^\n]*\n)/

exports.mkDir = (dir) => {
    fs.mkdirSync(dir, { recursive: true })
}

// A file that is there already stays as it is.
exports.copyFile = (from, to) => {
    exports.mkDir(path.dirname(to))
    if (!fs.existsSync(to)) fs.copyFileSync(from, to)
}

exports.copyDir = (from, to) => {
    exports.mkDir(to)
    for (const entry of fs.readdirSync(from, { withFileTypes: true })) {
        const [source, target] = [from, to].map((dir) => path.join(dir, entry.name))
        if (entry.isDirectory()) exports.copyDir(source, target)
        else exports.copyFile(source, target)
    }
}

exports.createFile = (file, text, info = {}, force = false) => {
    if (fs.existsSync(file) && !force) throw new Error(`${file} already exists`)
    exports.mkDir(path.dirname(file))
    fs.writeFileSync(file, text.replace(/%(\w+)%/g, (_, name) => info[name]))
}

exports.getVersion = () => natives.process.version ?? process.version

// Things that are due at a time, looked at every so often.
class TimerQueue {
    constructor(interval = 1000) {
        this.queue = []
        this.interval_timer = setInterval(() => this.fire(), interval)
        this.interval_timer.unref?.()
    }

    add(id, ms, cb) {
        const timer = {
            id,
            fire_time: Date.now() + ms,
            cb,
            cancel() {
                this.cb = null
            },
        }
        const later = this.queue.findIndex((other) => other.fire_time > timer.fire_time)
        this.queue.splice(later < 0 ? this.queue.length : later, 0, timer)
        return timer
    }

    discard(id) {
        const at = this.queue.findIndex((timer) => timer.id === id)
        if (at < 0) throw new Error(`${id} not found`)
        this.queue[at].cancel()
        return this.queue.splice(at, 1)
    }

    fire() {
        while (this.queue[0]?.fire_time <= Date.now()) this.queue.shift().cb?.()
    }

    length() {
        return this.queue.length
    }

    drain() {
        this.queue.splice(0).forEach((timer) => timer.cb?.())
    }

    shutdown() {
        clearInterval(this.interval_timer)
    }
}

exports.TimerQueue = TimerQueue

// The commit that a checkout is at; throws outside of one.
exports.getGitCommitId = (dir) => {
    const { execSync } = require('child_process')
    return execSync('git rev-parse --short HEAD', { cwd: dir, stdio: 'pipe' }).toString().trim()
}

let FsyncWriteStream
// A file that is on the disk when the stream is at its end.
Object.defineProperty(exports, 'FsyncWriteStream', {
    get() {
        FsyncWriteStream ??= class extends fs.WriteStream {
            // However it ends.
            _destroy(err, done) {
                if (err || typeof this.fd !== 'number') super._destroy(err, done)
                else fs.fsync(this.fd, (why) => super._destroy(why, done))
            }

            close(done) {
                const closed = new Promise((resolve, reject) => {
                    if (this.closed) resolve()
                    this.once('close', resolve)
                    this.once('error', reject)
                })
                if (!this.destroyed) this.end()
                if (!done) return closed
                closed.then(() => done(), done)
                return undefined
            }
        }
        return FsyncWriteStream
    },
    enumerable: true,
})
Object.defineProperty(exports, 'rfc1869', { get: () => require('internal/rfc1869'), enumerable: true })
