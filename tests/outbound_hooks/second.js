exports.hook_queue_outbound = (next, connection) => {
    const { user } = connection.transaction.rcpt_to[0]
    if (['skipped', 'not-skipped'].includes(user)) return next(DENY, 'second')
    next()
}
