// An envelope address. Its parts can be changed; what it says follows from them.

const { address } = natives


class Address {
    constructor(user, host) {
        if (user !== null && typeof user === 'object') {
            Object.assign(this, user)
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

    toString() {
        return this.format()
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

exports.Address = Address
