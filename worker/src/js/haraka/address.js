// An envelope address, or one of a header. Its parts can be changed; what it says follows from them.

const { address } = natives

class Address {
    constructor(user, host) {
        if (user !== null && typeof user === 'object') {
            Object.assign(this, partsOf(user))
        } else if (host === undefined || (host !== null && typeof host === 'object')) {
            this.take(address.parse(String(user ?? '<>')))
        } else {
            this.take(address.ofParts(String(user), String(host ?? '')))
        }
    }

    take(parts) {
        this.original = parts.original
        this.user = parts.user
        this.host = parts.host
        if (parts.original_host !== null && parts.original_host !== undefined) this.original_host = parts.original_host
        if (parts.is_utf8) this.is_utf8 = true
    }

    // Becomes what the text says.
    parse(text) {
        this.take(address.parse(String(text)))
        return this
    }

    isNull() {
        return !this.user
    }

    get address() {
        if (!this.user) return ''
        return this.host ? `${this.user}@${this.is_utf8 ? this.original_host : this.host}` : this.user
    }

    format(punycode = false) {
        if (!this.user) return '<>'
        if (!this.host) return `<${this.user}>`
        const host = punycode || !this.original_host || !this.is_utf8 ? this.host : this.original_host
        return `<${this.user}@${host}>`
    }

    // The display name of an address in a header, as it reads best.
    name() {
        const name = (this.phrase || this.comment || '').trim().replace(/^"(.*)"$/, '$1')
        return name || (this.user ?? '').replace(/[._]/g, ' ')
    }

    toString() {
        return this.phrase === undefined ? this.format() : this.inHeader()
    }

    // As a header shows it.
    inHeader() {
        const plain = this.address
        const named = this.phrase ? `${/^[\w !#$%&'*+\-/=?^`{|}~]*$/.test(this.phrase) ? this.phrase : JSON.stringify(this.phrase)} <${plain}>` : plain
        return this.comment ? `${named} (${this.comment})` : named
    }

    toJSON() {
        const { original, user, host, original_host, is_utf8 } = this
        return { original, original_host, host, user, is_utf8 }
    }

    static of(parts) {
        const made = Object.create(Address.prototype)
        made.take(parts)
        return made
    }
}

// Several addresses under a name.
class Group {
    constructor(phrase, addresses) {
        this.phrase = phrase
        this.addresses = addresses
    }

    name() {
        return this.phrase
    }

    address() {
        return this.addresses
    }

    toString() {
        return `${this.phrase}: ${this.addresses.map(String).join(', ')};`
    }
}

// The parts of an address of any generation and any package.
function partsOf(from) {
    const part = (name) => (typeof from[name] === 'function' ? from[name]() : from[name])
    const parts = { original: from.original, user: part('user'), host: part('host') }
    if (from.original_host !== undefined) parts.original_host = from.original_host
    if (from.is_utf8) parts.is_utf8 = true
    return parts
}

function mailbox(parts) {
    const made = Address.of({ ...parts, original: parts.host ? `${parts.user}@${parts.host}` : parts.user })
    made.phrase = parts.phrase
    made.comment = parts.comment
    made.group = null
    return made
}

// A field's value, from `startAt` of the grammar: `address-list`, `from`, `sender`, `reply-to`.
function parseHeader(text, options) {
    const startAt = (typeof options === 'string' ? options : options?.startAt) ?? 'address-list'
    return address
        .ofHeader(String(text), String(startAt))
        .map((one) => (one.addresses ? new Group(one.phrase, one.addresses.map(mailbox)) : mailbox(one)))
}

exports.Address = Address
exports.Group = Group
exports.partsOf = partsOf
exports.parseHeader = parseHeader
exports.parse = parseHeader
exports.parseFrom = (text) => parseHeader(text, 'from')
exports.parseSender = (text) => parseHeader(text, 'sender')[0]
exports.parseReplyTo = (text) => parseHeader(text, 'reply-to')
exports.parseEnvelope = (text) => new Address(text)
exports.isValid = (text) => {
    try {
        const made = new Address(String(text).replace(/^<?(.*?)>?$/, '<$1>'))
        return !made.isNull() && Boolean(made.host)
    } catch {
        return false
    }
}
