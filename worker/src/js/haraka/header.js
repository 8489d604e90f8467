// `Header`: of a message, of one of its parts, or one that a script makes.

const { parseHeader } = require('internal/address')

const { header } = natives

// What a line break would make another line becomes a fold.
const folded = (value) => String(value).replace(/\r?\n(?![ \t]|$)|\r(?!\n)/g, '\n ')

class Header {
    constructor(handle) {
        Object.defineProperty(this, 'handle', { value: handle ?? header.make(''), writable: true })
    }

    // Lines as they came, each with or without its line end.
    parse(lines) {
        const text = lines.map((line) => String(line).replace(/\r?\n?$/, '\r\n')).join('')
        this.handle = header.make(text)
    }

    // All values of the name with their line ends, joined.
    get(name) {
        return this.get_all(name).join('\n')
    }

    get_all(name) {
        return header.all(this.handle, String(name), false).map((value) => (value.endsWith('\n') ? value : `${value}\n`))
    }

    get_decoded(name) {
        return header.all(this.handle, String(name), true).join('\n')
    }

    // Addresses and groups of a field; none if it is not there.
    get_addresses(name) {
        const value = this.get(name)
        if (!value) return []
        const decoded = this.get_decoded(name)
        try {
            return parseHeader(decoded || value)
        } catch {
            // A decoded name may hold what separates addresses.
            return parseHeader(value)
        }
    }

    add(name, value) {
        header.change(this.handle, 'add', String(name), folded(value))
    }

    add_end(name, value) {
        header.change(this.handle, 'add_end', String(name), folded(value))
    }

    remove(name) {
        header.change(this.handle, 'remove', String(name), '')
    }

    lines() {
        return header.lines(this.handle).map((line) => (line.endsWith('\n') ? line : `${line}\n`))
    }

    get header_list() {
        return this.lines()
    }

    // Values by name in lower case, raw and decoded.
    get headers() {
        const out = {}
        for (const [name, value] of header.fields(this.handle)) {
            ;(out[name] ??= []).push(value.endsWith('\n') ? value : `${value}\n`)
        }
        return out
    }

    get headers_decoded() {
        const out = {}
        for (const name of Object.keys(this.headers)) out[name] = header.all(this.handle, name, true)
        return out
    }

    decode_header(value) {
        const one = new Header()
        one.add_end('x', value)
        return one.get_decoded('x')
    }

    toString() {
        return this.lines().join('')
    }
}

module.exports = Header
