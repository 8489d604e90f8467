// Tutorial.md: refused once the date is over.
exports.hook_rcpt = (next, connection, params) => {
    const rcpt = params[0]

    const found = /^(.*)-(\d{4})(\d{2})(\d{2})$/.exec(rcpt.user)
    if (!found) return next()

    const end = new Date(found[2], found[3] - 1, found[4])
    if (end < new Date()) {
        return next(DENY, 'Expired email address')
    }

    next()
}
