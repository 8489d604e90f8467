// The order of what is put off, and what a process tells.
const os = require('os')

module.exports = async (out) => {
    const done = new Promise((resolve) => {
        setImmediate((v) => {
            out('immediate', v)
            // Which of the two comes first is not said, so that one waits for the other.
            setTimeout(() => {
                out('timer')
                resolve()
            }, 1)
        }, 1)
    })
    Promise.resolve().then(() => {
        out('promise')
        process.nextTick(() => out('tick in promise'))
        Promise.resolve().then(() => out('promise in promise'))
    })
    process.nextTick((a, b) => {
        out('tick', a, b)
        process.nextTick(() => out('tick in tick'))
        Promise.resolve().then(() => out('promise in tick'))
    }, 1, 2)
    process.nextTick(() => out('tick 2'))
    queueMicrotask(() => out('microtask'))
    out('now')
    await done
    const [seconds, rest] = process.hrtime()
    out(typeof seconds, typeof rest, typeof process.hrtime.bigint(), process.hrtime([seconds, rest])[0] < 60)
    out(typeof process.pid, process.platform, process.cwd() === process.cwd(), process.arch === os.arch(), process.version === `v${process.versions.node}`)
    const memory = process.memoryUsage()
    out(Object.keys(memory).join(), memory.rss > 1e6, typeof process.memoryUsage.rss(), typeof process.cpuUsage().user, process.uptime() > 0)
    out(typeof process.umask(), process.getuid() === os.userInfo().uid, typeof process.env.PATH, process.argv.length > 0)
    out(typeof process.on, process.stdout.fd, process.stderr.fd, typeof process.stdout.write, process.release.name)
    const warned = new Promise((resolve) => process.once('warning', resolve))
    process.removeAllListeners('warning')
    process.once('warning', (w) => out(w.name, w.message, w.code))
    process.emitWarning('careful', 'OwnWarning', 'W1')
    await new Promise((resolve) => setImmediate(resolve))
    void warned
    try {
        process.nextTick('x')
    } catch (err) {
        out(err.code, err.message)
    }
    out(os.EOL === '\n', os.hostname().length > 0, os.type(), os.endianness(), os.platform(), os.tmpdir(), os.totalmem() > 1e6, os.cpus().length > 0, os.loadavg().length, os.homedir(), os.devNull)
    out(os.constants.signals.SIGTERM, os.constants.errno.ENOENT, JSON.stringify(os.networkInterfaces().lo?.[0]), os.userInfo().username)
    const { performance } = require('perf_hooks')
    out(performance.now() > 0, performance === globalThis.performance, performance.mark('m').entryType, performance.measure('d', 'm').duration >= 0)
    const timers = require('timers/promises')
    out(await timers.setTimeout(1, 'value'), await timers.setImmediate('soon'))
    const stop = new AbortController()
    stop.abort()
    out(await timers.setTimeout(1000, null, { signal: stop.signal }).catch((err) => err.name))
    const t = setTimeout(() => out('never'), 5)
    out(t.hasRef(), t.unref() === t, t.hasRef(), t.ref() === t)
    clearTimeout(t)
    let n = 0
    await new Promise((resolve) => {
        const i = setInterval(() => {
            n += 1
            if (n === 3) {
                clearInterval(i)
                resolve()
            }
        }, 1)
    })
    out(n)
}
