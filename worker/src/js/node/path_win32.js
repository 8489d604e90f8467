// Paths of Windows, for plugins that read those of others.

const posix = require('path')

const isSlash = (c) => c === '/' || c === '\\'

// Drive or share, and whether the path begins at it.
function rooted(given) {
    const share = /^[\\/]{2}([^\\/]+)[\\/]+([^\\/]+)/.exec(given)
    if (share) return { device: `\\\\${share[1]}\\${share[2]}`, absolute: true, rest: given.slice(share[0].length) }
    const drive = /^[A-Za-z]:/.exec(given)
    const device = drive ? drive[0] : ''
    const rest = given.slice(device.length)
    return { device, absolute: isSlash(rest[0]), rest }
}

function parts(rest, absolute) {
    const out = []
    for (const part of rest.split(/[\\/]+/)) {
        if (part === '' || part === '.') continue
        if (part !== '..') out.push(part)
        else if (out.length > 0 && out.at(-1) !== '..') out.pop()
        else if (!absolute) out.push('..')
    }
    return out
}

exports.sep = '\\'
exports.delimiter = ';'
exports.isAbsolute = (given) => /^([A-Za-z]:)?[\\/]/.test(given)

exports.normalize = (given) => {
    const { device, absolute, rest } = rooted(given)
    const inside = parts(rest, absolute).join('\\')
    const end = inside && isSlash(given.at(-1)) ? '\\' : ''
    if (!inside && !absolute) return given === '' || !device ? `.${isSlash(given.at(-1)) ? '\\' : ''}` : `${device}.`
    return device + (absolute ? '\\' : '') + inside + end
}

exports.join = (...all) => {
    const found = all.filter((part) => part !== '')
    if (found.length === 0) return '.'
    // Only the first part may name a share.
    const joined = found.join('\\')
    return exports.normalize(/^[\\/]{2}[^\\/]/.test(found[0]) ? joined : joined.replace(/^[\\/]{2,}/, '\\'))
}

exports.resolve = (...all) => {
    let [device, tail, absolute] = ['', '', false]
    for (const part of all.toReversed()) {
        if (part === '') continue
        const found = rooted(part)
        if (found.device && device && found.device.toLowerCase() !== device.toLowerCase()) continue
        device ||= found.device
        if (!absolute) {
            tail = `${found.rest}\\${tail}`
            absolute = found.absolute
        }
        if (absolute && device) break
    }
    if (!absolute) tail = `${natives.process.cwd()}\\${tail}`
    return `${device}\\${parts(tail, true).join('\\')}`
}

exports.relative = (from, to) => {
    const [start, end] = [exports.resolve(from), exports.resolve(to)]
    const [a, b] = [rooted(start), rooted(end)]
    if (a.device.toLowerCase() !== b.device.toLowerCase()) return end
    const [left, right] = [parts(a.rest, true), parts(b.rest, true)]
    let same = 0
    while (same < left.length && same < right.length && left[same].toLowerCase() === right[same].toLowerCase()) same += 1
    return [...left.slice(same).map(() => '..'), ...right.slice(same)].join('\\')
}

exports.dirname = (given) => {
    const { device, absolute, rest } = rooted(given)
    const root = device + (absolute && rest ? rest[0] : '')
    const bare = rest.replace(/[\\/]+$/, '')
    const at = Math.max(bare.lastIndexOf('/'), bare.lastIndexOf('\\'))
    if (at < 0) return root || '.'
    return device + (bare.slice(0, at).replace(/[\\/]+$/, '') || rest[0])
}

exports.basename = (given, ending = '') => {
    const bare = given.replace(/^[A-Za-z]:/, '').replace(/[\\/]+$/, '')
    const name = bare.slice(Math.max(bare.lastIndexOf('/'), bare.lastIndexOf('\\')) + 1)
    return ending && name !== ending && name.endsWith(ending) ? name.slice(0, -ending.length) : name
}

exports.extname = (given) => posix.extname(exports.basename(given))

exports.parse = (given) => {
    const { device, absolute, rest } = rooted(given)
    const root = device + (absolute && rest ? rest[0] : '')
    const base = exports.basename(given)
    const ext = posix.extname(base)
    const at = given.replace(/[\\/]+$/, '').length - base.length
    const dir = at > root.length ? given.slice(0, at - 1) : root
    return { root, dir, base, ext, name: ext ? base.slice(0, -ext.length) : base }
}

exports.format = ({ root = '', dir = root, base, name = '', ext = '' }) => {
    const file = base || name + (ext && !ext.startsWith('.') ? `.${ext}` : ext)
    if (!dir) return file
    return dir === root ? dir + file : `${dir}\\${file}`
}

exports.toNamespacedPath = (given) => given
exports.posix = posix
exports.win32 = exports
