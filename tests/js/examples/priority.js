// Plugins.md: before all others, wherever it stands.
exports.register = function () {
    this.register_hook('connect', 'late', 100)
    this.register_hook('connect', 'usual')
    this.register_hook('connect', 'do_connect_stuff', -100)
}

const said = []
exports.do_connect_stuff = (next) => {
    said.push('first')
    next()
}
exports.usual = (next) => {
    said.push('then')
    next()
}
exports.late = (next) => {
    next(DENY, said.join(' '))
}
