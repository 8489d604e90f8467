// Log methods of plugins, connections and the logger itself.

const util = require('util')
const { log } = natives

const LEVELS = ['EMERG', 'ALERT', 'CRIT', 'ERROR', 'WARN', 'NOTICE', 'INFO', 'DEBUG', 'PROTOCOL', 'DATA']

// Lines up to this level are written.
let most = log.level()

// The native side tells that, before anything else, when it has changed.
Object.defineProperty(exports, 'configured', {
    value: (level) => {
        most = level
    },
})

const wouldLog = (level) => level in LEVELS && level <= most

// A line from whatever a log method was given: text is the message; a connection gives the uuid, a
// plugin the origin, a plain object the fields.
function write(level, origin, args) {
    if (!wouldLog(level)) return true
    const line = { uuid: '-', origin, message: '', fields: {} }
    for (const arg of args) {
        if (typeof arg !== 'object') {
            line.message += String(arg)
        } else if (arg !== null) {
            take(line, arg)
        }
    }
    log.write(level, line.uuid, line.origin, line.message, line.fields)
    return true
}

function take(line, object) {
    const own = (name) => Object.hasOwn(object, name)
    if (object.constructor?.name === 'Connection') {
        line.uuid = object.uuid
        if (object.tran_count > 0) line.uuid += `.${object.tran_count}`
    } else if (object.constructor?.name === 'Plugin') {
        line.origin = object.name
    } else if (own('name') && !(object instanceof Error)) {
        line.origin = object.name
        const uuid = object.todo?.uuid ?? (own('uuid') ? object.uuid : undefined)
        if (uuid) line.uuid = uuid
    } else if (object.constructor === Object) {
        for (const [key, value] of Object.entries(object)) line.fields[key] = shown(value)
    } else if (own('uuid')) {
        line.uuid = object.uuid
    } else {
        line.message += util.inspect(object)
    }
}

function shown(value) {
    if (value === null || value === undefined) return ''
    return typeof value === 'number' ? value : String(value)
}

// Gives an object, or the instances of a class, `loginfo` and its like.
function addLogMethods(to, origin) {
    const target = typeof to === 'function' ? to.prototype : to
    LEVELS.forEach((name, level) => {
        Object.defineProperty(target, `log${name.toLowerCase()}`, {
            value(...args) {
                // Most lines are of a level that nobody wants.
                if (level > most) return true
                return write(level, origin ?? 'core', typeof to === 'function' ? [this, ...args] : args)
            },
            writable: true,
            configurable: true,
            enumerable: false,
        })
    })
}

exports.levels = {}
LEVELS.forEach((name, level) => {
    exports.levels[name] = level
    exports.levels[`LOG${name}`] = level
    exports[`LOG${name}`] = level
    exports[name.toLowerCase()] = (...args) => write(level, 'core', args)
})
exports.name = 'logger'
// As configured; `log.ini` and the file `loglevel` change it, for all plugins and workers.
Object.defineProperty(exports, 'loglevel', {
    get: () => most,
    enumerable: true,
})
exports.would_log = wouldLog
exports.log = (name, message) => write(LEVELS.indexOf(name), 'core', [message])
exports.add_log_methods = addLogMethods
addLogMethods(exports)
