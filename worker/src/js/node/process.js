// The process, as far as a plugin may know it.

const EventEmitter = require('events')
const { process: ops } = natives

const process = new EventEmitter()
const started = Date.now()

const nanoseconds = () => BigInt(Math.round(ops.uptime() * 1e9))

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
    version: 'v20.0.0',
    versions: { node: '20.0.0', haraka: ops.version(), quickjs: 'ng' },
    release: { name: 'node' },
    env: { ...ops.env(), HARAKA: ops.installDir() },
    pid: ops.pid(),
    ppid: ops.ppid(),
    title: 'Haraka',
    exitCode: undefined,
    config: { variables: {} },
    features: {},
    hrtime,
    cwd: ops.cwd,
    uptime: () => (Date.now() - started) / 1000,
    getuid: ops.uid,
    getgid: ops.gid,
    geteuid: ops.uid,
    getegid: ops.gid,
    umask: () => 0o22,
    memoryUsage: () => ({ rss: 0, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 }),
    cpuUsage: () => ({ user: 0, system: 0 }),
    nextTick: (run, ...args) => {
        Promise.resolve().then(() => run(...args))
    },
    emitWarning: (warning) => natives.log.write(4, '-', 'plugins', String(warning?.message ?? warning), {}),
    // A plugin cannot end the server.
    exit: (code) => {
        throw new Error(`process.exit(${code ?? ''}) is not for plugins`)
    },
    stdout: { fd: 1, isTTY: false, write: (text) => natives.log.write(6, '-', 'stdout', String(text), {}) },
    stderr: { fd: 2, isTTY: false, write: (text) => natives.log.write(3, '-', 'stderr', String(text), {}) },
})

module.exports = process
