// auth/flat_file as a parent: AUTH, and who has logged in.
exports.register = function () {
    this.inherits('auth/flat_file')
}

exports.hook_mail = function (next, connection) {
    this.loginfo(`user ${connection.notes.auth_user} relaying ${connection.relaying}`)
    next()
}
