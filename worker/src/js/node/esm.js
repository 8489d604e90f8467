// ES modules beside CommonJS: what `import` names, and what a module knows of itself; for modules.rs.

const path = require('path')
const url = require('url')
const { coded } = require('internal/errors')
const { FALLBACKS, main } = require('internal/loader')
const { loader: ops } = natives

// One that comes with the server, in place of a package that is not there.
const OURS = 'haraka:'
// What `require` gives of a module with a default export.
const REQUIRED = 'required:'

// Files of modules whose name has a query behind it, by name.
const files = new Map()

const fileOf = (name) => files.get(name) ?? name
const directoryOf = (name) => (path.isAbsolute(fileOf(name)) ? path.dirname(fileOf(name)) : natives.process.installDir())

// The name by which a module is known: its file, or what begins with `node:` or `haraka:`.
exports.locate = (base, request) => {
    if (request.startsWith(REQUIRED)) return request
    const bare = request.replace(/^node:/, '')
    if (ops.hasBuiltIn(bare)) return `node:${bare}`
    if (bare !== request) throw coded(Error, 'ERR_UNKNOWN_BUILTIN_MODULE', `No such built-in module: ${request}`)
    if (request.startsWith(OURS)) return request
    // A path is an URL, as in browsers.
    const [, wanted, query] = /^(?:\.|\/|file:)/.test(request) ? /^([^?#]*)(.*)$/s.exec(request) : [, request, undefined]
    const file = query === undefined ? wanted : wanted.startsWith('file:') ? url.fileURLToPath(wanted) : decodeURIComponent(wanted)
    const found = ops.resolveImport(file, directoryOf(base))
    if (found && query) files.set(found + query, found)
    if (found) return found + (query ?? '')
    if (FALLBACKS[request]) return OURS + request
    throw coded(Error, 'ERR_MODULE_NOT_FOUND', `Cannot find ${query === undefined ? 'package' : 'module'} '${request}' imported from ${fileOf(base)}`)
}

exports.file = fileOf

exports.describe = (meta, name) => {
    const file = fileOf(name)
    meta.dirname = path.dirname(file)
    meta.filename = file
    meta.resolve = (request) => {
        if (/^(?:\.|\/|file:)/.test(request)) return new URL(request, meta.url).href
        const found = exports.locate(name, String(request))
        return path.isAbsolute(found) ? url.pathToFileURL(found).href : found
    }
    meta.url = url.pathToFileURL(file).href + name.slice(file.length)
}

// What CommonJS exports: a module that is imported as its default export.
exports.required = (name) => {
    if (!name.startsWith(OURS)) return main.require(fileOf(name))
    return natives.builtIn(FALLBACKS[name.slice(OURS.length)])
}

// The names of exports beside it; JSON has none.
exports.names = (name) => {
    if (fileOf(name).endsWith('.json')) return []
    const found = exports.required(name)
    return found === null || !['object', 'function'].includes(typeof found) ? [] : Object.keys(found)
}
