// The machine.

const { process } = natives
const { NUMBERS } = require('internal/errors')
const system = process.system()

const read = (file) => {
    try {
        return require('fs').readFileSync(file, 'latin1')
    } catch {
        return ''
    }
}

const memory = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(read('/proc/meminfo'))?.[1] ?? 0) * 1024
const ARCHITECTURES = { x86_64: 'x64', aarch64: 'arm64', i686: 'ia32', armv7l: 'arm' }

exports.EOL = '\n'
exports.devNull = '/dev/null'
exports.hostname = process.hostname
exports.platform = () => 'linux'
exports.type = () => system.type
exports.release = () => system.release
exports.version = () => read('/proc/sys/kernel/version').trim()
exports.machine = () => system.machine
exports.arch = () => ARCHITECTURES[system.machine] ?? system.machine
exports.endianness = () => (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 'LE' : 'BE')
exports.tmpdir = () => (system.tmpdir.length > 1 ? system.tmpdir.replace(/\/$/, '') : system.tmpdir)
exports.homedir = () => process.env().HOME ?? process.user().homedir ?? '/'
exports.uptime = () => Number(read('/proc/uptime').split(' ')[0])
exports.loadavg = () => read('/proc/loadavg').split(' ').slice(0, 3).map(Number)
exports.totalmem = () => memory('MemTotal')
exports.freemem = () => memory('MemAvailable')
exports.availableParallelism = () => system.cpus
exports.cpus = () => {
    const info = read('/proc/cpuinfo')
    const all = (name) => [...info.matchAll(new RegExp(`^${name}\\s*: (.*)$`, 'gm'))].map(([, value]) => value)
    const [models, speeds] = [all('model name'), all('cpu MHz')]
    const times = { user: 0, nice: 0, sys: 0, idle: 0, irq: 0 }
    const count = models.length || system.cpus
    return Array.from({ length: count }, (_, i) => ({ model: models[i] ?? 'unknown', speed: Math.trunc(Number(speeds[i] ?? 0)), times: { ...times } }))
}
exports.networkInterfaces = () => {
    const out = {}
    for (const [name, address, netmask, internal] of process.interfaces() ?? []) {
        const six = address.includes(':')
        const bits = (netmask ?? '').split(six ? ':' : '.').reduce((sum, part) => sum + parseInt(part || '0', six ? 16 : 10).toString(2).replaceAll('0', '').length, 0)
        const entry = { address, netmask, family: six ? 'IPv6' : 'IPv4', mac: read(`/sys/class/net/${name}/address`).trim() || '00:00:00:00:00:00', internal, cidr: `${address}/${bits}` }
        if (six) entry.scopeid = 0
        ;(out[name] ??= []).push(entry)
    }
    return out
}
exports.userInfo = () => {
    const { username, homedir, shell } = process.user()
    return { uid: process.uid(), gid: process.gid(), username: username ?? '', homedir: homedir ?? '/', shell: shell ?? null }
}
exports.getPriority = () => 0
exports.setPriority = () => {}
exports.constants = {
    UV_UDP_REUSEADDR: 4,
    errno: NUMBERS,
    signals: {
        SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGILL: 4, SIGTRAP: 5, SIGABRT: 6, SIGIOT: 6, SIGBUS: 7, SIGFPE: 8, SIGKILL: 9,
        SIGUSR1: 10, SIGSEGV: 11, SIGUSR2: 12, SIGPIPE: 13, SIGALRM: 14, SIGTERM: 15, SIGCHLD: 17, SIGSTKFLT: 16, SIGCONT: 18,
        SIGSTOP: 19, SIGTSTP: 20, SIGTTIN: 21, SIGTTOU: 22, SIGURG: 23, SIGXCPU: 24, SIGXFSZ: 25, SIGVTALRM: 26, SIGPROF: 27,
        SIGWINCH: 28, SIGIO: 29, SIGPOLL: 29, SIGPWR: 30, SIGSYS: 31,
    },
    priorities: { PRIORITY_LOW: 19, PRIORITY_BELOW_NORMAL: 10, PRIORITY_NORMAL: 0, PRIORITY_ABOVE_NORMAL: -7, PRIORITY_HIGH: -14, PRIORITY_HIGHEST: -20 },
}
