// haraka-results: results.ini says what is shown, and how (KEY-57).
exports.hook_rcpt = function (next, connection) {
    const { results } = connection.transaction
    results.add(this, { pass: 'first', fail: 'second', msg: 'third', secret: 'word' })
    this.loginfo(`collated ${results.collate(this)}`)
    results.add({ name: 'other' }, { pass: 'unsaid' })
    next()
}
