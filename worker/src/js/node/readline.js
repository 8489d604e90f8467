// Lines of a stream.

const EventEmitter = require('events')

class Interface extends EventEmitter {
    constructor({ input }) {
        super()
        this.closed = false
        let rest = ''
        input.setEncoding?.('utf8')
        input.on('data', (text) => {
            const lines = (rest + text).split(/\r\n|\n|\r(?!\n)/)
            rest = lines.pop()
            for (const line of lines) this.emit('line', line)
        })
        input.on('error', (err) => this.emit('error', err))
        input.on('end', () => {
            if (rest) this.emit('line', rest)
            this.close()
        })
    }

    close() {
        if (this.closed) return
        this.closed = true
        this.emit('close')
    }

    async *[Symbol.asyncIterator]() {
        const lines = []
        let wake = () => {}
        let failed
        this.on('line', (line) => {
            lines.push(line)
            wake()
        })
        this.on('close', () => wake())
        this.on('error', (err) => {
            failed = err
            wake()
        })
        for (;;) {
            if (failed) throw failed
            if (lines.length > 0) yield lines.shift()
            else if (this.closed) return
            else await new Promise((resolve) => (wake = resolve))
        }
    }
}

exports.Interface = Interface
exports.createInterface = (options) => new Interface(options)
