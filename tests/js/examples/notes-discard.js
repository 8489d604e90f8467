// queue/discard.md: a note says that the message goes nowhere.
exports.hook_data = (next, connection) => {
    connection.transaction.notes.discard = 1
    next()
}
