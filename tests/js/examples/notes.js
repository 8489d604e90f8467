// Plugins.md: three places for what plugins tell each other.
exports.hook_connect = (next, connection) => {
    server.notes.count = (server.notes.count ?? 0) + 1
    connection.notes.seen = ['connect']
    next()
}

exports.hook_mail = (next, connection) => {
    connection.transaction.notes.test = 'testing'
    connection.notes.seen.push('mail')
    next()
}

exports.hook_data = function (next, connection) {
    const { notes } = connection.transaction
    this.loginfo(`${server.notes.count} ${connection.notes.seen} ${notes.test} ${connection.server.notes === server.notes}`)
    next()
}
