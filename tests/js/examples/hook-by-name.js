// Plugins.md: a method named after its hook.
exports.hook_rcpt = function (next, connection, params) {
    this.loginfo(`asked of ${params[0]}`)
    next()
}
