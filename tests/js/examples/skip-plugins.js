// Plugins.md: another plugin is left out of a transaction.
exports.hook_mail = (next, connection) => {
    connection.transaction.notes.skip_plugins.push('other')
    next()
}
