// Outbound.md: mail of a plugin's own, with an answer and without.
const outbound = require('./outbound')

exports.hook_noop = function (next, connection) {
    const plugin = this
    const from = 'sender@example.com'
    const to = 'user@example.com'

    const contents = [
        `From: ${from}`,
        `To: ${to}`,
        'MIME-Version: 1.0',
        'Content-Type: text/plain; charset=us-ascii',
        'Subject: Hello',
        '',
        'Body here.',
        '',
    ].join('\n')

    outbound.send_email(from, to, contents, (code, msg) => {
        switch (code) {
            case OK:
                plugin.loginfo('queued')
                break
            case DENY:
                plugin.logerror(`queue failed: ${msg}`)
                break
        }
        outbound.send_email(from, to, contents)
        next()
    })
}

exports.hook_pre_send_trans_email = function (next, fake) {
    fake.loginfo(this, `sent by ${fake.transaction.mail_from}`)
    fake.transaction.add_header('X-Seen', 'yes')
    next()
}

exports.hook_send_email = function (next, hmail) {
    this.loginfo(`to ${hmail.todo.rcpt_to} at ${hmail.todo.domain} in ${hmail.hook}`)
    next(DELAY, 3600)
}
