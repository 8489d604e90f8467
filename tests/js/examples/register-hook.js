// Plugins.md: a method of any name.
exports.register = function () {
    this.register_hook('rcpt', 'my_rcpt_validate')
}

exports.my_rcpt_validate = function (next, connection, params) {
    this.loginfo(`asked of ${params[0]}`)
    next()
}
