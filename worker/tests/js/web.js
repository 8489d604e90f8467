// HTTP clients and servers, fetch, and the objects of the web.
if (!globalThis.report) globalThis.report = Object.assign((line) => console.log(line), { end() {} })
const http = require('http')
const net = require('net')
const os = require('os')
const path = require('path')

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const once = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)))
const listening = async (server, ...args) => {
    server.listen(...args)
    await once(server, 'listening')
    return server.address().port
}
const read = async (res) => {
    const parts = []
    for await (const part of res) parts.push(part)
    return Buffer.concat(parts).toString()
}
const withoutDate = (headers) => JSON.stringify(Object.entries(headers).filter(([name]) => name !== 'date'))

// A server that shows what it was sent, octet for octet, and answers with what the test wants.
async function raw(answer, run) {
    const server = net.createServer((socket) => {
        let all = ''
        socket.on('error', () => {})
        socket.on('data', (data) => {
            all += data
            const done = answer(all, socket)
            if (done) all = ''
        })
    })
    const port = await listening(server, 0, '127.0.0.1')
    try {
        await run(port, server)
    } finally {
        server.close()
    }
}
const whole = (text) => {
    const [head, body = ''] = text.split('\r\n\r\n')
    const [, length] = /content-length: (\d+)/i.exec(head) ?? []
    return text.includes('\r\n\r\n') && (length ? body.length >= Number(length) : !/chunked/i.test(head) || text.endsWith('0\r\n\r\n'))
}

const tests = {
    async requestsOnTheWire(log) {
        const seen = []
        const answer = (text, socket) => {
            if (!whole(text)) return false
            seen.push(text)
            socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
            return true
        }
        await raw(answer, async (port) => {
            const send = (options, ...body) =>
                new Promise((resolve, reject) => {
                    const req = http.request({ host: '127.0.0.1', port, agent: false, ...options }, async (res) => resolve(await read(res)))
                    req.on('error', reject)
                    for (const part of body.slice(0, -1)) req.write(part)
                    req.end(body.at(-1))
                })
            log.push(await send({ path: '/get' }))
            await send({ method: 'POST', path: '/end', headers: { 'X-A': 'b', accept: ['x', 'y'] } }, 'body')
            await send({ method: 'POST', path: '/chunks' }, 'one', 'two')
            await send({ method: 'PUT', path: '/length', headers: { 'Content-Length': 6 } }, 'abc', 'def')
            await send({ method: 'POST', path: '/none' })
            await send({ method: 'DELETE', path: '/del', auth: 'u:p' })
            await send({ method: 'GET', path: '/host', headers: { Host: 'other', Connection: 'close' } })
            for (const text of seen) log.push(JSON.stringify(text.replaceAll(port, 'PORT')))
        })
    },
    async answers(log) {
        const cases = [
            'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Y: 1\r\nX-Y: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n4\r\nWiki\r\n5;x=1\r\npedia\r\n0\r\nT: v\r\n\r\n',
            'HTTP/1.0 404 Not here\r\n\r\nuntil the end',
            'HTTP/1.1 204 No Content\r\n\r\n',
            'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx',
            'HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n',
            'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort',
            'rubbish\r\n\r\n',
            'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
            '',
        ]
        for (const text of cases) {
            await raw((_all, socket) => socket.end(text), async (port) => {
                const req = http.get({ host: '127.0.0.1', port, path: '/' })
                const ended = []
                req.on('response', async (res) => {
                    ended.push(`${res.httpVersion} ${res.statusCode} ${res.statusMessage} ${JSON.stringify(res.headers)}`)
                    res.on('error', (err) => ended.push(`res ${err.code} ${err.message}`))
                    res.on('aborted', () => ended.push('aborted'))
                    res.on('data', (data) => ended.push(`data ${data}`))
                    res.on('end', () => ended.push(`end ${res.complete} ${JSON.stringify(res.trailers)}`))
                    res.on('close', () => ended.push('res close'))
                })
                req.on('continue', () => ended.push('continue'))
                req.on('error', (err) => ended.push(`req ${err.code} ${err.message.split('\n')[0].slice(0, 40)}`))
                await once(req, 'close')
                log.push(ended.join(','))
            })
        }
    },
    async serverAnswers(log) {
        const server = http.createServer(async (req, res) => {
            const body = await read(req)
            res.setHeader('X-Seen', `${req.method} ${req.url} ${body}`)
            if (req.url === '/plain') res.end('text')
            else if (req.url === '/head') res.writeHead(201, 'Made', { 'Content-Type': 'text/x' }).end('z')
            else {
                res.write('a')
                res.write('b')
                res.end('c')
            }
        })
        const port = await listening(server, 0, '127.0.0.1')
        for (const [method, url] of [['GET', '/plain'], ['POST', '/head'], ['GET', '/chunks'], ['HEAD', '/plain']]) {
            const req = http.request({ host: '127.0.0.1', port, path: url, method, agent: false })
            req.end(method === 'POST' ? 'sent' : undefined)
            const [res] = await once(req, 'response')
            const text = await read(res)
            log.push(`${res.statusCode} ${res.statusMessage} ${withoutDate(res.headers)} ${text}`)
        }
        server.close()
    },
    async keptConnections(log) {
        let connections = 0
        const server = http.createServer((req, res) => res.end(req.url))
        server.on('connection', () => connections++)
        const port = await listening(server, 0, '127.0.0.1')
        const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
        const get = (url) => new Promise((resolve, reject) => http.get({ host: '127.0.0.1', port, path: url, agent }, async (res) => resolve(await read(res))).on('error', reject))
        log.push((await Promise.all(['/a', '/b', '/c'].map(get))).join())
        await wait(5)
        log.push(await get('/d'), connections, Object.keys(agent.freeSockets).length)
        agent.destroy()
        server.close()
        await once(server, 'close')
        log.push('closed')
    },
    async timeouts(log) {
        await raw(() => false, async (port) => {
            const req = http.get({ host: '127.0.0.1', port, timeout: 20, agent: false })
            req.on('timeout', () => {
                log.push('timeout')
                req.destroy()
            })
            req.on('error', (err) => log.push(err.code, err.message))
            await once(req, 'close')
            log.push(req.destroyed)
            const other = http.get({ host: '127.0.0.1', port, agent: false })
            other.setTimeout(20, () => other.destroy(new Error('mine')))
            const [err] = await once(other, 'error')
            log.push(err.message)
            const third = http.get({ host: '127.0.0.1', port, signal: AbortSignal.timeout(20), agent: false })
            const [stopped] = await once(third, 'error')
            log.push(stopped.name, stopped.code)
        })
    },
    async unixSockets(log) {
        const at = path.join(os.tmpdir(), `web-${process.pid}-${Date.now()}.sock`)
        const server = http.createServer((req, res) => res.end(`${req.headers.host} ${req.url}`))
        server.listen(at)
        await once(server, 'listening')
        const text = await new Promise((resolve) => http.get({ socketPath: at, path: '/x' }, async (res) => resolve(await read(res))))
        log.push(text)
        server.close()
        server.closeAllConnections()
    },
    async refusals(log) {
        const server = net.createServer()
        const port = await listening(server, 0, '127.0.0.1')
        await new Promise((resolve) => server.close(resolve))
        const req = http.get({ host: '127.0.0.1', port })
        const [err] = await once(req, 'error')
        log.push(err.code, err.syscall)
        for (const make of [() => http.get('ftp://x/'), () => http.request({ path: '/a b' }), () => http.request({ headers: { 'a b': 1 } })]) {
            try {
                make().on('error', () => {})
                log.push('none')
            } catch (thrown) {
                log.push(thrown.code)
            }
        }
        await fetch(`http://127.0.0.1:${port}/`).catch((failed) => log.push(`${failed.name} ${failed.message} ${failed.cause.code}`))
    },
    async fetched(log) {
        const server = http.createServer(async (req, res) => {
            const body = await read(req)
            if (req.url === '/json') {
                res.setHeader('Content-Type', 'application/json')
                res.end(JSON.stringify({ method: req.method, type: req.headers['content-type'] ?? null, body }))
            } else if (req.url === '/old') res.writeHead(302, { Location: '/json' }).end()
            else if (req.url === '/slow') setTimeout(() => res.end('late'), 200)
            else res.writeHead(404).end('no')
        })
        const port = await listening(server, 0, '127.0.0.1')
        const at = (name) => `http://127.0.0.1:${port}${name}`
        const res = await fetch(at('/json'))
        log.push(res.ok, res.status, res.statusText, res.headers.get('Content-Type'), JSON.stringify(await res.json()), res.bodyUsed)
        const post = await fetch(at('/json'), { method: 'post', body: JSON.stringify({ a: 1 }), headers: { 'content-type': 'application/json' } })
        log.push(await post.text())
        const form = await fetch(at('/json'), { method: 'POST', body: new URLSearchParams({ a: 'b c' }) })
        log.push(await form.text())
        const moved = await fetch(at('/old'), { method: 'POST', body: 'x' })
        log.push(moved.redirected, moved.url.endsWith('/json'), await moved.text())
        const none = await fetch(at('/none'))
        log.push(none.ok, none.status, await none.text())
        await fetch(at('/slow'), { signal: AbortSignal.timeout(20) }).catch((err) => log.push(err.name))
        const controller = new AbortController()
        setTimeout(() => controller.abort(), 10)
        await fetch(at('/slow'), { signal: controller.signal }).catch((err) => log.push(err.name, err.message))
        await fetch('rubbish').catch((err) => log.push(err.name, err.message))
        let text = ''
        for await (const part of (await fetch(at('/json'))).body) text += Buffer.from(part)
        log.push(text.length)
        server.close()
        server.closeAllConnections?.()
    },
    async objects(log) {
        const headers = new Headers({ b: '1', A: 'x' })
        headers.append('b', '2')
        log.push(JSON.stringify([...headers]), headers.get('B'), headers.has('c'))
        const made = new Response('hi', { status: 201, headers: { x: 'y' } })
        log.push(made.status, await made.text(), made.headers.get('content-type'))
        const target = new EventTarget()
        const got = []
        target.addEventListener('e', (event) => got.push(event.type, event.target === target), { once: true })
        target.dispatchEvent(new Event('e'))
        target.dispatchEvent(new Event('e'))
        log.push(got.join())
        const signal = AbortSignal.abort()
        log.push(signal.aborted, signal.reason.name, AbortSignal.any([signal]).aborted)
        try {
            signal.throwIfAborted()
        } catch (err) {
            log.push(err.message)
        }
        const blob = new Blob(['ab', Buffer.from('c')], { type: 'text/plain' })
        log.push(blob.size, await blob.text(), blob.type)
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
