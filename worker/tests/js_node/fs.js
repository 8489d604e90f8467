// Files in all three manners.
const fs = require('fs')
const os = require('os')
const path = require('path')

module.exports = async (out) => {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'conformance-'))
    const at = (name) => path.join(dir, name)
    const clean = (text) => String(text).replaceAll(dir, 'DIR')
    const said = (err) => clean([err.name, err.code, err.errno, err.syscall, err.path, err.dest, err.message].join(' | '))
    const tried = (run) => {
        try {
            return clean(run())
        } catch (err) {
            return said(err)
        }
    }
    fs.writeFileSync(at('a'), 'hello')
    fs.appendFileSync(at('a'), ' world')
    out(fs.readFileSync(at('a'), 'utf8'), fs.readFileSync(at('a')).length, fs.readFileSync(at('a'), { encoding: 'hex' }), fs.existsSync(at('a')), fs.existsSync(at('none')))
    fs.writeFileSync(at('b'), Buffer.from([1, 2]), { mode: 0o600 })
    out((fs.statSync(at('b')).mode & 0o777).toString(8), tried(() => fs.writeFileSync(at('b'), 'x', { flag: 'wx' })))
    const stat = fs.statSync(at('a'))
    out(stat.isFile(), stat.isDirectory(), stat.size, stat.mtime instanceof Date, Object.keys(stat).join(), Math.abs(stat.mtimeMs - Date.now()) < 60000)
    for (const [name, ...args] of [['readFileSync', at('none')], ['readFileSync', dir], ['statSync', at('none')], ['lstatSync', at('none')], ['readdirSync', at('none')], ['unlinkSync', at('none')], ['rmdirSync', at('none')], ['mkdirSync', dir], ['renameSync', at('none'), at('x')], ['accessSync', at('none')], ['openSync', at('none'), 'r'], ['rmSync', at('none')], ['rmSync', dir], ['realpathSync', at('none')], ['copyFileSync', at('none'), at('x')], ['readlinkSync', at('a')], ['chmodSync', at('none'), 0o600], ['closeSync', 9999], ['readFileSync', {}], ['readFileSync', 'a\0b'], ['writeFileSync', at('x'), {}], ['symlinkSync', 'a', at('a')], ['linkSync', at('none'), at('y')], ['mkdirSync', at('p/q')], ['openSync', at('a'), 'q'], ['truncateSync', at('none')], ['mkdtempSync', at('none/x')]]) {
        out(name, tried(() => fs[name](...args)))
    }
    out(fs.statSync(at('none'), { throwIfNoEntry: false }), fs.rmSync(at('none'), { force: true }))
    out(clean(fs.mkdirSync(at('d/e/f'), { recursive: true })), fs.mkdirSync(at('d/e/f'), { recursive: true }), fs.mkdirSync(at('g')))
    fs.symlinkSync('a', at('link'))
    out(fs.readlinkSync(at('link')), fs.lstatSync(at('link')).isSymbolicLink(), fs.statSync(at('link')).isFile(), clean(fs.realpathSync(at('link'))))
    out(fs.readdirSync(dir).join(), fs.readdirSync(dir, { withFileTypes: true }).map((e) => `${e.name}${e.isDirectory() ? '/' : ''}${e.isSymbolicLink() ? '@' : ''}`).join(), fs.readdirSync(dir, { recursive: true }).sort().join())
    fs.renameSync(at('b'), at('c'))
    fs.copyFileSync(at('a'), at('copy'))
    out(tried(() => fs.copyFileSync(at('a'), at('copy'), fs.constants.COPYFILE_EXCL)), fs.readFileSync(at('copy'), 'utf8'))
    fs.chmodSync(at('c'), '640')
    fs.utimesSync(at('c'), 1, 2)
    out((fs.statSync(at('c')).mode & 0o777).toString(8), fs.statSync(at('c')).mtimeMs, fs.statSync(at('c')).atime.toISOString())
    fs.truncateSync(at('copy'), 3)
    const fd = fs.openSync(at('copy'), 'r+')
    const into = Buffer.alloc(5)
    out(fs.readSync(fd, into, 0, 5, 0), into.toString('hex'), fs.writeSync(fd, 'XY', 1), fs.writeSync(fd, Buffer.from('Zz'), 0, 1), fs.fstatSync(fd).size)
    fs.fsyncSync(fd)
    fs.ftruncateSync(fd, 3)
    fs.closeSync(fd)
    out(fs.readFileSync(at('copy'), 'latin1'))
    const ask = (name, ...args) => new Promise((resolve) => fs[name](...args, (err, ...values) => resolve(err ? said(err) : clean(values.map((v) => (v instanceof fs.Stats ? v.size : v)).join()))))
    out(await ask('readFile', at('a'), 'utf8'), await ask('readFile', at('none')), await ask('stat', at('a')), await ask('writeFile', at('w'), 'w'), await ask('readdir', at('d')), await ask('rename', at('none'), at('o')), await ask('access', at('a')), await ask('mkdir', at('m/n'), { recursive: true }), await ask('unlink', at('w')))
    out(await new Promise((resolve) => fs.exists(at('a'), resolve)))
    const number = Number(await ask('open', at('a'), 'r'))
    out(await new Promise((resolve) => fs.read(number, Buffer.alloc(4), 0, 4, 2, (err, count, buffer) => resolve(`${count} ${buffer}`))), await ask('close', number))
    const { promises } = fs
    out(await promises.readFile(at('a'), 'utf8'), said(await promises.readFile(at('none')).catch((err) => err)), said(await promises.rm(at('none')).catch((err) => err)))
    const handle = await promises.open(at('h'), 'w+')
    out((await handle.write('handled')).bytesWritten, (await handle.stat()).size, typeof handle.fd)
    out((await handle.read(Buffer.alloc(3), 0, 3, 2)).buffer.toString())
    await handle.sync()
    await handle.close()
    await promises.appendFile(at('h'), '+')
    out(await promises.readFile(at('h'), { encoding: 'utf8' }))
    const lines = []
    const opened = await promises.open(at('a'))
    for await (const line of opened.readLines()) lines.push(line)
    out(lines.join('|'))
    const names = []
    for await (const entry of await promises.opendir(at('d'))) names.push(entry.name)
    out(names.join())
    const text = await new Promise((resolve, reject) => {
        let all = ''
        const stream = fs.createReadStream(at('a'), { encoding: 'utf8', start: 2, end: 7, highWaterMark: 3 })
        stream.on('data', (chunk) => (all += `[${chunk}]`)).on('close', () => resolve(`${all} ${stream.bytesRead}`)).on('error', reject)
    })
    out(text, said(await new Promise((resolve) => fs.createReadStream(at('none')).on('error', resolve))))
    const written = await new Promise((resolve, reject) => {
        const stream = fs.createWriteStream(at('s'), { flags: 'a' })
        stream.on('error', reject).on('close', () => resolve(stream.bytesWritten))
        stream.write('one ')
        stream.end('two')
    })
    out(written, fs.readFileSync(at('s'), 'utf8'))
    await new Promise((resolve) => fs.createReadStream(at('a')).pipe(fs.createWriteStream(at('piped'))).on('close', resolve))
    out(fs.readFileSync(at('piped'), 'utf8'))
    const watched = new Promise((resolve) => {
        const watcher = fs.watch(dir, (kind, name) => {
            if (name !== 'watched') return
            watcher.close()
            resolve(`${kind} ${name}`)
        })
    })
    setTimeout(() => fs.writeFileSync(at('watched'), 'x'), 30)
    out(await watched)
    const followed = new Promise((resolve) => {
        fs.watchFile(at('watched'), { interval: 20 }, (now, before) => {
            fs.unwatchFile(at('watched'))
            resolve(`${before.size} ${now.size}`)
        })
    })
    setTimeout(() => {
        fs.writeFileSync(at('longer'), 'longer')
        fs.renameSync(at('longer'), at('watched'))
    }, 60)
    out(await followed)
    out(tried(() => fs.watch(at('none'))), fs.constants.O_CREAT, fs.constants.X_OK, fs.F_OK)
    try {
        fs.readFile(at('a'))
    } catch (err) {
        out(err.code, err.message)
    }
    fs.cpSync(at('d'), at('d2'), { recursive: true })
    out(fs.readdirSync(at('d2'), { recursive: true }).sort().join())
    fs.rmSync(dir, { recursive: true })
    out(fs.existsSync(dir))
}
