// Streams and iteration: what arrives as an async iterator, and an iterator as a source.

const { coded } = require('internal/streams/common')

async function* chunks(stream, options) {
    const { finished } = require('internal/streams/pipeline')
    let wake = () => {}
    let failure
    stream.on('readable', () => wake())
    const stop = finished(stream, { writable: false }, (err) => {
        failure = err ?? null
        wake()
    })
    try {
        for (;;) {
            const chunk = stream.destroyed ? null : stream.read()
            if (chunk !== null) yield chunk
            else if (failure) throw failure
            else if (failure === null) return
            else await new Promise((resolve) => (wake = resolve))
        }
    } catch (err) {
        failure = err
        throw err
    } finally {
        stop()
        if ((failure || options?.destroyOnReturn !== false) && (failure === undefined || stream._readableState.autoDestroy)) {
            stream.destroy()
        }
    }
}

const lazily = (readableFrom) => ({
    async toArray() {
        const all = []
        for await (const chunk of this) all.push(chunk)
        return all
    },
    async forEach(run) {
        for await (const chunk of this) await run(chunk)
    },
    async reduce(run, ...start) {
        let [sum] = start
        let begun = start.length > 0
        for await (const chunk of this) {
            sum = begun ? await run(sum, chunk) : chunk
            begun = true
        }
        return sum
    },
    map(run) {
        const source = this
        return readableFrom((async function* mapped() {
            for await (const chunk of source) yield await run(chunk)
        })())
    },
    filter(run) {
        const source = this
        return readableFrom((async function* filtered() {
            for await (const chunk of source) if (await run(chunk)) yield chunk
        })())
    },
})

function from(Readable, items, options) {
    if (typeof items === 'string' || items instanceof Uint8Array) {
        const one = new Readable({ objectMode: true, ...options, read() {} })
        one.push(items)
        one.push(null)
        return one
    }
    const iterator = items?.[Symbol.asyncIterator]?.() ?? items?.[Symbol.iterator]?.()
    if (!iterator) throw coded('ERR_INVALID_ARG_TYPE', 'The "iterable" argument must be an instance of Iterable', TypeError)
    const stream = new Readable({ objectMode: true, highWaterMark: 1, ...options })
    let busy = false
    stream._read = async () => {
        if (busy) return
        busy = true
        try {
            for (;;) {
                const { value, done } = await iterator.next()
                if (done) {
                    stream.push(null)
                    break
                }
                const chunk = await value
                if (chunk === null) throw coded('ERR_STREAM_NULL_VALUES', 'May not write null values to stream', TypeError)
                if (!stream.push(chunk)) break
            }
        } catch (err) {
            stream.destroy(err)
        }
        busy = false
    }
    stream._destroy = (err, done) => {
        Promise.resolve(iterator.return?.()).then(() => done(err), (failed) => done(err ?? failed))
    }
    return stream
}

module.exports = (Readable) => {
    const proto = Readable.prototype
    proto[Symbol.asyncIterator] = function iterate() {
        return chunks(this)
    }
    proto.iterator = function iterator(options) {
        return chunks(this, options)
    }
    Readable.from = (items, options) => from(Readable, items, options)
    for (const [name, value] of Object.entries(lazily(Readable.from))) {
        Object.defineProperty(proto, name, { value, writable: true, configurable: true })
    }
}
