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
    endpoint: () => require('haraka-net-utils').endpoint,
    host_pool: () => require('haraka-net-utils').HostPool,
    line_socket: () => require('internal/line_socket'),
    logger: () => logger,
    mailheader: () => ({ Header: require('internal/header') }),
    messagestream: () => require('internal/message_stream'),
    net_utils: () => require('haraka-net-utils'),
    notes: () => require('haraka-notes'),
    outbound: () => require('internal/outbound'),
    'outbound/config': () => ({ cfg: require('internal/outbound').config.get('outbound.ini') }),
    'outbound/hmail': () => require('internal/hmail').HMailItem,
    'outbound/index': () => require('internal/outbound'),
    'outbound/queue': () => require('internal/outbound'),
    'outbound/todo': () => require('internal/hmail').TODOItem,
    plugins: () => exports,
    result_store: () => require('haraka-results'),
    results: () => require('haraka-results'),
    rfc1869: () => require('internal/rfc1869'),
    server: () => require('internal/server'),
    smtp_client: () => require('internal/smtp_client'),
    tls_socket: () => require('internal/tls_socket'),
    transaction: () => require('internal/transaction'),
    utils: () => require('haraka-utils'),
}

// Of Haraka's own, and not here: what a plugin does with them, the server does.
const OTHERS = {
    dkim: "signing and verifying are the package haraka-plugin-dkim's",
    fsync_writestream: 'write with fs, and sync with fs.fsync',
    haraka: 'it starts the program',
    'outbound/client_pool': 'connections of deliveries are the server\'s; see outbound.ini',
    'outbound/qfile': 'see docs/spool.md',
    'outbound/tls': 'see tls.ini [outbound]',
}

function coreModule(name) {
    const known = Object.hasOwn(CORE, name) ? CORE[name] : undefined
    if (known) return known()
    const why = Object.hasOwn(OTHERS, name) ? `: ${OTHERS[name]}` : ''
    throw Object.assign(new Error(`Haraka's module ${name} is not available${why}`), { code: 'MODULE_NOT_FOUND' })
}

const { hook: hookOps } = natives
const loaded = new Map()
// What is called at which hook, by number.
const methods = []

class Plugin {
    constructor(name, file, timeout) {
        this.name = name
        this.base = {}
        this.timeout = timeout
        this.plugin_path = file
        this.hasPackageJson = path.basename(file) === 'package.json'
        this.config = this.hasPackageJson ? config.module_config(path.dirname(file)) : new config.Config('')
        this.hooks = {}
        Object.defineProperty(this, 'wants', { value: [] })
    }

    haraka_require(name) {
        return coreModule(String(name).replace(/^\.\//, '').replace(/\.js$/, ''))
    }

    register() {}

    register_hook(hook, method, priority) {
        const wanted = Math.trunc(Number(priority)) || 0
        const clamped = Math.max(-100, Math.min(100, wanted))
        const number = methods.push({ plugin: this, name: method, hook: String(hook) }) - 1
        const called = typeof method === 'function' ? method.name || 'anonymous' : String(method)
        // One that comes when the plugin was loaded runs behind all others, whatever its priority.
        if (!this.settled) this.wants.push([String(hook), called, clamped, number])
        else {
            const refused = hookOps.late(this.name, String(hook), called, Number(this.timeout) || 0, number)
            if (refused) this.logerror(refused)
        }
        ;(this.hooks[hook] ??= []).push(method)
    }

    inherits(parent) {
        const name = String(parent).replace(/^haraka-plugin-/, '')
        const from = loadPlugin(name, find(name, this), this.timeout)
        for (const key in from) {
            if (!this[key]) this[key] = from[key]
        }
        from.register.call(this)
        this.base[parent] = from
    }
}

// Where a plugin that another inherits from is; nothing for one that comes with the server.
const find = (name, heir) => natives.loader.inherited(name, heir.plugin_path) ?? undefined

const { cont: CONT } = require('haraka-constants')

// Requests to native plugins under way, by number: what goes on with the answer.
let numbers = 0
const requests = new Map()

// Where a connection or item has the hook call that it is in.
const RUNNING = Symbol('running')

// A method of a native plugin: it answers in the place of the method of a script that is running.
function parentMethod(name, number, hooks) {
    return (next, subject) => {
        const now = subject?.[RUNNING]
        const hook = hooks.includes(now?.hook) ? now.hook : hooks[0]
        numbers += 1
        if (!now || !hookOps.askParent(now.call, numbers, number, hook, now.hook)) {
            throw new Error(`${name}: its methods run at their hooks, while these wait for the plugin that inherits from it`)
        }
        now.asked = true
        requests.set(numbers, { call: now.call, next })
    }
}

// One that comes with the server and is not written in JavaScript. Of its methods those are there that
// it has for hooks; what it is configured by is its own.
function nativePlugin(name, timeout) {
    const found = hookOps.parent(name)
    if (!found) throw new Error(`Loading plugin ${name} failed: No plugin with this name found`)
    exports.runs = runs
    const plugin = new Plugin(name, path.join(natives.process.installDir(), 'plugins', `${name}.js`), timeout)
    const hooks = {}
    for (const [hook, method] of found.wants) (hooks[method] ??= []).push(hook)
    for (const method of Object.keys(hooks)) plugin[method] = parentMethod(name, found.number, hooks[method])
    plugin.register = function () {
        // Those named after their hooks are found by their names.
        for (const [hook, method, priority] of found.wants) {
            if (method !== `hook_${hook}`) this.register_hook(hook, method, priority)
        }
    }
    return plugin
}

// A native plugin has answered.
exports.parentSaid = (request, code, message) => {
    const asked = requests.get(request)
    requests.delete(request)
    if (message?.dsn) {
        const { code: reply, msg, cls, sub, det } = message.dsn
        asked?.next(code, cls ? require('haraka-dsn').create(reply, msg, cls, sub, det) : message)
    } else asked?.next(code === CONT ? undefined : code, message ?? undefined)
}

// It is in this call from now on.
function runs(subject, call, hook) {
    const now = subject[RUNNING]
    if (now === undefined) {
        Object.defineProperty(subject, RUNNING, { value: { call, hook, asked: false } })
        return
    }
    if (now.asked) exports.over(subject)
    now.call = call
    now.hook = hook
    now.asked = false
}

// Who could ask is there once a native plugin was loaded to inherit from.
exports.runs = undefined

// The hook call that this one was in is over: what it has asked for is not waited for any more.
exports.over = (subject) => {
    const before = subject[RUNNING]
    if (!before?.asked) return
    for (const [request, asked] of requests) if (asked.call === before.call) requests.delete(request)
}

function loadPlugin(name, file, timeout) {
    if (file === undefined && !natives.loader.hasCorePlugin(name)) return nativePlugin(name, timeout)
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
    loader.runFile(module, true)
    // A script that replaced its exports.
    if (module.exports !== plugin) Object.assign(plugin, module.exports)
    return plugin
}

// Core modules under `./name`, then files beside the plugin (PLG-06).
function customRequire(plugin, module) {
    const plain = module.require
    const custom = (request) => {
        if (request === './config') return plugin.config
        const core = /^\.\/((?:outbound\/)?[^/]+?)(\.js)?$/.exec(request)?.[1]
        if (!core) return plain(request)
        if (Object.hasOwn(CORE, core)) return CORE[core]()
        try {
            return plain(request)
        } catch (err) {
            // Nothing beside the plugin has the name of one of Haraka's own.
            if (err.code === 'MODULE_NOT_FOUND' && Object.hasOwn(OTHERS, core)) return coreModule(core)
            throw err
        }
    }
    return Object.assign(custom, plain)
}

exports.load = (number, name, file, timeout) => {
    const plugin = loadPlugin(name, file, timeout)
    plugin.register()
    for (const method in plugin) {
        const hook = /^hook_(\w+)\b/.exec(method)
        if (hook) plugin.register_hook(hook[1], method)
    }
    loaded.set(number, plugin)
    Object.defineProperty(plugin, 'settled', { value: true })
    exports.registered_plugins[name] = plugin
    exports.plugin_list.push(name)
    return plugin.wants
}

exports.shutdown = (number) => {
    const plugin = loaded.get(number)
    if (typeof plugin?.shutdown === 'function') plugin.shutdown()
}

exports.methods = methods
exports.registered_plugins = {}
exports.plugin_list = []
exports.config = config
exports.Plugin = Plugin
exports.server = require('internal/server')
exports.server.plugins = exports
logger.add_log_methods(Plugin)
logger.add_log_methods(exports, 'plugins')
