// Files. The calls with `Sync` are meant for the time when plugins are loaded.

const { Buffer } = require('buffer')
const { Readable, Writable } = require('stream')
const { fs } = natives

const constants = {
    F_OK: 0,
    R_OK: 4,
    W_OK: 2,
    X_OK: 1,
    O_RDONLY: 0,
    O_WRONLY: 1,
    O_RDWR: 2,
    O_CREAT: 0o100,
    O_EXCL: 0o200,
    O_TRUNC: 0o1000,
    O_APPEND: 0o2000,
    S_IFMT: 0o170000,
    S_IFREG: 0o100000,
    S_IFDIR: 0o040000,
}

class Stats {
    #kind

    constructor({ dir, file, link, ...rest }) {
        this.#kind = { dir, file, link }
        Object.assign(this, rest)
        for (const name of ['mtime', 'atime', 'ctime']) this[name] = new Date(this[`${name}Ms`])
    }

    isFile() {
        return this.#kind.file
    }

    isDirectory() {
        return this.#kind.dir
    }

    isSymbolicLink() {
        return this.#kind.link
    }

    isSocket() {
        return (this.mode & constants.S_IFMT) === 0o140000
    }

    isFIFO() {
        return (this.mode & constants.S_IFMT) === 0o010000
    }
}

class Dirent {
    #kind

    constructor([name, dir, file, link], parent) {
        this.name = name
        this.path = parent
        this.parentPath = parent
        this.#kind = { dir, file, link }
    }

    isFile() {
        return this.#kind.file
    }

    isDirectory() {
        return this.#kind.dir
    }

    isSymbolicLink() {
        return this.#kind.link
    }
}

const named = (file) => (file instanceof URL ? decodeURIComponent(file.pathname) : Buffer.isBuffer(file) ? file.toString() : String(file))
const encodingOf = (options) => (typeof options === 'string' ? options : options?.encoding)

function asked(octets, options) {
    const encoding = encodingOf(options)
    const buffer = Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength)
    return encoding && encoding !== 'buffer' ? buffer.toString(encoding) : buffer
}

const octets = (data, options) =>
    typeof data === 'string' ? Buffer.from(data, encodingOf(options) ?? 'utf8') : Buffer.from(data)

function writing(options, append) {
    const flag = (typeof options === 'object' && options?.flag) || ''
    return {
        append: append || flag.startsWith('a'),
        exclusive: flag.includes('x'),
        mode: typeof options === 'object' ? options?.mode : undefined,
    }
}

// Each call by name: the operation, what goes with it, and what is made of the outcome.
const CALLS = {
    readFile: { as: 'read', made: (found, [, options]) => asked(found, options) },
    writeFile: { as: 'write', data: ([, data, options]) => octets(data, options), more: ([, , options]) => writing(options, false) },
    appendFile: { as: 'write', data: ([, data, options]) => octets(data, options), more: ([, , options]) => writing(options, true) },
    stat: { as: 'stat', made: (found) => new Stats(found) },
    lstat: { as: 'lstat', made: (found) => new Stats(found) },
    readdir: {
        as: 'scandir',
        made: (found, [dir, options]) =>
            options?.withFileTypes ? found.map((entry) => new Dirent(entry, named(dir))) : found.map(([name]) => name),
    },
    unlink: { as: 'unlink' },
    mkdir: { as: 'mkdir', more: ([, options]) => (typeof options === 'number' ? { mode: options } : (options ?? {})) },
    rmdir: { as: 'rmdir', more: ([, options]) => options ?? {} },
    rename: { as: 'rename', more: ([, to]) => ({ to: named(to) }) },
    realpath: { as: 'realpath' },
    access: { as: 'access', more: ([, mode]) => ({ mode: mode ?? 0 }) },
    chmod: { as: 'chmod', more: ([, mode]) => ({ mode }) },
}

const promises = { constants }

for (const [name, { as, data, more, made }] of Object.entries(CALLS)) {
    const finish = (found, args) => (made ? made(found, args) : (found ?? undefined))

    exports[`${name}Sync`] = (...args) => {
        const file = named(args[0])
        if (as === 'read') return finish(fs.bytesSync(file), args)
        return finish(fs.sync(as, file, data?.(args), more?.(args) ?? {}), args)
    }

    promises[name] = async (...args) => {
        const file = named(args[0])
        try {
            return finish(await natives.outcome(fs.start(as, file, data?.(args), more?.(args) ?? {})), args)
        } catch (err) {
            err.message = `${err.code}: ${err.message.split(' (os error')[0].toLowerCase()}, ${as} '${file}'`
            throw Object.assign(err, { path: file, syscall: as })
        }
    }

    exports[name] = (...args) => {
        const done = args.pop()
        if (typeof done !== 'function') throw new TypeError('The "cb" argument must be of type function')
        promises[name](...args).then(
            (value) => done(null, value),
            (err) => done(err),
        )
    }
}

exports.statSync = (file, options) => {
    try {
        return new Stats(fs.sync('stat', named(file), undefined, {}))
    } catch (err) {
        if (options?.throwIfNoEntry === false && err.code === 'ENOENT') return undefined
        throw err
    }
}

exports.existsSync = (file) => {
    try {
        fs.sync('access', named(file), undefined, { mode: 0 })
        return true
    } catch {
        return false
    }
}

exports.exists = (file, done) => {
    promises.access(file).then(
        () => done(true),
        () => done(false),
    )
}

exports.rmSync = (file, options) => {
    const found = exports.statSync(file, { throwIfNoEntry: false })
    if (!found && options?.force) return
    if (found?.isDirectory()) exports.rmdirSync(file, options)
    else exports.unlinkSync(file)
}

// Files are followed by `config.get` with a callback, not by watching directories.
exports.watch = (file) => {
    throw Object.assign(new Error(`fs.watch is not available: ${file}`), { code: 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM' })
}

class ReadStream extends Readable {
    constructor(file, options) {
        super({ encoding: encodingOf(options) })
        this.path = named(file)
        promises.readFile(file).then(
            (found) => {
                this.emit('open', -1)
                this.push(found)
                this.push(null)
            },
            (err) => this.destroy(err),
        )
    }

    // The file comes in one piece, asked for or not.
    _read() {}
}

class WriteStream extends Writable {
    constructor(file, options) {
        super({})
        this.path = named(file)
        this.options = options
        this.begun = options?.flags?.startsWith('a') ?? false
    }

    put(chunk) {
        const call = this.begun ? promises.appendFile : promises.writeFile
        this.begun = true
        return call(this.path, chunk, this.options)
    }

    _write(chunk, _encoding, done) {
        this.put(chunk).then(() => done(), done)
    }

    _final(done) {
        if (this.begun) done()
        else this.put(Buffer.alloc(0)).then(() => done(), done)
    }
}

exports.ReadStream = ReadStream
exports.WriteStream = WriteStream
exports.createReadStream = (file, options) => new ReadStream(file, options)
exports.createWriteStream = (file, options) => new WriteStream(file, options)

exports.constants = constants
exports.promises = promises
exports.Stats = Stats
exports.Dirent = Dirent
Object.assign(exports, { F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1 })
