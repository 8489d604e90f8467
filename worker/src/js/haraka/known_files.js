// Files of packages from npm that are changed once they are loaded, as they are slow here and all messages come through
// them: each with what stands in for a part of it, where the file is exactly one that is known.

const { createHash } = require('crypto')
const { configurations, decoder, followers } = require('internal/redis_client')

// Expressions that are kept; callers have a few.
const MOST = 100

// `haraka-net-utils` writes an expression of two thousand characters each time that it is asked. The engine makes one
// of another without reading it again.
function addresses(module) {
    const { exports: utils } = module
    const { get_ipany_re: write } = utils
    const written = new Map()
    utils.get_ipany_re = (prefix = '', suffix = '', modifier = 'mg') => {
        if (![prefix, suffix, modifier].every((part) => typeof part === 'string')) return write(prefix, suffix, modifier)
        const key = JSON.stringify([prefix, suffix, modifier])
        let expression = written.get(key)
        if (expression === undefined) {
            expression = write(prefix, suffix, modifier)
            if (written.size < MOST) written.set(key, expression)
        }
        return new RegExp(expression)
    }
}

// `haraka-tld` looks for the longest public suffix of a name, and makes arrays of labels and their texts anew at each. Here
// these are parts of the name; its list and its own question what a suffix is are as they are at the time.
function organizations(module) {
    const { exports: tlds } = module
    const { get_organizational_domain: find, is_public_suffix: isSuffix } = tlds
    tlds.get_organizational_domain = (host) => {
        if (typeof host !== 'string' || tlds.is_public_suffix !== isSuffix) return find(host)
        const name = host.toLowerCase()
        if (name === '' || name.includes('xn--')) return find(host)
        const { public_suffix_list: list } = tlds
        // Where the name begins so far, and whether the next label is the one that it has beside a suffix.
        let found = -1
        let next = false
        let above = ''
        for (let end = name.length; end !== -1; ) {
            // A dot without a label.
            if (end === 0) return null
            const start = name.lastIndexOf('.', end - 1) + 1
            if (start === end) return null
            if (next) found = start
            const suffix = start === 0 ? name : name.slice(start)
            next = list.has(suffix)
            if (!next) {
                if (list.has('!' + suffix)) found = start
                else next = above !== '' && list.has('*.' + above)
            }
            above = suffix
            end = start - 1
        }
        return next || found === -1 ? null : name.slice(found)
    }
}

// By the end of their path: SHA-256 of the text, and the change.
const FILES = {
    '/@redis/client/dist/lib/RESP/decoder.js': ['0c1dd29e2ef3fb634ca0fbad56f17ed24518eb5d0a46a8e09be73ab9c2d74edc', decoder],
    '/@redis/client/dist/lib/client/pub-sub.js': ['128f3049238ad6204087fc3a481ebc7f47e84a1849f9dbf390291e19f4eb434c', followers],
    '/@redis/client/dist/lib/single-entry-cache.js': ['46e386f7119fb2142f9e59f05c260ec8cd8b6b5d66fa963d5ec024dd40c6efb2', configurations],
    '/haraka-tld/index.js': ['146f28b734d939ccdf3b54c2f7d2f7e010716b28eeb855147b0224309efd98b1', organizations],
    '/haraka-net-utils/index.js': ['4e404eac5928cd058a6a23442bdb5da012ec5d5e45f937ec1df954471991ea5b', addresses],
}

const MODULES = '/node_modules'

// `module` was just loaded from this text; nothing else has seen its exports yet.
exports.change = (module, text) => {
    const { filename } = module
    const name = filename.slice(filename.lastIndexOf(MODULES) + MODULES.length)
    if (!Object.hasOwn(FILES, name)) return
    const [known, change] = FILES[name]
    if (createHash('sha256').update(text).digest('hex') === known) change(module)
}
