// CommonJS: require, its cache and its paths.

const path = require('path')
const { loader } = natives

// Parts of built-in modules that have a name of their own.
const PARTS = {
    'assert/strict': () => require('assert').strict,
    constants: () => ({ ...require('os').constants.errno, ...require('os').constants.signals, ...require('fs').constants }),
    'dns/promises': () => require('dns').promises,
    'fs/promises': () => require('fs').promises,
    'path/posix': () => path,
    'path/win32': () => path.win32,
    sys: () => require('util'),
    'stream/promises': () => require('stream').promises,
    'timers/promises': () => require('timers').promises,
    tty: () => TTY,
    'util/types': () => require('util').types,
}

// Nothing is a terminal.
const TTY = { isatty: () => false, ReadStream: class ReadStream {}, WriteStream: class WriteStream {} }

// Used where a plugin's own packages do not have them: older names of what comes with Haraka.
const FALLBACKS = {
    '@haraka/email-address': 'internal/address',
    'address-rfc2821': 'internal/address',
    'address-rfc2822': 'internal/address',
    'haraka-dsn': 'haraka-dsn',
    'haraka-email-message': 'haraka-email-message',
    'haraka-message-stream': 'internal/message_stream',
    'haraka-net-utils': 'haraka-net-utils',
    'haraka-tld': 'haraka-tld',
    'haraka-utils': 'haraka-utils',
}

const HEADER_GRAMMAR = '/@haraka/email-address/dist/cjs/lib/header.cjs'
const MAY_BE_KNOWN = /\/node_modules\/(?:@redis\/client\/dist\/lib\/(?:RESP\/decoder|client\/pub-sub|single-entry-cache)|haraka-(?:net-utils|tld)\/index)\.js$/

const cache = Object.create(null)

// Names that a module may require before they are looked up each time.
const MOST = 1000

function builtIn(name) {
    const part = PARTS[name]
    return part ? part() : require(name)
}

function notFound(request, from) {
    const error = new Error(`Cannot find module '${request}'\nRequire stack:\n- ${from}`)
    error.code = 'MODULE_NOT_FOUND'
    error.requireStack = [from]
    return error
}

class Module {
    constructor(filename, parent) {
        this.id = filename
        this.filename = filename
        this.path = path.dirname(filename)
        this.exports = {}
        this.parent = parent
        this.children = []
        this.loaded = false
        this.paths = loader.paths(this.path)
        this.require = makeRequire(this)
    }

    // Runs the text as this module.
    _compile(text, filename = this.filename, strict = false) {
        run(this, loader.compile(filename, text, strict), filename)
    }
}

const { _compile } = Module.prototype

function run(module, script, filename) {
    script.call(module.exports, module.exports, module.require, module, filename, path.dirname(filename))
}

// Runs its file, of which the native side may have the code; not where a script has put its own way in place.
function runFile(module, strict = false) {
    const { filename } = module
    if (module._compile === _compile) run(module, loader.script(filename, strict), filename)
    else module._compile(loader.file(filename), filename, strict)
}

function load(filename, parent) {
    const known = cache[filename]
    if (known) return known.exports
    const module = new Module(filename, parent)
    cache[filename] = module
    parent?.children.push(module)
    try {
        if (loader.isEsm(filename)) {
            module.exports = required(filename)
        } else if (filename.endsWith('.json')) {
            module.exports = JSON.parse(loader.file(filename))
        } else if (filename.endsWith('.node')) {
            throw new Error(`native addons cannot be loaded: ${filename}`)
        } else {
            runFile(module)
            // Half of what some plugins do at a message is the grammar of this package.
            if (filename.endsWith(HEADER_GRAMMAR)) require('internal/header_addresses').speedUp(module)
            else if (MAY_BE_KNOWN.test(filename)) require('internal/known_files').change(module, loader.file(filename))
        }
    } catch (err) {
        delete cache[filename]
        throw err
    }
    module.loaded = true
    return module.exports
}

// What Node gives for an ES module: its exports, marked where there is a default among them, or the one
// that says it is all of them.
function required(filename) {
    const { href } = require('url').pathToFileURL(filename)
    const found = loader.esm(href)
    if (Object.hasOwn(found, 'module.exports')) return found['module.exports']
    if (!Object.hasOwn(found, 'default') || Object.hasOwn(found, '__esModule')) return found
    return loader.esm(`required:${href}`)
}

function makeRequire(module) {
    const name = (request) => (request.startsWith('node:') ? request.slice(5) : request)

    // Plugins require in the middle of their functions, and files do not move while they run.
    const known = new Map()

    const resolve = (request) => {
        if (loader.hasBuiltIn(name(request))) return request
        const before = known.get(request)
        if (before) return before
        const found = loader.resolve(request, module.path)
        if (found) {
            if (known.size < MOST) known.set(request, found)
            return found
        }
        if (FALLBACKS[request]) return FALLBACKS[request]
        throw notFound(request, module.filename)
    }

    function requireFrom(request) {
        if (typeof request !== 'string' || request === '') throw new TypeError('require needs a name')
        if (loader.hasBuiltIn(name(request))) return builtIn(name(request))
        const found = resolve(request)
        return found === FALLBACKS[request] ? require(found) : load(found, module)
    }

    requireFrom.resolve = resolve
    resolve.paths = () => module.paths
    requireFrom.cache = cache
    requireFrom.main = undefined
    requireFrom.extensions = Object.create(null)
    return requireFrom
}

exports.FALLBACKS = FALLBACKS
exports.Module = Module
exports.runFile = runFile
exports.load = load
exports.cache = cache
exports.makeRequire = makeRequire
exports.main = new Module(path.join(natives.process.installDir(), 'haraka.js'), undefined)
