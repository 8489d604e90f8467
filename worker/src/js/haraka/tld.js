// `haraka-tld`, where a plugin does not bring its own: over the server's public suffix list.

const ops = natives.net

exports.ready = Promise.resolve()

exports.is_public_suffix = (host) => (host ? ops.isPublicSuffix(String(host).toLowerCase()) : false)

// What was registered with a registrar, or null.
exports.get_organizational_domain = (host) => (host ? (ops.organizationalDomain(String(host).toLowerCase()) ?? null) : null)

const suffixOf = (name) => ops.publicSuffix(name) ?? ''
const count = (name) => (name ? name.split('.').length : 0)

// The labels below a domain, and that domain: what follows a suffix of at most so many labels.
exports.split_hostname = (host, level) => {
    if (typeof host !== 'string') return []
    const most = level >= 1 && level <= 3 ? level : 2
    const labels = host.toLowerCase().split('.')
    const suffix = Math.min(most, count(suffixOf(labels.join('.'))))
    if (suffix === 0) return [labels.slice(0, -1).join('.'), `${labels.at(-1)}.`]
    const cut = Math.max(0, labels.length - suffix - 1)
    return [labels.slice(0, cut).join('.'), labels.slice(cut).join('.')]
}

exports.asParts = (host) => {
    const labels = String(host ?? '').toLowerCase().split('.')
    const tld = suffixOf(labels.join('.'))
    if (!tld) return { tld: '', org: '', host: '' }
    const below = labels.slice(0, labels.length - count(tld))
    return { tld, org: below.at(-1) ?? '', host: below.slice(0, -1).join('.') }
}
