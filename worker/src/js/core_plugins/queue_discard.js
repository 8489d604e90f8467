// Takes messages and forgets them, where that was asked for.

exports.register = function () {
    this.register_hook('queue', 'discard')
    this.register_hook('queue_outbound', 'discard')
}

exports.discard = function (next, connection) {
    const { notes } = connection.transaction
    const wanted = connection.notes.discard || notes.discard || notes.get('queue.wants') === 'discard'
    const always = /^(yes|true|1)$/i.test(String(process.env.YES_REALLY_DO_DISCARD ?? ''))
    if (!wanted && !always) return next()
    connection.loginfo(this, 'discarding message')
    return next(OK)
}
