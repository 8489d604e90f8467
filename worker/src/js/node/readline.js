// Lines of a stream.

const EventEmitter = require('events')
const { StringDecoder } = require('string_decoder')

class Interface extends EventEmitter {
    constructor(given, output) {
        super()
        const options = given?.input ? given : { input: given, output }
        const { input } = options
        Object.assign(this, { input, output: options.output, closed: false, paused: false, line: '', terminal: false })
        this.prompted = options.prompt ?? '> '
        this.asked = null
        const decoder = new StringDecoder('utf8')
        let rest = ''
        // A line may end in CR LF that arrive apart.
        let returned = false
        const take = (text) => {
            let fresh = text
            if (returned && fresh !== '') {
                if (fresh.startsWith('\n')) fresh = fresh.slice(1)
                returned = false
            }
            const lines = (rest + fresh).split(/\r\n|\n|\r/)
            returned = fresh.endsWith('\r')
            rest = lines.pop()
            for (const line of lines) this.tell(line)
        }
        this.listeners_ = {
            data: (chunk) => take(typeof chunk === 'string' ? chunk : decoder.write(chunk)),
            error: (err) => this.emit('error', err),
            end: () => {
                take(decoder.end())
                if (rest !== '') this.tell(rest)
                rest = ''
                this.close()
            },
        }
        for (const [event, run] of Object.entries(this.listeners_)) input.on(event, run)
        input.resume?.()
        const { signal } = options
        if (signal?.aborted) this.close()
        else signal?.addEventListener('abort', () => this.close(), { once: true })
    }

    tell(line) {
        const { asked } = this
        this.asked = null
        if (asked) asked(line)
        else this.emit('line', line)
    }

    question(text, options, done) {
        this.output?.write(text)
        this.asked = typeof options === 'function' ? options : done
    }

    setPrompt(text) {
        this.prompted = text
    }

    getPrompt() {
        return this.prompted
    }

    prompt() {
        this.output?.write(this.prompted)
    }

    write(text) {
        if (text !== null && text !== undefined) this.listeners_.data(text)
    }

    pause() {
        if (this.paused) return this
        this.input.pause?.()
        this.paused = true
        this.emit('pause')
        return this
    }

    resume() {
        if (!this.paused) return this
        this.input.resume?.()
        this.paused = false
        this.emit('resume')
        return this
    }

    close() {
        if (this.closed) return
        this.closed = true
        for (const event of ['data', 'end']) this.input.removeListener(event, this.listeners_[event])
        this.pause()
        this.emit('close')
    }

    [Symbol.asyncIterator]() {
        const lines = []
        let wake = () => {}
        let failed
        this.on('line', (line) => {
            lines.push(line)
            // The source waits until the lines are read.
            if (lines.length > 1024) this.pause()
            wake()
        })
        this.on('close', () => wake())
        this.on('error', (err) => {
            failed = err
            wake()
        })
        const all = async function* all(self) {
            try {
                for (;;) {
                    if (lines.length > 0) {
                        yield lines.shift()
                        if (lines.length === 0 && self.paused && !self.closed) self.resume()
                    } else if (failed) throw failed
                    else if (self.closed) return
                    else await new Promise((resolve) => (wake = resolve))
                }
            } finally {
                self.close()
            }
        }
        return all(this)
    }
}

exports.Interface = Interface
exports.createInterface = (input, output) => new Interface(input, output)
exports.clearLine = () => true
exports.cursorTo = () => true
exports.moveCursor = () => true
exports.promises = {
    Interface,
    createInterface: (input, output) => {
        const made = new Interface(input, output)
        const ask = made.question.bind(made)
        made.question = (text) => new Promise((resolve) => ask(text, resolve))
        return made
    },
}
