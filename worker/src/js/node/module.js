// The module system itself.

const loader = require('internal/loader')

const NAMES = [
    'assert', 'assert/strict', 'async_hooks', 'buffer', 'child_process', 'constants', 'crypto', 'dgram',
    'diagnostics_channel', 'dns', 'dns/promises', 'events', 'fs', 'fs/promises', 'http', 'https', 'module', 'net', 'os',
    'path', 'path/posix', 'path/win32', 'perf_hooks', 'process', 'punycode', 'querystring', 'readline', 'stream',
    'stream/promises', 'string_decoder', 'sys', 'timers', 'timers/promises', 'tls', 'tty', 'url', 'util', 'util/types', 'vm',
    'worker_threads', 'zlib',
]

const known = (name) => natives.loader.hasBuiltIn(name)
const fileOf = (from) => (from instanceof URL || /^file:/.test(from) ? require('url').fileURLToPath(from) : String(from))

const { Module } = loader
module.exports = Module
Module.Module = Module
Module.builtinModules = NAMES.filter(known)
Module.createRequire = (from) => loader.makeRequire(new Module(fileOf(from), undefined))
Module.isBuiltin = (name) => known(String(name).replace(/^node:/, ''))
Module._cache = loader.cache
Module._extensions = Object.create(null)
Module._load = (request, parent) => (parent ?? loader.main).require(request)
Module._resolveFilename = (request, parent) => (parent ?? loader.main).require.resolve(request)
Module._nodeModulePaths = (dir) => natives.loader.paths(dir)
Module.wrap = (text) => `(function (exports, require, module, __filename, __dirname) { ${text}\n});`
Module.syncBuiltinESMExports = () => {}
Module.register = () => {}
