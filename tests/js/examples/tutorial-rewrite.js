// Tutorial.md: the date goes, and the message arrives.
exports.hook_rcpt = (next, connection, params) => {
    const rcpt = params[0]

    const found = /^(.*)-(\d{4})(\d{2})(\d{2})$/.exec(rcpt.user)
    if (!found) return next()

    const end = new Date(found[2], found[3] - 1, found[4])
    if (end < new Date()) {
        return next(DENY, 'Expired email address')
    }

    rcpt.user = found[1]
    connection.loginfo(`rewrote recipient to: ${rcpt}`)
    next()
}
