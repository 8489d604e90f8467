// Plugins.md: methods of another plugin, in a plugin of one's own.
exports.register = function () {
    this.inherits('rcpt_to.host_list_base')
    this.load_host_list()
    this.load_host_list_regex()
    this.register_hook('rcpt', 'my_rcpt')
}

exports.my_rcpt = function (next, connection, params) {
    const rcpt = params[0]
    const domain = rcpt.host.toLowerCase()
    if (this.in_host_list(domain)) return next(OK, 'one of mine')
    if (this.in_host_regex(domain)) return next(OK, 'looks like mine')
    next(DENY, 'none of mine')
}
