// Plugins: loading, registering, inheriting (PLG-05 to PLG-15).

const path = require('path')
const config = require('haraka-config')
const logger = require('internal/logger')
const loader = require('internal/loader')

// What `require('./name')` in a script plugin and `haraka_require('name')` mean, whatever files are
// there.
const CORE = {
    address: () => require('internal/address'),
    body: () => require('internal/body'),
    config: () => config,
    configfile: () => config,
    connection: () => require('internal/connection'),
    constants: () => require('haraka-constants'),
    dsn: () => require('haraka-dsn'),
    line_socket: () => ({ Socket: require('haraka-net-utils').LineSocket, connect: connectLines }),
    logger: () => logger,
    mailheader: () => ({ Header: require('internal/header') }),
    messagestream: () => require('internal/message_stream'),
    net_utils: () => require('haraka-net-utils'),
    notes: () => require('haraka-notes'),
    outbound: () => require('internal/outbound'),
    plugins: () => exports,
    result_store: () => require('haraka-results'),
    results: () => require('haraka-results'),
    rfc1869: () => require('internal/rfc1869'),
    server: () => require('internal/server'),
    transaction: () => require('internal/transaction'),
    utils: () => require('haraka-utils'),
}

function connectLines(...args) {
    const { LineSocket } = require('haraka-net-utils')
    return new LineSocket().connect(...args)
}

const { hook: hookOps } = natives
const loaded = new Map()
const methods = new Map()
let numbers = 0

class Plugin {
    constructor(name, file, timeout) {
        this.name = name
        this.base = {}
        this.timeout = timeout
        this.plugin_path = file
        this.hasPackageJson = path.basename(file) === 'package.json'
        this.config = this.hasPackageJson ? config.module_config(path.dirname(file)) : new config.Config(undefined)
        this.hooks = {}
        Object.defineProperty(this, 'wants', { value: [] })
    }

    haraka_require(name) {
        const core = CORE[String(name).replace(/^\.\//, '')]
        if (!core) throw new Error(`Haraka's module ${name} is not available`)
        return core()
    }

    register() {}

    register_hook(hook, method, priority) {
        const wanted = Math.trunc(Number(priority)) || 0
        const clamped = Math.max(-100, Math.min(100, wanted))
        numbers += 1
        methods.set(numbers, { plugin: this, name: method })
        const called = typeof method === 'function' ? method.name || 'anonymous' : String(method)
        if (this.settled && this.number === undefined) this.logerror(`${called} comes too late for hook ${hook}: what a plugin wants is asked when it is loaded`)
        else if (this.number === undefined) this.wants.push([String(hook), called, clamped, numbers])
        else if (!hookOps.late(this.number, String(hook), numbers)) this.logerror(`there is no hook ${hook}`)
        ;(this.hooks[hook] ??= []).push(method)
    }

    inherits(parent) {
        const from = loadPlugin(parent, find(parent), this.timeout)
        for (const name in from) {
            if (!this[name]) this[name] = from[name]
        }
        from.register.call(this)
        this.base[parent] = from
    }
}

// Where a plugin that another inherits from is: the install directory before what comes with Haraka.
function find(listed) {
    const name = listed.replace(/^haraka-plugin-/, '')
    const dir = natives.process.installDir()
    const { fs } = natives
    const there = (file) => {
        try {
            return fs.sync('stat', file, undefined, {}).file
        } catch {
            return false
        }
    }
    const places = [
        path.join(dir, 'plugins', `${name}.js`),
        path.join(dir, 'node_modules', `haraka-plugin-${name}`, 'package.json'),
        path.join(dir, 'plugins', name, 'package.json'),
    ]
    const found = places.find(there)
    if (found) return found
    if (natives.loader.hasCorePlugin(name)) return undefined
    throw new Error(`Loading plugin ${name} failed: No plugin with this name found that is written in JavaScript`)
}

function loadPlugin(name, file, timeout) {
    if (file === undefined) {
        const plugin = new Plugin(name, path.join(natives.process.installDir(), 'plugins', `${name}.js`), timeout)
        const module = new loader.Module(plugin.plugin_path, loader.main)
        module.exports = plugin
        const run = natives.loader.corePlugin(name)
        run.call(plugin, plugin, customRequire(plugin, module), module, plugin.plugin_path, path.dirname(plugin.plugin_path))
        return plugin
    }
    const plugin = new Plugin(name, file, timeout)
    const module = new loader.Module(file, loader.main)
    if (plugin.hasPackageJson) {
        const found = module.require(path.dirname(file))
        for (const key in found) plugin[key] = found[key]
        // A package that was a single file once may still log by its `exports`.
        if (typeof found === 'object' && Object.isExtensible(found) && !found.loginfo) logger.add_log_methods(found, plugin.name)
        return plugin
    }
    module.exports = plugin
    module.require = customRequire(plugin, module)
    module._compile(natives.loader.file(file), file, true)
    // A script that replaced its exports.
    if (module.exports !== plugin) Object.assign(plugin, module.exports)
    return plugin
}

// Core modules under `./name`, then files beside the plugin (PLG-06).
function customRequire(plugin, module) {
    const plain = module.require
    const custom = (request) => {
        if (request === './config') return plugin.config
        const core = /^\.\/([^/]+?)(\.js)?$/.exec(request)
        return core && Object.hasOwn(CORE, core[1]) ? CORE[core[1]]() : plain(request)
    }
    return Object.assign(custom, plain)
}

exports.load = (number, name, file, timeout) => {
    const plugin = loadPlugin(name, file, timeout)
    const registering = plugin.register()
    for (const method in plugin) {
        const hook = /^hook_(\w+)\b/.exec(method)
        if (hook) plugin.register_hook(hook[1], method)
    }
    loaded.set(number, plugin)
    // One that looks around first registers later, as one does that wants nothing yet; what it wants then
    // runs last.
    if (typeof registering?.then === 'function' || plugin.wants.length === 0) {
        plugin.wants.push(['*', 'registered later', 100, number])
        Object.defineProperty(plugin, 'number', { value: number })
    }
    Object.defineProperty(plugin, 'settled', { value: true })
    exports.registered_plugins[name] = plugin
    exports.plugin_list.push(name)
    return plugin.wants
}

exports.shutdown = (number) => {
    const plugin = loaded.get(number)
    if (typeof plugin?.shutdown === 'function') plugin.shutdown()
}

exports.method = (number) => methods.get(number)
exports.registered_plugins = {}
exports.plugin_list = []
exports.config = config
exports.Plugin = Plugin
exports.server = require('internal/server')
exports.server.plugins = exports
logger.add_log_methods(Plugin)
logger.add_log_methods(exports, 'plugins')
