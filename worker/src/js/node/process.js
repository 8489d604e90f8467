// The process, as far as a plugin may know it.

const EventEmitter = require('events')
const { process: ops } = natives

const process = new EventEmitter()
const started = Date.now()

const nanoseconds = () => BigInt(ops.nanoseconds())

// What runs before promises do, in the order in which it came.
const waiting = []

function nextTick(run, ...args) {
    if (typeof run !== 'function') throw require('internal/errors').invalidType('callback', 'function', run)
    if (waiting.push(run, args) === 2) ops.tick()
}

// Called by the native side: all that waits, and what comes meanwhile.
function ticks() {
    for (let i = 0; i < waiting.length; i += 2) {
        try {
            waiting[i](...waiting[i + 1])
        } catch (err) {
            uncaught(err)
        }
    }
    waiting.length = 0
}

// An error that nobody caught: told to who asked for such, and logged otherwise.
function uncaught(err) {
    if (process.listenerCount('uncaughtException') > 0) process.emit('uncaughtException', err, 'uncaughtException')
    else natives.log.failure(`uncaught: ${err?.stack ? `${err.name}: ${err.message}\n${err.stack}` : String(err)}`)
}

// A line of `/proc`, in octets.
function fromProc(file, pattern) {
    try {
        const found = pattern.exec(require('fs').readFileSync(file, 'latin1'))
        return found ? Number(found[1]) * 1024 : 0
    } catch {
        return 0
    }
}

function memoryUsage() {
    const rss = memoryUsage.rss()
    return { rss, heapTotal: rss, heapUsed: rss, external: 0, arrayBuffers: 0 }
}
memoryUsage.rss = () => fromProc('/proc/self/status', /VmRSS:\s+(\d+)/)

function cpuUsage(before) {
    const [user, system] = ops.cpu()
    return { user: user - (before?.user ?? 0), system: system - (before?.system ?? 0) }
}

// Whole lines become lines of the log.
function output(fd, level, name) {
    const { Writable } = require('stream')
    const stream = new Writable({
        decodeStrings: false,
        write(chunk, _encoding, done) {
            natives.log.write(level, '-', name, String(chunk).replace(/\n$/, ''), {})
            done()
        },
    })
    stream.destroy = () => stream
    return Object.assign(stream, { fd, isTTY: false, _type: 'pipe' })
}

function hrtime(since) {
    const now = nanoseconds()
    const [seconds, rest] = [Number(now / 1000000000n), Number(now % 1000000000n)]
    if (!since) return [seconds, rest]
    const whole = (seconds - since[0]) * 1e9 + rest - since[1]
    return [Math.floor(whole / 1e9), whole % 1e9]
}
hrtime.bigint = nanoseconds

Object.assign(process, {
    argv: ['haraka', 'haraka.js', '-c', ops.installDir()],
    argv0: 'haraka',
    execArgv: [],
    execPath: 'haraka',
    arch: 'x64',
    platform: 'linux',
    version: 'v20.20.2',
    versions: { node: '20.20.2', haraka: ops.version(), quickjs: 'ng' },
    release: { name: 'node' },
    env: { ...ops.env(), HARAKA: ops.installDir() },
    pid: ops.pid(),
    ppid: ops.ppid(),
    title: 'Haraka',
    exitCode: undefined,
    config: { variables: {}, target_defaults: {} },
    allowedNodeEnvironmentFlags: new Set(),
    debugPort: 0,
    features: {},
    hrtime,
    cwd: ops.cwd,
    uptime: () => (Date.now() - started) / 1000,
    getuid: ops.uid,
    getgid: ops.gid,
    geteuid: ops.uid,
    getegid: ops.gid,
    umask() {
        try {
            return parseInt(/Umask:\s+(\d+)/.exec(require('fs').readFileSync('/proc/self/status', 'latin1'))[1], 8)
        } catch {
            return 0o22
        }
    },
    memoryUsage,
    cpuUsage,
    resourceUsage: () => ({ userCPUTime: ops.cpu()[0], systemCPUTime: ops.cpu()[1], maxRSS: memoryUsage.rss() / 1024 }),
    constrainedMemory: () => 0,
    availableMemory: () => fromProc('/proc/meminfo', /MemAvailable:\s+(\d+)/),
    nextTick,
    emitWarning(warning, type = 'Warning', code = undefined) {
        if (typeof type === 'object' && type !== null) ({ type = 'Warning', code } = type)
        const name = warning instanceof Error ? warning.name : type
        const text = warning instanceof Error ? warning.message : String(warning)
        const error = warning instanceof Error ? warning : Object.assign(new Error(text), { name, ...(code && { code }) })
        natives.log.write(4, '-', 'plugins', `${code ? `[${code}] ` : ''}${name}: ${text}`, {})
        nextTick(() => process.emit('warning', error))
    },
    // A plugin cannot end the server.
    exit: (code) => {
        natives.log.write(3, '-', 'plugins', `process.exit(${code ?? ''}) refused`, {})
        throw new Error(`process.exit(${code ?? ''}) is not for plugins`)
    },
    abort: () => process.exit('abort'),
    reallyExit: (code) => process.exit(code),
    kill(pid, signal = 'SIGTERM') {
        const errors = require('internal/errors')
        const number = typeof signal === 'number' ? signal : require('os').constants.signals[signal]
        if (number === undefined) throw errors.coded(TypeError, 'ERR_UNKNOWN_SIGNAL', `Unknown signal: ${signal}`)
        if (pid === ops.pid() && number !== 0) return process.exit(`kill ${signal}`)
        if (!natives.child.signal(pid, number)) throw errors.system('ESRCH', 'kill')
        return true
    },
    chdir() {
        throw new Error('process.chdir is not for plugins')
    },
    getgroups: () => [ops.gid()],
    setUncaughtExceptionCaptureCallback() {},
    hasUncaughtExceptionCaptureCallback: () => false,
    binding() {
        throw require('internal/errors').absent('process.binding')
    },
})

for (const [name, fd, level] of [['stdout', 1, 6], ['stderr', 2, 3]]) {
    let made
    Object.defineProperty(process, name, {
        configurable: true,
        enumerable: true,
        get: () => (made ??= output(fd, level, name)),
    })
}
Object.defineProperty(process, 'stdin', {
    configurable: true,
    enumerable: true,
    get() {
        const { Readable } = require('stream')
        const stdin = new Readable({ read() {} })
        stdin.push(null)
        return Object.assign(stdin, { fd: 0, isTTY: false })
    },
})
Object.defineProperty(process, Symbol.toStringTag, { value: 'process', configurable: true })
for (const [name, value] of [['ticks', ticks], ['uncaught', uncaught]]) Object.defineProperty(process, name, { value })

module.exports = process
