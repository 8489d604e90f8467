// Plugins.md: which hook a method runs at.
exports.register = function () {
    this.register_hook('rcpt', 'my_rcpt')
    this.register_hook('rcpt_ok', 'my_rcpt')
}

exports.my_rcpt = function (next, connection, params) {
    const hook_name = connection.hook
    this.loginfo(`${hook_name} of ${hook_name === 'rcpt' ? params[0] : params}`)
    next()
}
