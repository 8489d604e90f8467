// A plugin as they were in the first days (AUX-14): hooks by name, three notes, and OK that overrules a refusal.
var said = []

exports.hook_connect = function (callback, connection) {
    var self = this
    server.notes.old = 'server'
    connection.notes.old = 'connection'
    setTimeout(function () {
        self.loginfo('connected')
        callback(CONT)
    }, 1)
}

exports.hook_mail = function (callback, connection, params) {
    var from = params[0]
    connection.transaction.notes.old = 'transaction'
    said.push(from.user + ' at ' + from.host)
    callback()
}

exports.hook_rcpt = function (callback, connection, params) {
    if (params[0].user == 'refused') return callback(DENY, 'go away')
    return callback()
}

exports.hook_deny = function (callback, connection, params) {
    this.loginfo('overruled ' + params[1] + ' of ' + params[2] + ' in ' + params[5])
    callback(OK)
}

exports.hook_data = function (callback, connection) {
    connection.transaction.parse_body = 1
    this.loginfo([server.notes.old, connection.notes.old, connection.transaction.notes.old].concat(said).join(', '))
    callback()
}
