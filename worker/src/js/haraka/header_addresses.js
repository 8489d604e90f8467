// The grammar of `@haraka/email-address` where a plugin has that package from npm: what is usual is parsed natively, and
// becomes the package's own objects. All else, and all errors, are left to the package.

const { address } = natives

const STARTS = new Set(['address-list', 'from', 'reply-to', 'sender'])

const KIND = { value: 'header', enumerable: false, writable: false }

// As the package has them where its caller says nothing.
function usual(opts) {
    return opts.allowAtInDisplayName === true && opts.allowCommaInDisplayName === false && !opts.postel
}

// `module` is the file of the package that has the grammar; its other files have not seen its exports yet.
function speedUp(module) {
    const theirs = module.exports.parseHeaderString
    const { Address } = module.require('./address.cjs')
    // Another version of the package.
    if (typeof theirs !== 'function' || typeof Address !== 'function') return

    // Several hooks in turn ask for the same field.
    let last = { input: undefined, start: undefined, parts: undefined }
    const mailboxes = (input, start) => {
        if (last.input !== input || last.start !== start) last = { input, start, parts: address.mailboxes(input, start) }
        return last.parts
    }

    module.exports.parseHeaderString = function parseHeaderString(input, opts) {
        const start = opts?.startAt || 'address-list'
        if (typeof input !== 'string' || !opts || !usual(opts) || !STARTS.has(start)) return theirs(input, opts)
        const parts = mailboxes(input, start)
        if (!parts) return theirs(input, opts)
        const found = []
        for (let at = 0; at < parts.length; at += 5) {
            const made = Object.create(Address.prototype)
            made.user = parts[at]
            made.host = parts[at + 1]
            made.original_host = parts[at + 2]
            made.original = `${parts[at]}@${parts[at + 2]}`
            made.phrase = parts[at + 3]
            made.comment = parts[at + 4]
            made.group = null
            Object.defineProperty(made, '_kind', KIND)
            found.push(made)
        }
        return found
    }
}

exports.speedUp = speedUp
