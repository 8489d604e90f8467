// Compression, forth and back.
const zlib = require('zlib')
const { promisify } = require('util')

module.exports = async (out) => {
    const text = Buffer.from('hello hello hello '.repeat(2000))
    const fails = (run) => {
        try {
            return run().toString()
        } catch (err) {
            return `${err.name} ${err.code} ${err.errno} ${err.message}`
        }
    }
    for (const [to, from] of [['deflate', 'inflate'], ['deflateRaw', 'inflateRaw'], ['gzip', 'gunzip'], ['gzip', 'unzip'], ['deflate', 'unzip']]) {
        const small = zlib[`${to}Sync`](text)
        out(to, small.length < 500, zlib[`${from}Sync`](small).equals(text))
        const made = await promisify(zlib[to])(text)
        out((await promisify(zlib[from])(made)).equals(text))
        out(from, 'cut', fails(() => zlib[`${from}Sync`](small.subarray(0, small.length - 10))))
    }
    out(zlib.gunzipSync('H4sIAAAAAAAAA0vOSMxLT1XIy89TKMlXKEnNyUkFAIUyStYUAAAA'.length > 0 ? zlib.gzipSync('x') : '').toString())
    out(zlib.inflateSync(Buffer.from('eJzLSM3JyQcABiwCFQ==', 'base64')).toString(), zlib.deflateSync('').toString('hex'))
    for (const name of ['inflateSync', 'gunzipSync', 'inflateRawSync', 'unzipSync']) {
        out(name, fails(() => zlib[name](Buffer.from('not compressed at all'))).split(' ').slice(0, 3).join(' '))
    }
    out(fails(() => zlib.inflateSync(Buffer.from('not compressed'))), fails(() => zlib.gunzipSync(Buffer.from('not'))), fails(() => zlib.inflateSync(5)))
    out(fails(() => zlib.inflateSync(zlib.deflateSync(text), { maxOutputLength: 100 })))
    out(zlib.brotliDecompressSync(Buffer.from('CwKAaGVsbG8D', 'base64')).toString())
    const parts = []
    const gunzip = zlib.createGunzip()
    const gzip = zlib.createGzip({ level: 9 })
    gzip.pipe(gunzip)
    gunzip.on('data', (chunk) => parts.push(chunk))
    const ended = new Promise((resolve) => gunzip.on('end', resolve))
    for (let i = 0; i < text.length; i += 7000) gzip.write(text.subarray(i, i + 7000))
    gzip.end()
    await ended
    out('stream', Buffer.concat(parts).equals(text))
    const bad = zlib.createInflate()
    const failed = new Promise((resolve) => bad.on('error', (err) => resolve(err.code)))
    bad.end('nothing of that kind')
    out('stream fails', await failed)
    out(zlib.constants.Z_FINISH, zlib.crc32('hello'), zlib.codes.Z_DATA_ERROR)
}
