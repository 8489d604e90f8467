// Files. The calls with `Sync` are meant for the time when plugins are loaded.

const { Buffer } = require('buffer')
const { fs } = natives
const errors = require('internal/errors')

const constants = {
    UV_FS_SYMLINK_DIR: 1, UV_FS_SYMLINK_JUNCTION: 2, O_RDONLY: 0, O_WRONLY: 1, O_RDWR: 2, S_IFMT: 0o170000,
    S_IFREG: 0o100000, S_IFDIR: 0o040000, S_IFCHR: 0o020000, S_IFBLK: 0o060000, S_IFIFO: 0o010000, S_IFLNK: 0o120000,
    S_IFSOCK: 0o140000, O_CREAT: 0o100, O_EXCL: 0o200, UV_FS_O_FILEMAP: 0, O_NOCTTY: 0o400, O_TRUNC: 0o1000,
    O_APPEND: 0o2000, O_DIRECTORY: 0o200000, O_NOATIME: 0o1000000, O_NOFOLLOW: 0o400000, O_SYNC: 0o4010000,
    O_DSYNC: 0o10000, O_NONBLOCK: 0o4000, S_IRWXU: 0o700, S_IRUSR: 0o400, S_IWUSR: 0o200, S_IXUSR: 0o100,
    S_IRWXG: 0o70, S_IRGRP: 0o40, S_IWGRP: 0o20, S_IXGRP: 0o10, S_IRWXO: 7, S_IROTH: 4, S_IWOTH: 2, S_IXOTH: 1,
    F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1, UV_FS_COPYFILE_EXCL: 1, COPYFILE_EXCL: 1, UV_FS_COPYFILE_FICLONE: 2,
    COPYFILE_FICLONE: 2, COPYFILE_FICLONE_FORCE: 4,
}

const KINDS = {
    isFile: constants.S_IFREG, isDirectory: constants.S_IFDIR, isSymbolicLink: constants.S_IFLNK,
    isSocket: constants.S_IFSOCK, isFIFO: constants.S_IFIFO, isBlockDevice: constants.S_IFBLK,
    isCharacterDevice: constants.S_IFCHR,
}

class Stats {
    constructor(found) {
        Object.assign(this, found)
        for (const name of ['atime', 'mtime', 'ctime', 'birthtime']) this[name] = new Date(Math.round(this[`${name}Ms`]))
    }
}

class Dirent {
    #kind

    constructor(name, parent, kind) {
        this.name = name
        this.path = parent
        this.parentPath = parent
        this.#kind = kind
    }

    get mode() {
        return this.#kind
    }
}
Object.defineProperty(Dirent.prototype, 'mode', { enumerable: false })

for (const [name, kind] of Object.entries(KINDS)) {
    for (const Class of [Stats, Dirent]) {
        const value = function () {
            return (this.mode & constants.S_IFMT) === kind
        }
        Object.defineProperty(Class.prototype, name, { value, writable: true, configurable: true, enumerable: false })
    }
}

const entryOf = ([name, dir, file, link], parent) =>
    new Dirent(name, parent, dir ? constants.S_IFDIR : file ? constants.S_IFREG : link ? constants.S_IFLNK : 0)

function named(file, what = 'path') {
    if (typeof file === 'string' || file instanceof URL || ArrayBuffer.isView(file)) {
        const text = typeof file === 'string' ? file : file instanceof URL ? require('url').fileURLToPath(file) : Buffer.from(file).toString()
        if (!text.includes('\0')) return text
        throw errors.coded(TypeError, 'ERR_INVALID_ARG_VALUE', `The argument '${what}' must be a string, Uint8Array, or URL without null bytes. Received ${require('internal/inspect').inspect(text)}`)
    }
    throw errors.invalidType(what, ['string', 'Buffer', 'URL'], file)
}

function numbered(fd) {
    if (typeof fd !== 'number') throw errors.invalidType('fd', 'number', fd)
    if (!Number.isInteger(fd) || fd < 0 || fd > 2147483647) throw errors.outOfRange('fd', '>= 0 && <= 2147483647', fd)
    return fd
}

const encodingOf = (options) => (typeof options === 'string' ? options : options?.encoding)

function asked(found, options) {
    const encoding = encodingOf(options)
    const buffer = Buffer.from(found.buffer, found.byteOffset, found.byteLength)
    return encoding && encoding !== 'buffer' ? buffer.toString(encoding) : buffer
}

function octets(data, options) {
    if (typeof data === 'string') return Buffer.from(data, encodingOf(options) ?? 'utf8')
    if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    throw errors.invalidType('data', ['string', 'Buffer', 'TypedArray', 'DataView'], data)
}

const mode = (given, otherwise) => (typeof given === 'string' ? parseInt(given, 8) : (given ?? otherwise))

const FLAGS = {
    r: 0, rs: 0o4010000, 'r+': 2, 'rs+': 0o4010002, w: 0o1101, wx: 0o1301, 'w+': 0o1102, 'wx+': 0o1302,
    a: 0o2101, ax: 0o2301, 'a+': 0o2102, 'ax+': 0o2302, as: 0o4012101, 'as+': 0o4012102,
}

function flags(given = 'r') {
    if (typeof given === 'number') return given
    const sorted = FLAGS[given] ?? FLAGS[given.replace(/^(x|s)(.)/, '$2$1')]
    if (sorted === undefined) throw errors.coded(TypeError, 'ERR_INVALID_ARG_VALUE', `The argument 'flags' is invalid. Received '${given}'`)
    return sorted
}

function writing(options, append) {
    const set = typeof options === 'object' && options !== null ? options : {}
    const flag = set.flag ?? (append ? 'a' : 'w')
    return { append: String(flag).startsWith('a'), exclusive: String(flag).includes('x'), mode: mode(set.mode) }
}

const seconds = (time) => (time instanceof Date ? time.getTime() / 1000 : Number(time))
const times = ([, atime, mtime]) => ({ atime: seconds(atime), mtime: seconds(mtime) })

// Each call by name: the operation, what goes with it, and what is made of the outcome.
const CALLS = {
    readFile: { as: 'read', syscall: 'open', made: (found, [, options]) => asked(found, options) },
    writeFile: { as: 'write', syscall: 'open', data: ([, data, options]) => octets(data, options), more: ([, , options]) => writing(options, false) },
    appendFile: { as: 'write', syscall: 'open', data: ([, data, options]) => octets(data, options), more: ([, , options]) => writing(options, true) },
    stat: { as: 'stat', made: (found) => new Stats(found) },
    lstat: { as: 'lstat', made: (found) => new Stats(found) },
    readdir: {
        as: 'scandir',
        made: (found, [dir, options]) => {
            if (options?.withFileTypes) return found.map((entry) => entryOf(entry, named(dir)))
            return found.map(([name]) => (encodingOf(options) === 'buffer' ? Buffer.from(name) : name))
        },
    },
    unlink: { as: 'unlink' },
    mkdir: {
        as: 'mkdir',
        more: ([, options]) => (typeof options === 'object' && options !== null ? { recursive: Boolean(options.recursive), mode: mode(options.mode) } : { mode: mode(options) }),
    },
    rmdir: { as: 'rmdir', more: ([, options]) => ({ recursive: Boolean(options?.recursive) }) },
    rm: { as: 'rm', syscall: 'rm', more: ([, options]) => ({ recursive: Boolean(options?.recursive), force: Boolean(options?.force) }) },
    rename: { as: 'rename', to: ([, to]) => named(to, 'newPath') },
    link: { as: 'link', to: ([, to]) => named(to, 'newPath') },
    symlink: { as: 'symlink', path: ([, at]) => named(at), to: ([target]) => named(target, 'target'), swapped: true },
    readlink: { as: 'readlink' },
    realpath: { as: 'realpath', syscall: 'lstat' },
    access: { as: 'access', more: ([, wanted]) => ({ mode: wanted ?? 0 }) },
    chmod: { as: 'chmod', more: ([, given]) => ({ mode: mode(given) }) },
    lchown: { as: 'chown', more: ([, uid, gid]) => ({ uid, gid }) },
    chown: { as: 'chown', more: ([, uid, gid]) => ({ uid, gid }) },
    utimes: { as: 'utime', more: times },
    truncate: { as: 'truncate', syscall: 'open', more: ([, length]) => ({ length: length ?? 0 }) },
    copyFile: { as: 'copyfile', to: ([, to]) => named(to, 'dest'), more: ([, , how]) => ({ exclusive: Boolean((how ?? 0) & 1) }) },
    mkdtemp: { as: 'mkdtemp', shown: (path) => `${path}XXXXXX` },
    open: { as: 'open', more: ([, how, given]) => ({ flags: flags(how), mode: mode(given, 0o666) }) },
    close: { as: 'close', fd: true },
    fstat: { as: 'fstat', fd: true, made: (found) => new Stats(found) },
    fsync: { as: 'fsync', fd: true },
    fdatasync: { as: 'fdatasync', fd: true },
    ftruncate: { as: 'ftruncate', fd: true, more: ([, length]) => ({ length: length ?? 0 }) },
    fchmod: { as: 'fchmod', fd: true, more: ([, given]) => ({ mode: mode(given) }) },
    futimes: { as: 'futime', fd: true, more: times },
    readAt: { as: 'readAt', syscall: 'read', fd: true, more: ([, length, position]) => ({ length, position }) },
    writeAt: { as: 'writeAt', syscall: 'write', fd: true, data: ([, data]) => data, more: ([, , position]) => ({ position }) },
}

// What is handed to the native side, and how a failure of it is told.
function asking(call, args) {
    const more = call.more?.(args) ?? {}
    if (call.fd) return { path: '', more: { ...more, fd: numbered(args[0]) }, data: call.data?.(args) }
    const path = call.path ? call.path(args) : named(args[0])
    const to = call.to?.(args)
    return { path, to, more: to === undefined ? more : { ...more, to }, data: call.data?.(args) }
}

function failure(call, { path, to, more }, err) {
    if (err.code === undefined || !/^E[A-Z0-9]+$/.test(err.code)) {
        if (err.code !== 'ERR_FS_FILE_TOO_LARGE') return err
        return errors.coded(RangeError, err.code, 'File size is greater than what scripts may read')
    }
    if (call.as === 'rm' && err.code === 'EISDIR') {
        const error = errors.coded(Error, 'ERR_FS_EISDIR', `Path is a directory: rm returned EISDIR (is a directory) ${path}`)
        return Object.assign(error, { name: 'SystemError', errno: 21, syscall: 'rm', path })
    }
    const reads = call.as === 'read' && err.code === 'EISDIR'
    const syscall = reads ? 'read' : call.as === 'rm' && err.code === 'ENOENT' ? 'lstat' : (call.syscall ?? call.as)
    const shown = call.fd || reads ? undefined : (call.shown?.(path) ?? path)
    const error = call.swapped ? errors.system(err.code, syscall, to, shown) : errors.system(err.code, syscall, shown, to)
    return error
}

const finished = (call, found, args) => (call.made ? call.made(found, args) : (found ?? undefined))
const reading = (call) => call.as === 'read' || call.as === 'readAt'

function sync(call, ...args) {
    const request = asking(call, args)
    try {
        if (reading(call)) return finished(call, fs.bytesSync(call.as, request.path, request.more), args)
        return finished(call, fs.sync(call.as, request.path, request.data, request.more), args)
    } catch (err) {
        throw failure(call, request, err)
    }
}

function start(call, args) {
    const request = asking(call, args)
    return natives.outcome(fs.start(call.as, request.path, request.data, request.more)).then(
        (found) => finished(call, found, args),
        (err) => {
            throw failure(call, request, err)
        },
    )
}

const promises = { constants }
const callback = (args) => {
    const done = args.at(-1)
    errors.needsFunction('cb', typeof done === 'function' ? done : undefined)
    return args.pop()
}

// The error or value of a promise for a callback, outside the promise so that what it throws is its own.
function tell(promise, done) {
    promise.then(
        (value) => process.nextTick(done, null, value),
        (err) => process.nextTick(done, err),
    )
}

for (const [name, call] of Object.entries(CALLS)) {
    if (name === 'readAt' || name === 'writeAt') continue
    exports[`${name}Sync`] = (...args) => sync(call, ...args)
    exports[name] = (...args) => {
        if (name === 'close' && args.length === 1) args.push(() => {})
        const done = callback(args)
        tell(start(call, args), done)
    }
    if (!call.fd && name !== 'open') promises[name] = async (...args) => start(call, args)
}

// By number of an open file as well.
function wholeOf(fd) {
    const parts = []
    for (;;) {
        const part = sync(CALLS.readAt, fd, 65536)
        if (part.length === 0) return Buffer.concat(parts)
        parts.push(part)
    }
}

const { readFileSync, writeFileSync, appendFileSync, statSync, lstatSync, readdirSync, mkdtempSync } = exports
exports.readFileSync = (file, options) => (typeof file === 'number' ? asked(wholeOf(file), options) : readFileSync(file, options))
exports.writeFileSync = (file, data, options) => {
    if (typeof file !== 'number') return writeFileSync(file, data, options)
    return writeAll(file, octets(data, options))
}
exports.appendFileSync = (file, data, options) => {
    if (typeof file !== 'number') return appendFileSync(file, data, options)
    return writeAll(file, octets(data, options))
}

function writeAll(fd, data) {
    for (let rest = data; rest.length > 0; ) rest = rest.subarray(sync(CALLS.writeAt, fd, rest))
}

for (const [name, run] of [['statSync', statSync], ['lstatSync', lstatSync]]) {
    exports[name] = (file, options) => {
        try {
            return run(file)
        } catch (err) {
            if (options?.throwIfNoEntry === false && (err.code === 'ENOENT' || err.code === 'ENOTDIR')) return undefined
            throw err
        }
    }
}

const aborted = (signal) =>
    Object.assign(new Error('The operation was aborted', { cause: signal.reason }), { name: 'AbortError', code: 'ABORT_ERR' })
const { readFile } = promises
promises.readFile = async (file, options) => {
    if (options?.signal?.aborted) throw aborted(options.signal)
    return file instanceof FileHandle ? file.readFile(options) : readFile(file, options)
}
exports.readFile = (...args) => {
    const done = callback(args)
    if (typeof args[0] !== 'number') named(args[0])
    tell(typeof args[0] === 'number' ? Promise.resolve().then(() => exports.readFileSync(...args)) : promises.readFile(...args), done)
}
for (const name of ['writeFile', 'appendFile']) {
    const run = promises[name]
    promises[name] = async (file, data, options) => (file instanceof FileHandle ? file.writeFile(data, options) : run(file, data, options))
    exports[name] = (...args) => {
        const done = callback(args)
        const byNumber = typeof args[0] === 'number'
        if (!byNumber) named(args[0])
        tell(byNumber ? Promise.resolve().then(() => exports[`${name}Sync`](...args)) : promises[name](...args), done)
    }
}

// Directories with all that is below them.
exports.readdirSync = (dir, options) => {
    if (!options?.recursive) return readdirSync(dir, options)
    const out = []
    const walk = (at, prefix) => {
        for (const entry of readdirSync(at, { withFileTypes: true })) {
            const name = prefix + entry.name
            out.push(options.withFileTypes ? entry : name)
            if (entry.isDirectory()) walk(`${at}/${entry.name}`, `${name}/`)
        }
    }
    walk(named(dir), '')
    return out
}
const { readdir } = promises
promises.readdir = async (dir, options) => (options?.recursive ? exports.readdirSync(dir, options) : readdir(dir, options))
exports.readdir = (...args) => {
    const done = callback(args)
    named(args[0])
    tell(promises.readdir(...args), done)
}

exports.cpSync = (from, to, options = {}) => {
    const stat = exports.lstatSync(from)
    if (!stat.isDirectory()) {
        if (options.force === false && exports.existsSync(to)) return
        exports.copyFileSync(from, to)
        return
    }
    if (!options.recursive) throw errors.coded(Error, 'ERR_FS_EISDIR', `Recursive option not enabled, cannot copy a directory: ${from}`)
    exports.mkdirSync(to, { recursive: true })
    for (const name of exports.readdirSync(from)) exports.cpSync(`${from}/${name}`, `${to}/${name}`, options)
}
promises.cp = async (...args) => exports.cpSync(...args)
exports.cp = (...args) => {
    const done = callback(args)
    tell(promises.cp(...args), done)
}

exports.existsSync = (file) => {
    try {
        sync(CALLS.access, file)
        return true
    } catch {
        return false
    }
}

exports.exists = (file, done) => {
    errors.needsFunction('cb', done)
    exports.access(file, (err) => done(!err))
}
exports.exists[Symbol.for('nodejs.util.promisify.custom')] = (file) => new Promise((resolve) => exports.exists(file, resolve))

// Reading and writing by number: from a place in the file, or from where the last call ended.
function target(buffer, offset, length, position) {
    if (offset !== null && typeof offset === 'object') ({ offset = 0, length, position = null } = offset)
    offset ??= 0
    length ??= buffer.byteLength - offset
    if (offset < 0 || offset > buffer.byteLength) throw errors.outOfRange('offset', `>= 0 && <= ${buffer.byteLength}`, offset)
    if (length < 0 || length > buffer.byteLength - offset) throw errors.outOfRange('length', `>= 0 && <= ${buffer.byteLength - offset}`, length)
    return { offset, length, position: position === null || position === undefined || position < 0 ? undefined : Number(position) }
}

function filled(buffer, offset, found) {
    new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength).set(found, offset)
    return found.length
}

exports.readSync = (fd, buffer, ...where) => {
    const { offset, length, position } = target(buffer, ...where)
    return filled(buffer, offset, sync(CALLS.readAt, fd, length, position))
}
const readInto = async (fd, buffer, ...where) => {
    const { offset, length, position } = target(buffer, ...where)
    return { bytesRead: filled(buffer, offset, await start(CALLS.readAt, [fd, length, position])), buffer }
}
exports.read = (fd, ...args) => {
    const done = callback(args)
    if (!ArrayBuffer.isView(args[0])) {
        const { buffer = Buffer.alloc(16384), ...where } = args[0] ?? {}
        args = [buffer, where]
    }
    readInto(numbered(fd), ...args).then(({ bytesRead, buffer }) => done(null, bytesRead, buffer), (err) => done(err))
}

// Text with place and encoding, or octets with their part and place.
function source(data, offset, length, position) {
    if (typeof data === 'string') return { part: Buffer.from(data, typeof length === 'string' ? length : 'utf8'), at: typeof offset === 'number' ? offset : undefined }
    const where = target(octets(data), offset, length, position)
    return { part: octets(data).subarray(where.offset, where.offset + where.length), at: where.position }
}
exports.writeSync = (fd, data, ...where) => {
    const { part, at } = source(data, ...where)
    return sync(CALLS.writeAt, fd, part, at)
}
exports.write = (fd, data, ...args) => {
    const done = callback(args)
    const { part, at } = source(data, ...args)
    start(CALLS.writeAt, [numbered(fd), part, at]).then((count) => done(null, count, data), (err) => done(err))
}
exports.writevSync = (fd, parts, position) => exports.writeSync(fd, Buffer.concat(parts), 0, undefined, position)
exports.writev = (fd, parts, ...args) => {
    const done = callback(args)
    exports.write(fd, Buffer.concat(parts), 0, undefined, args[0] ?? null, (err, count) => done(err, count, parts))
}
const { names } = require('util').promisify
exports.read[names] = ['bytesRead', 'buffer']
exports.write[names] = ['bytesWritten', 'buffer']

const EventEmitter = require('events')

// An open file of the promises' kind.
class FileHandle extends EventEmitter {
    #fd

    constructor(fd) {
        super()
        this.#fd = fd
    }

    get fd() {
        return this.#fd
    }

    async close() {
        if (this.#fd < 0) return
        const fd = this.#fd
        this.#fd = -1
        await start(CALLS.close, [fd])
        this.emit('close')
    }

    async read(buffer, ...where) {
        if (ArrayBuffer.isView(buffer)) return readInto(this.#fd, buffer, ...where)
        const { buffer: into = Buffer.alloc(16384), ...rest } = buffer ?? {}
        return readInto(this.#fd, into, rest)
    }

    async write(data, ...where) {
        const { part, at } = source(data, ...where)
        return { bytesWritten: await start(CALLS.writeAt, [this.#fd, part, at]), buffer: data }
    }

    async readFile(options) {
        const parts = []
        for (;;) {
            const part = await start(CALLS.readAt, [this.#fd, 65536])
            if (part.length === 0) return asked(Buffer.concat(parts), options)
            parts.push(part)
        }
    }

    async writeFile(data, options) {
        for (let rest = octets(data, options); rest.length > 0; ) rest = rest.subarray(await start(CALLS.writeAt, [this.#fd, rest]))
    }

    async appendFile(data, options) {
        return this.writeFile(data, options)
    }

    stat() {
        return start(CALLS.fstat, [this.#fd])
    }

    sync() {
        return start(CALLS.fsync, [this.#fd])
    }

    datasync() {
        return start(CALLS.fdatasync, [this.#fd])
    }

    truncate(length) {
        return start(CALLS.ftruncate, [this.#fd, length])
    }

    chmod(given) {
        return start(CALLS.fchmod, [this.#fd, given])
    }

    utimes(atime, mtime) {
        return start(CALLS.futimes, [this.#fd, atime, mtime])
    }

    createReadStream(options) {
        return exports.createReadStream(null, { ...options, fd: this.#fd, handle: this })
    }

    createWriteStream(options) {
        return exports.createWriteStream(null, { ...options, fd: this.#fd, handle: this })
    }

    async *readLines(options) {
        let rest = ''
        for await (const chunk of this.createReadStream({ encoding: 'utf8', ...options })) {
            const lines = (rest + chunk).split(/\r?\n/)
            rest = lines.pop()
            yield* lines
        }
        if (rest) yield rest
    }

    // The file comes in one piece, asked for or not.
    _read() {}
}
promises.open = async (...args) => new FileHandle(await start(CALLS.open, args))
promises.FileHandle = FileHandle

// A directory that is gone through.
class Dir {
    #entries

    constructor(path, entries) {
        this.path = path
        this.#entries = entries
    }

    readSync() {
        return this.#entries.shift() ?? null
    }

    read(done) {
        if (done) return process.nextTick(done, null, this.readSync())
        return Promise.resolve(this.readSync())
    }

    closeSync() {}

    close(done) {
        if (done) return process.nextTick(done, null)
        return Promise.resolve()
    }

    async *[Symbol.asyncIterator]() {
        for (let entry = this.readSync(); entry; entry = this.readSync()) yield entry
    }
}
exports.Dir = Dir
const OPENDIR = { ...CALLS.readdir, syscall: 'opendir' }
exports.opendirSync = (path) => new Dir(named(path), sync(OPENDIR, path, { withFileTypes: true }))
promises.opendir = async (path) => new Dir(named(path), await start(OPENDIR, [path, { withFileTypes: true }]))
exports.opendir = (...args) => {
    const done = callback(args)
    tell(promises.opendir(args[0]), done)
}

exports.realpath.native = exports.realpath
exports.realpathSync.native = exports.realpathSync
exports.mkdtempSync = (prefix, options) => mkdtempSync(prefix, options)
exports.constants = constants
exports.promises = promises
exports.Stats = Stats
exports.Dirent = Dirent
Object.assign(exports, { F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1 })

const watch = require('internal/watch')
Object.assign(exports, watch.callbacks(exports, named))
promises.watch = (file, options) => watch.iterate(named(file), options)

// Streams need more than plugins that only read their configuration, so they are made on demand.
for (const name of ['ReadStream', 'WriteStream', 'createReadStream', 'createWriteStream']) {
    Object.defineProperty(exports, name, {
        configurable: true,
        enumerable: true,
        get() {
            const made = require('internal/file_streams')
            for (const [key, value] of Object.entries(made)) {
                Object.defineProperty(exports, key, { value, writable: true, configurable: true, enumerable: true })
            }
            return made[name]
        },
    })
}
exports.parts = { named, flags, start: (name, ...args) => start(CALLS[name], args) }
Object.defineProperty(exports, 'parts', { enumerable: false })
