// Sockets: connecting, the order of events, half-open ends, failures, servers, Unix sockets, datagrams.
if (!globalThis.report) globalThis.report = Object.assign((line) => console.log(line), { end() {} })
const net = require('net')
const dgram = require('dgram')
const os = require('os')
const path = require('path')

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const once = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)))
const track = (log, emitter, name, events) => {
    for (const event of events) {
        emitter.on(event, (arg) => log.push(`${name}:${event}${arg instanceof Error ? `(${arg.message}|${arg.code}|${arg.syscall})` : typeof arg === 'boolean' ? `(${arg})` : ''}`))
    }
    return emitter
}
const EVENTS = ['lookup', 'connect', 'ready', 'end', 'finish', 'timeout', 'drain', 'error', 'close']
const listening = async (server, ...args) => {
    server.listen(...args)
    await once(server, 'listening')
    return server.address().port
}

const tests = {
    async echo(log) {
        const server = net.createServer((peer) => peer.pipe(peer))
        const port = await listening(server, 0, '127.0.0.1')
        const client = track(log, net.connect({ port, host: '127.0.0.1' }), 'c', EVENTS)
        log.push(client.connecting, client.readyState, client.pending)
        client.setEncoding('utf8')
        client.on('data', (text) => {
            log.push(`data ${text}`)
            if (text.includes('é')) client.end()
        })
        client.write('aé', () => log.push('written'))
        await once(client, 'close')
        log.push(client.bytesRead, client.bytesWritten, client.destroyed, client.remoteAddress === undefined)
        server.close()
        await once(server, 'close')
    },
    async details(log) {
        const server = net.createServer((peer) => {
            log.push(`peer ${peer.remoteAddress} ${peer.remoteFamily} ${typeof peer.remotePort}`)
            peer.end('bye')
        })
        const port = await listening(server, { port: 0, host: '127.0.0.1' })
        log.push(server.address().family, server.address().address, server.listening)
        const client = net.connect(port, '127.0.0.1', () => log.push(`connected ${client.remoteAddress} ${client.remotePort === port} ${client.localAddress} ${client.readyState}`))
        client.on('data', (data) => log.push(String(data)))
        await once(client, 'close')
        server.close(() => log.push('closed'))
        await once(server, 'close')
        log.push(server.address())
    },
    async refused(log) {
        const server = net.createServer()
        const port = await listening(server, 0, '127.0.0.1')
        await new Promise((resolve) => server.close(resolve))
        const client = net.connect(port, '127.0.0.1')
        client.on('error', (err) => log.push(err.message.replace(port, 'PORT'), err.code, err.errno, err.syscall, err.address, err.port === port))
        const [hadError] = await once(client, 'close')
        log.push(hadError)
    },
    async unknownPath(log) {
        const client = track(log, net.connect('/nonexistent/socket'), 'c', EVENTS)
        await once(client, 'close')
    },
    async badPort(log) {
        for (const port of [70000, -1, 'x y', undefined]) {
            try {
                net.connect({ port, host: '127.0.0.1' })
                log.push('no error')
            } catch (err) {
                log.push(err.code, err.name)
            }
        }
    },
    async unixSocket(log) {
        const at = path.join(os.tmpdir(), `script-${process.pid}-${Date.now()}.sock`)
        const server = net.createServer((peer) => peer.on('data', (data) => peer.end(`<${data}>`)))
        server.listen(at)
        await once(server, 'listening')
        log.push(server.address() === at)
        const client = track(log, net.createConnection(at), 'c', EVENTS)
        client.on('data', (data) => log.push(String(data)))
        client.write('hi')
        await once(client, 'close')
        server.close()
        await once(server, 'close')
    },
    async halfOpen(log) {
        const server = net.createServer({ allowHalfOpen: true }, (peer) => {
            let all = ''
            peer.on('data', (data) => (all += data))
            peer.on('end', () => peer.end(`got ${all}`))
        })
        const port = await listening(server, 0, '127.0.0.1')
        const client = track(log, net.connect(port, '127.0.0.1'), 'c', EVENTS)
        client.on('data', (data) => log.push(String(data)))
        client.end('question')
        await once(client, 'close')
        server.close()
    },
    async idle(log) {
        const server = net.createServer((peer) => peer.resume())
        const port = await listening(server, 0, '127.0.0.1')
        const client = track(log, new net.Socket(), 'c', EVENTS)
        client.setTimeout(20, () => {
            log.push('idle')
            client.destroy()
        })
        client.connect(port, '127.0.0.1')
        await once(client, 'close')
        server.close()
    },
    async destroyEarly(log) {
        const client = track(log, net.connect(9, '192.0.2.1'), 'c', EVENTS)
        client.write('x', (err) => log.push(`cb ${err.code}`))
        client.destroy(new Error('enough'))
        await once(client, 'close')
        await wait(5)
    },
    async reset(log) {
        const server = net.createServer((peer) => peer.on('data', () => peer.destroy()))
        const port = await listening(server, 0, '127.0.0.1')
        const client = track(log, net.connect(port, '127.0.0.1'), 'c', ['end', 'close'])
        client.on('error', () => {})
        client.write('x')
        client.resume()
        await once(client, 'close')
        client.write('more', (err) => log.push(`cb ${err.code}`))
        await wait(5)
        server.close()
    },
    async muchData(log) {
        const size = 3_000_000
        const server = net.createServer((peer) => {
            let left = size
            const more = () => {
                while (left > 0) {
                    const part = Math.min(left, 65536)
                    left -= part
                    if (!peer.write(Buffer.alloc(part, left % 251))) return void peer.once('drain', more)
                }
                peer.end()
            }
            more()
        })
        const port = await listening(server, 0, '127.0.0.1')
        const client = net.connect(port, '127.0.0.1')
        let got = 0
        for await (const part of client) got += part.length
        log.push(got === size, client.bytesRead)
        server.close()
    },
    async backPressure(log) {
        let arrived = 0
        const server = net.createServer((peer) => peer.on('data', (data) => (arrived += data.length)))
        const port = await listening(server, 0, '127.0.0.1')
        const client = net.connect(port, '127.0.0.1')
        const total = 40
        for (let i = 0; i < total; i++) {
            if (!client.write(Buffer.alloc(100_000))) await once(client, 'drain')
        }
        client.end()
        await once(client, 'close')
        while (arrived < total * 100_000) await wait(2)
        log.push(arrived, client.bytesWritten)
        server.close()
    },
    async reuse(log) {
        const server = net.createServer((peer) => peer.end('x'))
        const port = await listening(server, 0, '127.0.0.1')
        const client = new net.Socket()
        for (let i = 0; i < 2; i++) {
            client.connect(port, '127.0.0.1')
            client.resume()
            await once(client, 'close')
            log.push(`round ${i} ${client.destroyed}`)
        }
        server.close()
    },
    async inUse(log) {
        const server = net.createServer()
        const port = await listening(server, 0, '127.0.0.1')
        const other = net.createServer()
        other.listen(port, '127.0.0.1')
        const [err] = await once(other, 'error')
        log.push(err.code, err.syscall, err.message.replace(port, 'PORT'))
        server.close()
    },
    async oldStyle(log) {
        const util = require('util')
        function Lines() {
            net.Socket.call(this)
        }
        util.inherits(Lines, net.Socket)
        class Other extends net.Socket {}
        log.push(new Lines() instanceof net.Socket, new Other() instanceof net.Socket, net.Socket() instanceof net.Socket)
        log.push(net.isIP('::1'), net.isIP('1.2.3.4'), net.isIP('x'), net.isIPv4('1.2.3'), net.isIPv6('fe80::1%eth0'))
    },
    async datagrams(log) {
        const server = dgram.createSocket('udp4')
        server.on('message', (message, from) => {
            log.push(`${message} ${from.address} ${from.family} ${from.size}`)
            server.send(Buffer.from(`re ${message}`), from.port, from.address)
        })
        server.bind(0, '127.0.0.1')
        await once(server, 'listening')
        const { port } = server.address()
        const client = dgram.createSocket('udp4')
        const answer = once(client, 'message')
        client.send('--ping--', 2, 4, port, '127.0.0.1', (err, sent) => log.push(`sent ${err} ${sent}`))
        const [message] = await answer
        log.push(String(message))
        client.close(() => log.push('closed'))
        await wait(5)
        server.close()
        try {
            client.send('x', port)
        } catch (err) {
            log.push(err.code)
        }
    },
}

;(async () => {
    for (const [name, run] of Object.entries(tests)) {
        const log = []
        try {
            await Promise.race([run(log), wait(3000).then(() => log.push('TIMEOUT'))])
        } catch (err) {
            log.push(`THROWN ${err.message}`)
        }
        report(`${name}: ${log.join(' | ')}`)
    }
    report.end()
})()
