// Programs that plugins run.

const EventEmitter = require('events')
const { Readable, Writable } = require('stream')
const { Buffer } = require('buffer')
const errors = require('internal/errors')
const { child } = natives
const { signals } = require('os').constants

const asBuffer = (made) => Buffer.from(made.buffer, made.byteOffset, made.byteLength)

function signalOf(given = 'SIGTERM') {
    if (typeof given === 'number') return given
    const found = signals[String(given).toUpperCase()]
    if (found === undefined) throw errors.coded(TypeError, 'ERR_UNKNOWN_SIGNAL', `Unknown signal: ${given}`)
    return found
}

const streamIn = (number) =>
    new Writable({
        write(chunk, _encoding, done) {
            natives.outcome(child.write(number, chunk)).then(
                () => done(),
                (err) => done(err.code ? errors.system(err.code, 'write') : err),
            )
        },
        final(done) {
            child.close(number, 0)
            done()
        },
        destroy(err, done) {
            child.close(number, 0)
            done(err)
        },
    })

const streamOut = (number, which) =>
    new Readable({
        read() {
            natives.outcome(child.read(number, which)).then(
                (chunk) => this.push(chunk === null ? null : asBuffer(chunk)),
                (err) => this.destroy(err.code ? errors.system(err.code, 'read') : err),
            )
        },
        destroy(err, done) {
            child.close(number, which)
            done(err)
        },
    })

// File, arguments and options as the native side takes them.
function described(file, args, options) {
    if (typeof file !== 'string' || file === '') {
        if (typeof file !== 'string') throw errors.invalidType('file', 'string', file)
        throw errors.coded(TypeError, 'ERR_INVALID_ARG_VALUE', "The argument 'file' cannot be empty. Received ''")
    }
    if (!Array.isArray(args)) [args, options] = [[], args ?? options]
    options ??= {}
    args = args.map(String)
    let program = file
    let all = args
    if (options.shell) {
        program = typeof options.shell === 'string' ? options.shell : '/bin/sh'
        all = ['-c', [file, ...args].join(' ')]
    }
    const stdio = typeof options.stdio === 'string' ? [options.stdio, options.stdio, options.stdio] : (options.stdio ?? [])
    const kind = (one) => (one === 'ignore' || one === 'inherit' ? one : one === undefined || one === null || one === 'pipe' ? 'pipe' : typeof one === 'number' && one <= 2 ? 'inherit' : 'pipe')
    const how = {
        args: all,
        cwd: options.cwd instanceof URL ? require('url').fileURLToPath(options.cwd) : options.cwd,
        env: { ...(options.env ?? process.env) },
        argv0: options.argv0,
        uid: options.uid,
        gid: options.gid,
        detached: Boolean(options.detached),
        stdio: [0, 1, 2].map((i) => kind(stdio[i])),
    }
    for (const [name, value] of Object.entries(how.env)) if (value === undefined) delete how.env[name]
        else how.env[name] = String(value)
    return { program, how, options, shownArgs: args }
}

// How long the pipes of a program that ended may take to give what is in them, and others to write that down, in
// milliseconds.
const HEARING = 1000

const either = (emitter, ...events) => new Promise((resolve) => events.forEach((event) => emitter.once(event, resolve)))

class ChildProcess extends EventEmitter {
    #number
    #open = 1

    constructor(file, args, given) {
        super()
        const { program, how, options } = described(file, args, given)
        Object.assign(this, {
            pid: undefined, exitCode: null, signalCode: null, killed: false, connected: false, spawnfile: program,
            spawnargs: [options.argv0 ?? program, ...how.args], stdin: null, stdout: null, stderr: null,
        })
        let started
        try {
            started = child.spawn(program, how)
        } catch (err) {
            if (!err.code) throw err
            this.#failed(err.code, how, program)
            return
        }
        this.#number = started.number
        this.pid = started.pid
        if (how.stdio[0] === 'pipe') this.stdin = streamIn(started.number)
        for (const [which, name] of [[1, 'stdout'], [2, 'stderr']]) {
            if (how.stdio[which] !== 'pipe') continue
            this[name] = streamOut(started.number, which)
            this.#open += 1
            this[name].once('close', () => this.#closed())
        }
        this.stdio = [this.stdin, this.stdout, this.stderr]
        process.nextTick(() => this.emit('spawn'))
        natives.outcome(child.wait(started.number)).then(async ([code, signal]) => {
            this.exitCode = code
            this.signalCode = signal
            this.stdin?.destroy()
            await this.#heard()
            this.emit('exit', code, signal)
            // What nobody reads would keep the program's end from being told.
            for (const out of [this.stdout, this.stderr]) if (out && !out.readableFlowing && out.listenerCount('readable') === 0) out.resume()
            this.#closed()
        })
        options.signal?.addEventListener('abort', () => {
            if (this.kill(options.killSignal)) this.emit('error', Object.assign(new Error('The operation was aborted'), { name: 'AbortError', code: 'ABORT_ERR' }))
        })
        if (options.timeout > 0) {
            const timer = setTimeout(() => this.kill(options.killSignal), options.timeout)
            this.once('exit', () => clearTimeout(timer))
        }
    }

    // What the program has written is heard, and is where it was piped to, before its end is told: Node looks at
    // signals last, and plugins take the end of a program for the end of the file that it wrote. A pipe that
    // another program holds open has no end.
    async #heard() {
        const outs = [this.stdout, this.stderr].filter((out) => out?.readableFlowing)
        const written = Promise.all(outs.map(async (out) => {
            const into = out._readableState.pipes.slice()
            if (!out.readableEnded && !out.destroyed) await either(out, 'end', 'close')
            const busy = into.filter((one) => one.writableEnded && !one.writableFinished && !one.destroyed)
            await Promise.all(busy.map((one) => either(one, 'finish', 'close')))
        }))
        let timer
        await Promise.race([written, new Promise((resolve) => (timer = setTimeout(resolve, HEARING)))])
        clearTimeout(timer)
    }

    #failed(code, how, program) {
        const error = errors.system(code, `spawn ${program}`)
        error.message = `spawn ${program} ${code}`
        Object.assign(error, { path: program, spawnargs: how.args })
        this.stdin = new Writable({ write: (_chunk, _encoding, done) => done() })
        for (const name of ['stdout', 'stderr']) {
            this[name] = new Readable({ read() {} })
            this[name].push(null)
        }
        this.stdio = [this.stdin, this.stdout, this.stderr]
        this.exitCode = error.errno
        process.nextTick(() => {
            this.emit('error', error)
            for (const name of ['stdout', 'stderr']) this[name].destroy()
            this.emit('close', error.errno, null)
        })
    }

    #closed() {
        this.#open -= 1
        if (this.#open === 0) this.emit('close', this.exitCode, this.signalCode)
    }

    kill(signal) {
        const number = signalOf(signal)
        if (this.#number === undefined || this.exitCode !== null || this.signalCode !== null) return false
        const sent = child.kill(this.#number, number)
        if (sent && number !== 0) this.killed = true
        return sent
    }

    ref() {}

    unref() {}

    disconnect() {}

    send() {
        throw errors.absent('ChildProcess.send')
    }
}

const MOST = 1024 * 1024

function execFile(file, ...rest) {
    let args = Array.isArray(rest[0]) ? rest.shift() : []
    const options = { encoding: 'utf8', timeout: 0, maxBuffer: MOST, killSignal: 'SIGTERM', ...(typeof rest[0] === 'object' ? rest.shift() : (rest[0] === undefined && rest.length > 1 && rest.shift(), {})) }
    const done = rest.find((one) => typeof one === 'function')
    const { timeout, ...how } = options
    const program = new ChildProcess(file, args, how)
    const texts = { stdout: [], stderr: [] }
    let failed
    let ended = false
    let timer
    const finish = (code, signal) => {
        if (ended) return
        ended = true
        clearTimeout(timer)
        const made = Object.fromEntries(Object.entries(texts).map(([name, parts]) => {
            const all = Buffer.concat(parts)
            return [name, options.encoding && options.encoding !== 'buffer' ? all.toString(options.encoding) : all]
        }))
        const cmd = [file, ...args].join(' ')
        let error = failed ?? null
        if (!error && (code !== 0 || signal !== null)) {
            error = new Error(`Command failed: ${cmd}\n${made.stderr}`)
            Object.assign(error, { code, killed: program.killed, signal })
        }
        if (error) error.cmd ??= cmd
        if (error && done) Object.assign(error, done.promised && made)
        done?.(error, made.stdout, made.stderr)
    }
    for (const name of ['stdout', 'stderr']) {
        let size = 0
        program[name]?.on('data', (chunk) => {
            const octets = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
            const room = options.maxBuffer - size
            size += octets.length
            texts[name].push(octets.length > room ? octets.subarray(0, Math.max(0, room)) : octets)
            if (size > options.maxBuffer && !failed) {
                failed = errors.coded(RangeError, 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER', `${name} maxBuffer length exceeded`)
                program.kill(options.killSignal)
            }
        })
    }
    program.once('error', (err) => {
        failed ??= err
        if (program.pid === undefined) finish(null, null)
    })
    program.once('close', finish)
    if (timeout > 0) timer = setTimeout(() => program.kill(options.killSignal), timeout)
    return program
}

function exec(command, options, done) {
    if (typeof options === 'function') [options, done] = [{}, options]
    const shell = typeof options?.shell === 'string' ? options.shell : true
    return execFile(command, { ...options, shell }, done)
}

const promised = (run) => (...args) => {
    let program
    const promise = new Promise((resolve, reject) => {
        const done = (err, stdout, stderr) => (err ? reject(Object.assign(err, { stdout, stderr })) : resolve({ stdout, stderr }))
        program = run(...args, done)
    })
    promise.child = program
    return promise
}
const custom = Symbol.for('nodejs.util.promisify.custom')
Object.defineProperty(exec, custom, { value: promised(exec) })
Object.defineProperty(execFile, custom, { value: promised(execFile) })

function spawnSync(file, args, given) {
    const { program, how, options } = described(file, args, given)
    const input = options.input === undefined ? undefined : Buffer.from(options.input)
    if (input === undefined && how.stdio[0] === 'pipe') how.stdio[0] = 'ignore'
    const text = (made) => (options.encoding && options.encoding !== 'buffer' ? asBuffer(made).toString(options.encoding) : asBuffer(made))
    const fail = (code, more) => Object.assign(errors.system(code, `spawnSync ${program}`), { message: `spawnSync ${program} ${code}`, path: program, spawnargs: how.args }, more)
    let found
    try {
        found = child.sync(program, { ...how, timeout: options.timeout, maxBuffer: options.maxBuffer === Infinity ? 64 << 20 : options.maxBuffer, killSignal: signalOf(options.killSignal) }, input)
    } catch (err) {
        if (!err.code) throw err
        return { error: fail(err.code), status: null, signal: null, output: null, pid: 0, stdout: null, stderr: null }
    }
    const [status, signal] = found.status
    const stdout = how.stdio[1] === 'pipe' ? text(found.stdout) : null
    const stderr = how.stdio[2] === 'pipe' ? text(found.stderr) : null
    const result = { status, signal, output: [null, stdout, stderr], pid: found.pid, stdout, stderr }
    if (found.code) result.error = fail(found.code)
    return result
}

function checked(result, command) {
    if (result.error) throw Object.assign(result.error, { ...result, error: undefined })
    if (result.status !== 0) {
        const said = result.stderr?.length > 0 ? `\n${result.stderr}` : ''
        throw Object.assign(new Error(`Command failed: ${command}${said}`), result)
    }
    return result.stdout
}

exports.ChildProcess = ChildProcess
exports.spawn = (file, args, options) => new ChildProcess(file, args, options)
exports.execFile = execFile
exports.exec = exec
exports.spawnSync = spawnSync
exports.execFileSync = (file, args, options) => {
    if (!Array.isArray(args)) [args, options] = [[], args]
    return checked(spawnSync(file, args, options), [file, ...args].join(' '))
}
exports.execSync = (command, options) => checked(spawnSync(command, [], { ...options, shell: options?.shell ?? true }), command)
exports.fork = () => {
    throw errors.absent('child_process.fork')
}
