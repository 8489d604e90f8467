// haraka-utils, haraka-net-utils: parts that plugins use.
const fs = require('fs')
const net = require('net')
const path = require('path')
const utils = require('haraka-utils')
const net_utils = require('haraka-net-utils')

exports.hook_noop = async function (next) {
    const dir = path.join(process.env.TMPDIR, 'from')
    utils.mkDir(path.join(dir, 'deep'))
    fs.writeFileSync(path.join(dir, 'deep', 'file'), 'text')
    utils.copyDir(dir, path.join(process.env.TMPDIR, 'to'))
    this.loginfo(`copied ${fs.readFileSync(path.join(process.env.TMPDIR, 'to', 'deep', 'file'))}`)

    const out = new utils.FsyncWriteStream(path.join(dir, 'synced'))
    out.write('on disk')
    out.close(() => this.loginfo(`synced ${fs.readFileSync(path.join(dir, 'synced'))}`))

    const pool = new net_utils.HostPool('192.0.2.1:2525, 192.0.2.2', 10, { shuffle: false })
    const hosts = [pool.get_host(), pool.get_host(), pool.get_host()]
    this.loginfo(hosts.map(({ host, port }) => `${host}:${port}`).join(' '))
    pool.failed('192.0.2.1', 2525)
    this.loginfo([pool.get_host(), pool.get_host()].map(({ host }) => host).join(' '))

    const endpoint = net_utils.endpoint('127.0.0.1:0')
    const listener = net.createServer()
    await endpoint.bind(listener, { backlog: 0 })
    this.loginfo(`bound ${endpoint} ${listener.address().address}`)
    listener.close()
    next(OK)
}
