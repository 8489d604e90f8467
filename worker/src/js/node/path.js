// Paths, of the kind that this system has.

const { process } = natives

// Without empty parts, `.` and, where something is before it, `..`.
function parts(text, absolute) {
    const out = []
    for (const part of text.split('/')) {
        if (part === '' || part === '.') continue
        if (part !== '..') out.push(part)
        else if (out.length > 0 && out.at(-1) !== '..') out.pop()
        else if (!absolute) out.push('..')
    }
    return out
}

exports.sep = '/'
exports.delimiter = ':'
exports.isAbsolute = (text) => text.startsWith('/')

exports.normalize = (text) => {
    const absolute = text.startsWith('/')
    const inside = parts(text, absolute).join('/')
    const end = text.endsWith('/') && inside ? '/' : ''
    return (absolute ? `/${inside}` : inside || '.') + end
}

exports.join = (...all) => {
    const text = all.filter((part) => part !== '').join('/')
    return text === '' ? '.' : exports.normalize(text)
}

exports.resolve = (...all) => {
    let text = ''
    for (const part of all.reverse()) {
        if (part) text = text ? `${part}/${text}` : part
        if (text.startsWith('/')) break
    }
    if (!text.startsWith('/')) text = `${process.cwd()}/${text}`
    return `/${parts(text, true).join('/')}`
}

exports.relative = (from, to) => {
    const start = parts(exports.resolve(from), true)
    const end = parts(exports.resolve(to), true)
    let same = 0
    while (same < start.length && start[same] === end[same]) same += 1
    return [...start.slice(same).map(() => '..'), ...end.slice(same)].join('/')
}

exports.dirname = (text) => {
    const bare = text.replace(/\/+$/, '')
    const at = bare.lastIndexOf('/')
    if (at < 0) return bare === '' && text !== '' ? '/' : '.'
    return bare.slice(0, at).replace(/\/+$/, '') || '/'
}

exports.basename = (text, ending = '') => {
    const bare = text.replace(/\/+$/, '')
    const name = bare.slice(bare.lastIndexOf('/') + 1)
    return ending && name !== ending && name.endsWith(ending) ? name.slice(0, -ending.length) : name
}

exports.extname = (text) => {
    const name = exports.basename(text)
    const at = name.lastIndexOf('.')
    return at > 0 ? name.slice(at) : ''
}

exports.parse = (text) => {
    const base = exports.basename(text)
    const ext = exports.extname(text)
    const root = text.startsWith('/') ? '/' : ''
    const dir = text.includes('/') ? exports.dirname(text) : ''
    return { root, dir, base, ext, name: ext ? base.slice(0, -ext.length) : base }
}

exports.format = ({ root = '', dir, base, name = '', ext = '' }) => {
    const file = base ?? name + ext
    if (!dir) return root + file
    return dir === root ? dir + file : `${dir}/${file}`
}

exports.toNamespacedPath = (text) => text
exports.posix = exports
