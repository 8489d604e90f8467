// README.md: what is behind a hyphen goes.
exports.hook_rcpt = (next, connection, params) => {
    const rcpt = params[0]
    const [user] = rcpt.user.split('-')
    rcpt.user = user
    next()
}
