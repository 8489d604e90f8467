// queue/discard.md: the same for all messages of a connection.
exports.hook_connect = (next, connection) => {
    connection.notes.discard = true
    next()
}
