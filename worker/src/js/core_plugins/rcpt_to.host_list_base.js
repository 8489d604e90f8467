// What plugins that know local domains have in common.

exports.load_host_list = function () {
    const read = () => {
        const domains = this.config.get('host_list', 'list', read)
        this.host_list = Object.fromEntries(domains.map((domain) => [domain.toLowerCase(), true]))
    }
    read()
}

exports.load_host_list_regex = function () {
    const read = () => {
        this.host_list_regex = this.config.get('host_list_regex', 'list', read)
        this.hl_re = new RegExp(`^(?:${this.host_list_regex.join('|')})$`, 'i')
    }
    read()
}

exports.in_host_list = function (domain) {
    return Boolean(this.host_list?.[String(domain).toLowerCase()])
}

exports.in_host_regex = function (domain) {
    return Boolean(this.host_list_regex?.length) && this.hl_re.test(domain)
}

exports.hook_mail = function (next, connection, [sender]) {
    const { transaction } = connection
    if (!transaction) return next()
    if (sender.isNull()) {
        transaction.results.add(this, { skip: 'null sender', emit: true })
        return next()
    }
    const local = this.in_host_list(sender.host) || this.in_host_regex(sender.host)
    if (local) transaction.notes.local_sender = true
    transaction.results.add(this, { msg: local ? 'mail_from' : 'mail_from!' })
    return next()
}
