// Requests and answers of a server and a client of the same process: framing, trailers, Expect, kept connections.
const http = require('http')

const listening = (server) => new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)))
const read = async (stream) => {
    let text = ''
    for await (const piece of stream) text += piece
    return text
}
const ask = (options, write) =>
    new Promise((resolve, reject) => {
        const req = http.request({ host: '127.0.0.1', ...options }, async (res) => resolve({ req, res, text: await read(res) }))
        req.on('error', reject)
        if (write) write(req)
        else req.end()
    })

module.exports = async (out) => {
    const connections = new Set()
    const server = http.createServer(async (req, res) => {
        connections.add(req.socket)
        const text = await read(req)
        if (req.url === '/trailers') {
            res.writeHead(200, { Trailer: 'X-Sum, X-Twice' })
            res.write('first ')
            res.write('second')
            res.addTrailers({ 'X-Sum': '12', 'X-Twice': 'a' })
            res.addTrailers([['X-Twice', 'b']])
            res.end()
        } else if (req.url === '/chunks') {
            for (const piece of ['a', 'bb', 'ccc']) res.write(piece)
            res.end('dddd')
        } else if (req.url === '/echo') {
            res.setHeader('X-Encoding', req.headers['transfer-encoding'] ?? 'none')
            res.end(JSON.stringify([req.method, text, req.trailers, req.rawTrailers]))
        } else if (req.url === '/close') {
            res.setHeader('Connection', 'close')
            res.end('last')
        } else res.end(text)
    })
    const port = await listening(server)

    const trailers = await ask({ port, path: '/trailers', agent: false })
    out('trailers', trailers.text, JSON.stringify(trailers.res.trailers), JSON.stringify(trailers.res.rawTrailers), trailers.res.headers.trailer)
    out('no length', trailers.res.headers['content-length'], trailers.res.headers['transfer-encoding'])

    const chunks = await ask({ port, path: '/chunks', agent: false })
    out('chunks', chunks.text, chunks.res.headers['transfer-encoding'])

    const echo = await ask({ port, path: '/echo', method: 'POST', headers: { Trailer: 'X-End' }, agent: false }, (req) => {
        req.write('one')
        req.write('two')
        req.addTrailers({ 'X-End': 'here' })
        req.end()
    })
    out('echo', echo.text, echo.res.headers['x-encoding'])

    const known = await ask({ port, path: '/echo', method: 'POST', headers: { 'Content-Length': 4 }, agent: false }, (req) => req.end('text'))
    out('known', known.text, known.res.headers['x-encoding'])

    // One connection for several requests, and none after that.
    connections.clear()
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    for (const path of ['/chunks', '/echo', '/chunks']) {
        const { req, res } = await ask({ port, path, agent })
        out('kept', path, req.reusedSocket, res.headers.connection)
        await new Promise((resolve) => setImmediate(resolve))
    }
    const both = await Promise.all([ask({ port, path: '/chunks', agent }), ask({ port, path: '/echo', agent })])
    out('queued', both.map(({ res }) => res.statusCode).join(), connections.size)
    const closing = await ask({ port, path: '/close', agent })
    out('closing', closing.text, closing.res.headers.connection)
    await new Promise((resolve) => setTimeout(resolve, 20))
    out('after close', Object.keys(agent.sockets).length, Object.keys(agent.freeSockets).length)
    const fresh = await ask({ port, path: '/chunks', agent })
    out('fresh', fresh.req.reusedSocket, connections.size)
    agent.destroy()

    // The client waits with its body until it is told to go on.
    const events = []
    const expecting = await ask({ port, method: 'PUT', headers: { Expect: '100-continue', 'Content-Length': 5 }, agent: false }, (req) => {
        req.on('continue', () => {
            events.push('continue')
            req.end('later')
        })
        events.push('waiting')
    })
    out('expect', expecting.text, events.join())

    server.on('checkContinue', (req, res) => {
        if (req.headers['content-length'] > 10) {
            res.writeHead(417, { Connection: 'close' })
            res.end('too long')
            return
        }
        res.writeContinue()
        server.emit('request', req, res)
    })
    const refused = await ask({ port, method: 'PUT', headers: { Expect: '100-continue', 'Content-Length': 50 }, agent: false }, (req) => {
        req.on('continue', () => out('must not be'))
    })
    out('refused', refused.res.statusCode, refused.text)
    refused.req.destroy()
    const allowed = await ask({ port, method: 'PUT', headers: { Expect: '100-continue', 'Content-Length': 5 }, agent: false }, (req) => {
        req.on('continue', () => req.end('small'))
    })
    out('allowed', allowed.text)

    server.on('checkExpectation', (req, res) => {
        res.statusCode = 417
        res.end('what?')
    })
    const odd = await ask({ port, headers: { Expect: 'miracles' }, agent: false })
    out('odd', odd.res.statusCode, odd.text)

    // Idle connections are closed by the server after its time.
    const short = http.createServer((req, res) => res.end('x'))
    short.keepAliveTimeout = 1000
    const kept = new http.Agent({ keepAlive: true })
    const at = await listening(short)
    let over
    const first = await ask({ port: at, agent: kept }, (req) => {
        req.on('socket', (socket) => (over = new Promise((resolve) => socket.once('close', resolve))))
        req.end()
    })
    out('idle', first.res.headers['keep-alive'])
    await over
    out('idle over')
    kept.destroy()
    for (const one of [server, short]) {
        one.closeAllConnections()
        await new Promise((resolve) => one.close(resolve))
    }
}
