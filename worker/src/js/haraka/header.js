// `transaction.header`, over the server's own header.

const { header } = natives

class Header {
    constructor(handle) {
        Object.defineProperty(this, 'handle', { value: handle })
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

    add(name, value) {
        header.change(this.handle, 'add', String(name), String(value))
    }

    add_end(name, value) {
        header.change(this.handle, 'add_end', String(name), String(value))
    }

    remove(name) {
        header.change(this.handle, 'remove', String(name), '')
    }

    lines() {
        return header.lines(this.handle)
    }

    get header_list() {
        return this.lines()
    }

    // Values by name in lower case, raw and decoded.
    get headers() {
        const out = {}
        for (const [name, value] of header.fields(this.handle)) (out[name] ??= []).push(`${value}\n`)
        return out
    }

    get headers_decoded() {
        const out = {}
        for (const name of Object.keys(this.headers)) out[name] = header.all(this.handle, name, true)
        return out
    }

    toString() {
        return this.lines().join('\n')
    }
}

module.exports = Header
