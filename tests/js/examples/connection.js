// Connection.md: its properties and methods.
exports.hook_capabilities = (next, connection) => {
    connection.capabilities.push('XEXAMPLE a b')
    next()
}

exports.hook_mail = (next, connection) => {
    connection.set('remote.host', 'mx.example.com')
    connection.set('notes.deep.down', 7)
    next()
}

exports.hook_unrecognized_command = function (next, connection, [verb, rest]) {
    if (verb === 'XSTATE') {
        const { remote, local, hello, tls } = connection
        this.loginfo(JSON.stringify([remote.ip, remote.host, remote.is_private, remote.is_local, local.ip, local.host, hello, tls.enabled]))
        this.loginfo(JSON.stringify([connection.get('notes.deep.down'), typeof connection.get('notes.none.x'), connection.esmtp, connection.early_talker,
            connection.tran_count, connection.rcpt_count, connection.msg_count, connection.relaying, connection.start_time <= Date.now()]))
        return connection.respond(250, ['first', `then ${rest}`], () => next(OK))
    }
    if (verb === 'XRESET') {
        return connection.reset_transaction(() => connection.respond(250, `reset ${connection.transaction}`, () => next(OK)))
    }
    if (verb === 'XBYE') {
        connection.respond(221, 'as you wish', () => connection.disconnect())
        return undefined
    }
    next()
}
