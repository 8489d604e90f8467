// Errors as Node makes them: a code, and messages that plugins and their tests compare with.

// What the system's failures mean, in the words that scripts know.
const MEANINGS = {
    EACCES: 'permission denied',
    EBADF: 'bad file descriptor',
    EBUSY: 'resource busy or locked',
    EEXIST: 'file already exists',
    EINVAL: 'invalid argument',
    EIO: 'i/o error',
    EISDIR: 'illegal operation on a directory',
    ELOOP: 'too many symbolic links encountered',
    EMFILE: 'too many open files',
    ENAMETOOLONG: 'name too long',
    ENOENT: 'no such file or directory',
    ENOSPC: 'no space left on device',
    ENOTDIR: 'not a directory',
    ENOTEMPTY: 'directory not empty',
    EPERM: 'operation not permitted',
    EPIPE: 'broken pipe',
    EROFS: 'read-only file system',
    ESRCH: 'no such process',
    ETXTBSY: 'text file is busy',
    EXDEV: 'cross-device link not permitted',
}

const NUMBERS = {
    EPERM: 1, ENOENT: 2, ESRCH: 3, EINTR: 4, EIO: 5, ENXIO: 6, E2BIG: 7, EBADF: 9, ECHILD: 10, EAGAIN: 11, ENOMEM: 12,
    EACCES: 13, EFAULT: 14, EBUSY: 16, EEXIST: 17, EXDEV: 18, ENODEV: 19, ENOTDIR: 20, EISDIR: 21, EINVAL: 22,
    ENFILE: 23, EMFILE: 24, ENOTTY: 25, ETXTBSY: 26, EFBIG: 27, ENOSPC: 28, ESPIPE: 29, EROFS: 30, EMLINK: 31,
    EPIPE: 32, ERANGE: 34, ENAMETOOLONG: 36, ENOSYS: 38, ENOTEMPTY: 39, ELOOP: 40, EPROTO: 71, ENOTSOCK: 88,
    EMSGSIZE: 90, EOPNOTSUPP: 95, EADDRINUSE: 98, EADDRNOTAVAIL: 99, ENETDOWN: 100, ENETUNREACH: 101,
    ECONNABORTED: 103, ECONNRESET: 104, ENOBUFS: 105, EISCONN: 106, ENOTCONN: 107, ETIMEDOUT: 110,
    ECONNREFUSED: 111, EHOSTUNREACH: 113, EALREADY: 114, EINPROGRESS: 115, ECANCELED: 125,
}

// An error class whose errors show their code in the stack, and have it.
function coded(Base, code, message) {
    const error = new Base(message)
    error.code = code
    Object.defineProperty(error, 'name', { value: Base.name, writable: true, configurable: true, enumerable: false })
    Object.defineProperty(error, 'toString', {
        value() {
            return `${this.name} [${code}]: ${this.message}`
        },
        writable: true,
        configurable: true,
        enumerable: false,
    })
    return error
}

const article = (types) => {
    const primitive = ['string', 'number', 'boolean', 'function', 'object', 'bigint', 'symbol', 'undefined']
    const kinds = types.filter((t) => primitive.includes(t)).map((t) => (t === 'function' ? 'function' : t))
    const classes = types.filter((t) => !primitive.includes(t))
    const listed = (all) => (all.length < 3 ? all.join(' or ') : `${all.slice(0, -1).join(', ')}, or ${all.at(-1)}`)
    const out = []
    if (kinds.length > 0) out.push(kinds.length > 1 ? `one of type ${listed(kinds)}` : `of type ${kinds[0]}`)
    if (classes.length > 0) out.push(`an instance of ${listed(classes)}`)
    return out.join(' or ')
}

function received(value) {
    if (value === null || value === undefined) return ` Received ${value}`
    if (typeof value === 'function') return ` Received function ${value.name}`
    if (typeof value === 'object') {
        if (value.constructor?.name) return ` Received an instance of ${value.constructor.name}`
        return ` Received ${require('internal/inspect').inspect(value, { depth: -1 })}`
    }
    let text = require('internal/inspect').inspect(value, { colors: false })
    if (text.length > 28) text = `${text.slice(0, 25)}...`
    return ` Received type ${typeof value} (${text})`
}

exports.coded = coded
exports.invalidType = (name, types, value) => {
    const what = name.includes(' ') ? name : `"${name}" ${name.includes('.') ? 'property' : 'argument'}`
    return coded(TypeError, 'ERR_INVALID_ARG_TYPE', `The ${what} must be ${article([].concat(types))}.${received(value)}`)
}
exports.outOfRange = (name, range, value) => {
    const grouped = typeof value === 'bigint' || (Number.isInteger(value) && Math.abs(value) > 2 ** 32)
    const digits = grouped ? String(value).replace(/\B(?=(\d{3})+$)/g, '_') + (typeof value === 'bigint' ? 'n' : '') : require('internal/inspect').inspect(value)
    return coded(RangeError, 'ERR_OUT_OF_RANGE', `The value of "${name}" is out of range. It must be ${range}. Received ${digits}`)
}
exports.system = (code, syscall, path, to) => {
    const where = path === undefined ? '' : ` '${path}'${to === undefined ? '' : ` -> '${to}'`}`
    const error = new Error(`${code}: ${MEANINGS[code] ?? code}, ${syscall}${where}`)
    error.errno = -(NUMBERS[code] ?? 5)
    error.code = code
    error.syscall = syscall
    if (path !== undefined) error.path = path
    if (to !== undefined) error.dest = to
    return error
}
exports.absent = (what) =>
    Object.assign(new Error(`${what} is not available to plugins`), { code: 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM' })
exports.needsFunction = (name, value) => {
    if (typeof value !== 'function') throw exports.invalidType(name, 'function', value)
}
exports.needsText = (name, value) => {
    if (typeof value !== 'string') throw exports.invalidType(name, 'string', value)
}
exports.NUMBERS = NUMBERS
exports.MEANINGS = MEANINGS
