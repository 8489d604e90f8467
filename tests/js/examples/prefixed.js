// Plugins.md: a package's prefix is part of no name that anybody sees (PA-13).
exports.hook_noop = function (next, connection) {
    connection.results.add({ name: 'seen' }, { pass: Object.keys(require('./plugins').registered_plugins).filter((name) => /named|example/.test(name)).join(' ') })
    this.loginfo(connection.results.get('seen').pass[0])
    next(OK)
}
