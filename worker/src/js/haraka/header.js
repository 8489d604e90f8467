// `Header`: of a message, of one of its parts, or one that a script makes.

const { parseHeader } = require('internal/address')

const { header } = natives

const shown = (value, added) => (value.endsWith('\n') || added?.includes(value) ? value : `${value}\n`)

class Header {
    // Values that scripts have added, if they have, each list with its name in lower case: these are given back without
    // a line end.
    #added

    constructor(handle) {
        Object.defineProperty(this, 'handle', { value: handle ?? header.make(''), writable: true })
    }

    // Those added under this name, if there are any.
    #own(name) {
        return this.#added?.find((one) => one.name.length === name.length && one.name === name.toLowerCase())?.values
    }

    // `made` is what the header has of a value that a script has just added.
    #note(name, made) {
        if (made === undefined) return
        const own = this.#own(name)
        this.#added ??= []
        if (own === undefined) this.#added.push({ name: name.toLowerCase(), values: [made] })
        else if (!own.includes(made)) own.push(made)
    }

    // Lines as they came, each with or without its line end.
    parse(lines) {
        const text = lines.map((line) => String(line).replace(/\r?\n?$/, '\r\n')).join('')
        this.handle = header.make(text)
        this.#added = undefined
    }

    // All values of the name with their line ends, joined.
    get(name) {
        const text = typeof name === 'string' ? name : String(name)
        const own = this.#added && this.#own(text)
        return own === undefined ? header.joined(this.handle, text) : this.#all(text, own).join('\n')
    }

    get_all(name) {
        const text = typeof name === 'string' ? name : String(name)
        const own = this.#added && this.#own(text)
        return own === undefined ? header.shown(this.handle, text) : this.#all(text, own)
    }

    #all(name, own) {
        return header.all(this.handle, name, false).map((value) => shown(value, own))
    }

    get_decoded(name) {
        return header.decoded(this.handle, String(name))
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
        const key = String(name)
        this.#note(key, header.add(this.handle, key, String(value)))
    }

    add_end(name, value) {
        const key = String(name)
        this.#note(key, header.addEnd(this.handle, key, String(value)))
    }

    remove(name) {
        header.remove(this.handle, String(name))
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
            ;(out[name] ??= []).push(shown(value, this.#own(name)))
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
