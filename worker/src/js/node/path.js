// Paths of this system; `win32` is a module of its own.

const { process } = natives
const { invalidType } = require('internal/errors')

function text(value, name = 'path') {
    if (typeof value !== 'string') throw invalidType(name, 'string', value)
    return value
}

// Without empty parts, `.` and, where something is before it, `..`.
function parts(given, absolute) {
    const out = []
    for (const part of given.split('/')) {
        if (part === '' || part === '.') continue
        if (part !== '..') out.push(part)
        else if (out.length > 0 && out.at(-1) !== '..') out.pop()
        else if (!absolute) out.push('..')
    }
    return out
}

// The last dot of a name that has something before it.
function extension(name) {
    const at = name.lastIndexOf('.')
    return at <= 0 || name === '..' ? '' : name.slice(at)
}

exports.sep = '/'
exports.delimiter = ':'
exports.isAbsolute = (given) => text(given).startsWith('/')

exports.normalize = (given) => {
    const absolute = text(given).startsWith('/')
    const inside = parts(given, absolute).join('/')
    const end = given.endsWith('/') ? '/' : ''
    if (absolute) return inside ? `/${inside}${end}` : '/'
    return inside ? inside + end : `.${end}`
}

exports.join = (...all) => {
    const joined = all.filter((part) => text(part) !== '').join('/')
    return joined === '' ? '.' : exports.normalize(joined)
}

exports.resolve = (...all) => {
    let found = ''
    for (const [i, part] of [...all.entries()].reverse()) {
        if (text(part, `paths[${i}]`)) found = found ? `${part}/${found}` : part
        if (found.startsWith('/')) break
    }
    if (!found.startsWith('/')) found = `${process.cwd()}/${found}`
    return `/${parts(found, true).join('/')}`
}

exports.relative = (from, to) => {
    const start = parts(exports.resolve(text(from, 'from')), true)
    const end = parts(exports.resolve(text(to, 'to')), true)
    let same = 0
    while (same < start.length && start[same] === end[same]) same += 1
    return [...start.slice(same).map(() => '..'), ...end.slice(same)].join('/')
}

exports.dirname = (given) => {
    const bare = text(given).replace(/\/+$/, '')
    const at = bare.lastIndexOf('/')
    if (at < 0) return bare === '' && given !== '' ? '/' : '.'
    if (at === 0) return '/'
    return at === 1 && bare.startsWith('//') ? '//' : bare.slice(0, at)
}

exports.basename = (given, ending) => {
    if (ending !== undefined) text(ending, 'suffix')
    if (ending && given === ending) return ''
    const bare = text(given).replace(/\/+$/, '')
    const name = bare.slice(bare.lastIndexOf('/') + 1)
    return ending && name !== ending && name.endsWith(ending) ? name.slice(0, -ending.length) : name
}

exports.extname = (given) => extension(exports.basename(text(given)))

exports.parse = (given) => {
    const base = exports.basename(text(given))
    const ext = extension(base)
    const root = given.startsWith('/') ? '/' : ''
    const bare = given.replace(/\/+$/, '')
    const at = bare.lastIndexOf('/')
    const dir = at > 0 ? bare.slice(0, at) : root
    return { root, dir, base, ext, name: ext ? base.slice(0, -ext.length) : base }
}

exports.format = (given) => {
    if (typeof given !== 'object' || given === null) throw invalidType('pathObject', 'object', given)
    const { root = '', dir = root, base, name = '', ext = '' } = given
    const ending = ext && !ext.startsWith('.') ? `.${ext}` : ext
    const file = base || name + ending
    if (!dir) return file
    return dir === root ? dir + file : `${dir}/${file}`
}

exports.toNamespacedPath = (given) => given
exports.posix = exports
Object.defineProperty(exports, 'win32', {
    enumerable: true,
    configurable: true,
    get: () => require('internal/path_win32'),
})
