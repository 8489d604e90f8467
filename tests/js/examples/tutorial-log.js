// Tutorial.md: look at recipients.
exports.hook_rcpt = (next, connection, params) => {
    const rcpt = params[0]
    connection.loginfo(`got recipient: ${rcpt}`)
    next()
}
