// Programs: their output, their end, what they cannot do.
const { spawn, exec, execFile, execSync, execFileSync, spawnSync } = require('child_process')
const { promisify } = require('util')

const ended = (child) =>
    new Promise((resolve) => {
        const said = { out: '', err: '' }
        child.stdout?.on('data', (chunk) => (said.out += chunk))
        child.stderr?.on('data', (chunk) => (said.err += chunk))
        child.on('error', (err) => resolve([err.code, err.syscall, err.path, err.message]))
        child.on('close', (code, signal) => resolve([code, signal, said.out, said.err]))
    })

module.exports = async (out) => {
    out(await ended(spawn('echo', ['a b', 'c'])))
    out(await ended(spawn('sh', ['-c', 'echo out; echo err >&2; exit 3'])))
    const before = spawn('sh', ['-c', 'head -c 60000 /dev/zero; echo err >&2'])
    let heard = 0
    for (const one of [before.stdout, before.stderr]) one.on('data', (chunk) => (heard += chunk.length))
    out('at its end', await new Promise((resolve) => before.on('exit', (code) => resolve([code, heard]))))
    const cat = spawn('cat')
    out(typeof cat.pid, cat.spawnfile, cat.spawnargs.join())
    cat.stdin.write('through ')
    cat.stdin.end('the pipe')
    out(await ended(cat))
    const sleeps = spawn('sleep', ['10'])
    sleeps.on('spawn', () => out('spawned', sleeps.kill('SIGTERM')))
    out(await ended(sleeps), sleeps.killed, sleeps.signalCode, sleeps.exitCode, sleeps.kill())
    out(await ended(spawn('no-such-program', ['x'])))
    out(await ended(spawn('pwd', { cwd: '/', env: { X: '1' } })), await ended(spawn('echo $X', { shell: true, env: { X: 'env', PATH: process.env.PATH } })))
    out(await ended(spawn('echo', ['x'], { stdio: 'ignore' })))
    const leads = 'set -- $(cat /proc/$$/stat); test $5 = $$ && echo a group; test $6 = $$ && echo a session'
    out(await ended(spawn('sh', ['-c', leads], { detached: true })), await ended(spawn('sh', ['-c', leads])))
    const result = (run) => new Promise((resolve) => run((err, stdout, stderr) => resolve([err && [err.code, err.killed, err.signal, err.cmd, err.message], stdout, stderr])))
    out(await result((done) => exec('echo hi; echo no >&2', done)))
    out(await result((done) => exec('exit 4', done)))
    out(await result((done) => execFile('echo', ['file'], done)))
    out(await result((done) => execFile('no-such-program', done)))
    out(await result((done) => exec('sleep 5', { timeout: 20 }, done)))
    out((await result((done) => exec('yes', { maxBuffer: 100 }, done)))[0][0])
    out(await result((done) => execFile('printf', ['\\377'], { encoding: 'buffer' }, done)).then(([, made]) => made.toString('hex')))
    out(JSON.stringify(await promisify(exec)('echo promised')), await promisify(execFile)('false').catch((err) => [err.code, err.stdout]))
    out(execSync('echo sync').toString(), execFileSync('cat', { input: 'in', encoding: 'utf8' }))
    try {
        execSync('echo said >&2; exit 2', { stdio: 'pipe' })
    } catch (err) {
        out(err.status, err.message, String(err.stderr))
    }
    const { status, signal, stdout, stderr } = spawnSync('sh', ['-c', 'cat; kill $$'], { input: 'text', encoding: 'utf8' })
    out(status, signal, stdout, stderr)
    out(spawnSync('no-such-program').error.message, spawnSync('sleep', ['5'], { timeout: 20 }).error.code)
    try {
        spawn('')
    } catch (err) {
        out(err.code, err.message)
    }
}
