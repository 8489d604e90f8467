// Mail that plugins send, and what `queue_outbound` answers, by the user that it goes to.

const { Readable } = require('stream')
const outbound = require('./outbound')
const { Address } = require('@haraka/email-address')

const [host, port] = 'SINK'.split(':')
const HEAD = ['From: a@b.test', 'Message-Id: <old@id>', 'Date: Thu, 1 Jan 1970 00:00:00 +0000', 'Subject: made', '']

exports.said = []

exports.hook_noop = function (next) {
    const whole = [...HEAD, 'line', '.dot', '..dots', 'last', ''].join('\r\n')
    const lf = [...HEAD, 'line', '.dot', '..dots', 'last', ''].join('\n')
    const send = (user, contents, options, to) => {
        outbound.send_email('<a@b.test>', to ?? `<${user}@far.test>`, contents, (code, message) => this.said.push(`${user} ${code} ${String(message).replace(/[0-9A-F]{8}-[-0-9A-F]*/, 'UUID')}`), options)
    }
    send('crlf', whole)
    send('lf', lf)
    send('stuffed', lf, { dot_stuffed: true })
    send('stream', Readable.from([Buffer.from(whole.slice(0, 20)), Buffer.from(whole.slice(20))]))
    send('bare', 'Subject: bare\n\nx\n')
    send('no-id', lf, { remove_msgid: true })
    send('no-date', lf, { remove_date: true })
    send('noted', lf, { notes: { skip_plugins: [], shown: 'note' }, origin: this })
    send('two', lf, {}, [new Address('<two@far.test>'), '<three@far.test>'])
    send('nobody', lf, {}, [])
    send('wrong', lf, {}, '<wrong@>')
    const broken = new Readable({ read() { this.destroy(new Error('broken')) } })
    send('broken', broken)
    next()
}

exports.hook_pre_send_trans_email = (next, connection) => {
    connection.transaction.add_header('X-Shown', String(connection.transaction.notes.shown))
    connection.transaction.notes.added = 'before'
    next()
}

exports.hook_vrfy = function (next) {
    next(OK, this.said.sort().join('|'))
}

exports.hook_send_email = function (next, hmail) {
    hmail.todo.notes.seen = hmail.todo.notes.added
    next()
}

exports.hook_get_mx = (next, hmail) => next(OK, { exchange: host, port, bind_helo: hmail.todo.notes.seen })

// A client's mail.
exports.hook_rcpt = (next, connection, [rcpt]) => {
    const { transaction } = connection
    const { user } = rcpt
    if (user === 'inbound') transaction.notes.set('queue.wants', 'outbound')
    else connection.relaying = true
    if (user === 'skipped') transaction.notes.skip_plugins.push('second')
    if (user === 'sent') transaction.notes.sent = true
    next(OK)
}

exports.hook_queue_outbound = (next, connection) => {
    const { transaction } = connection
    const { user } = transaction.rcpt_to[0]
    const answers = { ok: [OK, 'mine now'], deny: [DENY, 'not that'], denysoft: [DENYSOFT, 'not now'], denydisconnect: [DENYDISCONNECT, 'go'], silent: [DENY] }
    if (transaction.notes.sent) return outbound.send_trans_email(transaction, (code, message) => next(code, `${message} by me`))
    next(...(answers[user] ?? []))
}
