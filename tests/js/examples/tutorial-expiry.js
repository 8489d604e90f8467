// Tutorial.md: addresses with a date, which is shown.
exports.hook_rcpt = (next, connection, params) => {
    const rcpt = params[0]
    connection.loginfo(`got recipient: ${rcpt}`)

    const found = /^(.*)-(\d{4})(\d{2})(\d{2})$/.exec(rcpt.user)
    if (!found) return next()

    const end = new Date(Date.UTC(found[2], found[3] - 1, found[4]))
    connection.loginfo(`expires on: ${end.toISOString()}`)

    next()
}
