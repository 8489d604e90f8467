// Transaction.md: fields at the end, at the beginning, and gone.
exports.hook_data_post = function (next, connection) {
    const { transaction } = connection
    transaction.add_header('X-Last', 'one')
    transaction.add_leading_header('X-First', 'two')
    transaction.remove_header('X-Gone')
    const { header } = transaction
    this.loginfo(JSON.stringify([header.get('subject'), header.get_all('x-last'), header.get('x-gone'), header.get_decoded('subject')]))
    next()
}
