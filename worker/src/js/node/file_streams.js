// Files as streams.

const { Readable, Writable } = require('stream')
const { Buffer } = require('buffer')
const fs = require('fs')

const { named, start } = fs.parts
const optionsOf = (given) => (typeof given === 'string' ? { encoding: given } : (given ?? {}))

// What both kinds share: opening first, closing last.
function opened(stream, file, options, flags) {
    stream.path = options.fd === undefined || options.fd === null ? named(file) : undefined
    stream.fd = typeof options.fd === 'object' ? (options.fd?.fd ?? null) : (options.fd ?? null)
    stream.flags = options.flags ?? flags
    stream.mode = options.mode ?? 0o666
    stream.pending = stream.fd === null
    stream.handle = options.handle
    stream.autoClose = options.autoClose !== false
}

function construct(done) {
    if (this.fd !== null) return done()
    start('open', this.path, this.flags, this.mode).then(
        (fd) => {
            this.fd = fd
            this.pending = false
            done()
            this.emit('open', fd)
            this.emit('ready')
        },
        done,
    )
    return undefined
}

function destroy(err, done) {
    const { fd } = this
    if (fd === null || !this.autoClose) return done(err)
    this.fd = null
    const closing = this.handle ? this.handle.close() : start('close', fd)
    closing.then(() => done(err), (failed) => done(err ?? failed))
    return undefined
}

class ReadStream extends Readable {
    constructor(file, given) {
        const options = optionsOf(given)
        super({ highWaterMark: 64 * 1024, ...options, read: undefined })
        opened(this, file, options, 'r')
        this.start = options.start
        this.end = options.end ?? Infinity
        this.at = options.start
        this.left = this.end - (this.start ?? 0) + 1
        this.bytesRead = 0
    }

    _construct(done) {
        construct.call(this, done)
    }

    _read(size) {
        const length = Math.min(size, this.left, 256 * 1024)
        if (length <= 0) {
            this.push(null)
            return
        }
        start('readAt', this.fd, length, this.at).then(
            (chunk) => {
                if (chunk.length === 0) return this.push(null)
                if (this.at !== undefined) this.at += chunk.length
                this.left -= chunk.length
                this.bytesRead += chunk.length
                return this.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
            },
            (err) => this.destroy(err),
        )
    }

    _destroy(err, done) {
        destroy.call(this, err, done)
    }

    close(done) {
        if (done) this.once('close', done)
        this.destroy()
    }
}

class WriteStream extends Writable {
    constructor(file, given) {
        const options = optionsOf(given)
        super({ ...options, write: undefined, final: undefined, decodeStrings: true })
        opened(this, file, options, 'w')
        this.at = options.start
        this.bytesWritten = 0
        if (options.encoding) this.setDefaultEncoding(options.encoding)
    }

    _construct(done) {
        construct.call(this, done)
    }

    _write(chunk, _encoding, done) {
        this.put(chunk).then(() => done(), done)
    }

    _writev(chunks, done) {
        this.put(Buffer.concat(chunks.map(({ chunk }) => chunk))).then(() => done(), done)
    }

    async put(chunk) {
        for (let rest = chunk; rest.length > 0; ) {
            const count = await start('writeAt', this.fd, rest, this.at)
            if (this.at !== undefined) this.at += count
            this.bytesWritten += count
            rest = rest.subarray(count)
        }
    }

    _destroy(err, done) {
        destroy.call(this, err, done)
    }

    close(done) {
        if (done) this.once('close', done)
        this.end()
    }
}
WriteStream.prototype.destroySoon = WriteStream.prototype.end

// Old code makes them without `new`.
const callable = (Class) => new Proxy(Class, { apply: (target, _this, args) => Reflect.construct(target, args) })

exports.ReadStream = callable(ReadStream)
exports.WriteStream = callable(WriteStream)
exports.createReadStream = (file, options) => new ReadStream(file, options)
exports.createWriteStream = (file, options) => new WriteStream(file, options)
