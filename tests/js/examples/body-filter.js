// Transaction.md: a filter for parts of a type, and a banner.
exports.hook_data = (next, connection) => {
    const { transaction } = connection
    transaction.add_body_filter('text/plain', (ct, encoding, buffer) => Buffer.from(buffer.toString().replace('loud', 'quiet')))
    transaction.add_body_filter(/^text\/html/, (ct, encoding, buffer) => Buffer.from(buffer.toString().toUpperCase()))
    transaction.set_banner('the end\nof it')
    next()
}
