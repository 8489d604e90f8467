// Plugins.md: a parent that comes with the server, whatever it is written in.
exports.register = function () {
    this.inherits('rcpt_to.in_host_list')
    this.register_hook('rcpt', 'first', -10)
    this.register_hook('rcpt_ok', 'after')
}

exports.first = function (next, connection, params) {
    if (params[0].user === 'blocked') return next(DENY, 'not that one')
    next()
}

// The parent's own method, with its answer in one's own hands.
exports.hook_rcpt = function (next, connection, params) {
    this.base['rcpt_to.in_host_list'].hook_rcpt.call(this, (code, message) => {
        this.loginfo(`parent says ${code ?? 'nothing'} of ${params[0]}`)
        next(code, message)
    }, connection, params)
}

exports.after = function (next, connection) {
    this.loginfo(`results ${JSON.stringify(connection.transaction.results.get('example').pass)}`)
    next()
}
