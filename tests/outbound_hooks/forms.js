// Every form of every outbound hook, by the destination's domain. What hooks are told goes to a file, a
// line for each call; what a host was told is seen by the test.

const fs = require('fs')
const path = require('path')
const outbound = require('./outbound')
const { HarakaMx } = require('haraka-net-utils')

const file = path.join(process.env.TMPDIR, 'told')
const [host, port] = 'SINK'.split(':')
const lmtp = { exchange: 'LMTP'.split(':')[0], port: Number('LMTP'.split(':')[1]), using_lmtp: true }
const to = (more) => ({ exchange: host, port: Number(port), ...more })

const tell = (hook, hmail, what) => fs.appendFileSync(file, `${hmail.todo.domain} ${hook} ${JSON.stringify(what).replaceAll('PATH', 'SOCKET')}\n`)
const named = (list) => list?.map((a) => a.address)
const codes = (list) => list?.map((a) => [a.dsn_action, a.dsn_smtp_code, a.dsn_smtp_extc, a.dsn_smtp_response, a.dsn_code, a.dsn_msg, a.reason])

// What get_mx answers.
const ROUTES = {
    'string.test': 'SINK',
    'uri.test': 'smtp://SINK',
    'object.test': to({}),
    'mx.test': new HarakaMx('SINK'),
    'strings.test': ['127.0.0.1:1', 'SINK'],
    'uris.test': ['smtp://127.0.0.1:1', 'smtp://SINK'],
    'objects.test': [{ exchange: '127.0.0.1', port: 1, priority: 9 }, to({ priority: 1 })],
    'mixed.test': ['127.0.0.1:1', to({})],
    'lmtp-object.test': lmtp,
    'lmtp-uri.test': 'lmtp://LMTP',
    'helo.test': to({ bind: '127.0.0.1', bind_helo: 'own.name.test' }),
    'auth.test': to({ auth_user: 'u', auth_pass: 'p' }),
    'auth-login.test': to({ auth_user: 'u', auth_pass: 'p', auth_type: 'LOGIN' }),
    'auth-uri.test': 'smtp://u:p@SINK',
    'null-mx.test': [{ exchange: '', priority: 0 }],
    'empty.test': [],
    'dead.test': '127.0.0.1:1',
    'path.test': { path: 'PATH', using_lmtp: true },
}

// What send_email does with the item itself.
const DECISIONS = {
    'own-temp-fail.test': (hmail) => hmail.temp_fail('not from here'),
    'own-bounce.test': (hmail) => hmail.bounce('never from here'),
    'own-discard.test': (hmail) => hmail.discard(),
    'own-delivery.test': (hmail) => hmail.delivered('192.0.2.1', 2525, 'SMTP', 'there.test', 'taken', hmail.todo.rcpt_to, [], [], true, false),
}

const NOTES = { 'note-helo.test': { outbound_helo: 'noted.test' }, 'note-ip.test': { outbound_ip: '127.0.0.1' } }

exports.hook_noop = function (next) {
    const domains = [...Object.keys(ROUTES), ...Object.keys(DECISIONS), ...Object.keys(NOTES)]
    domains.push('delay.test', 'deny.test', 'denysoft.test', 'later.test', 'other-code.test', 'reported.test', 'mail-450.test', 'mail-550.test', 'changed.test')
    for (const domain of domains) this.send(`a@${domain}`, NOTES[domain])
    for (const domain of ['rcpt-550.test', 'rcpt-450.test', 'rcpt-all-550.test']) this.send([`bad@${domain}`, `worse@${domain}`, `good@${domain}`].slice(0, domain.includes('all') ? 2 : 3))
    next()
}

exports.send = function (list, notes) {
    const recipients = [].concat(list).map((address) => `<${address}>`)
    const domain = recipients[0].split('@')[1].slice(0, -1)
    outbound.send_email(`<from@${domain}>`, recipients, 'Subject: x\n\nx\n', undefined, { notes: { skip_plugins: [], ...notes } })
}

exports.hook_send_email = function (next, hmail) {
    const { domain } = hmail.todo
    hmail.notes.seen = (hmail.notes.seen ?? 0) + 1
    tell('send_email', hmail, [hmail.num_failures, hmail.notes.seen, named(hmail.todo.rcpt_to), hmail.todo.mail_from.address, hmail.hook, hmail.name])
    if (DECISIONS[domain]) return DECISIONS[domain](hmail)
    if (domain === 'delay.test' && hmail.notes.seen === 1) return next(DELAY, 1)
    if (domain === 'changed.test') hmail.todo.mail_from = new hmail.todo.mail_from.constructor('<srs@other.test>')
    // Whatever else it says, the mail goes out.
    if (domain === 'other-code.test') return next(DENY, 'counts for nothing')
    next()
}

exports.hook_get_mx = function (next, hmail, domain) {
    tell('get_mx', hmail, [domain])
    if (domain === 'deny.test') return next(DENY, 'no')
    if (domain === 'reported.test' && !hmail.todo.mail_from.isNull()) return next(DENY)
    if (domain === 'denysoft.test' || domain === 'later.test') return hmail.num_failures === 0 ? next(DENYSOFT, 'not yet') : next(OK, to({}))
    next(OK, ROUTES[domain] ?? to({}))
}

exports.hook_deferred = function (next, hmail, params) {
    const { delay, err, fail_recips, mx, ...rest } = params
    tell('deferred', hmail, [delay, String(err).replace(/^(Tried all MXs).*/, '$1'), named(fail_recips), mx?.exchange, hmail.num_failures, named(hmail.todo.rcpt_to), codes(fail_recips), Object.keys(rest)])
    // `later` comes back, all others are dropped.
    if (hmail.todo.domain === 'later.test') return next(DENYSOFT, 1)
    next(OK)
}

exports.hook_bounce = function (next, hmail, err) {
    tell('bounce', hmail, [err.message, named(err.bounced_rcpt), named(err.deferred_rcpt), err.mx?.exchange, named(hmail.todo.rcpt_to), hmail.todo.domain in DECISIONS || codes(err.bounced_rcpt ?? hmail.todo.rcpt_to)])
    if (hmail.todo.domain === 'reported.test') return next()
    next(OK)
}

exports.hook_delivered = function (next, hmail, params) {
    const [name, ip, response, delay, at, mode, ok, secured, authenticated] = params
    tell('delivered', hmail, [name, ip, response, delay >= 0, at === undefined ? at : typeof at, mode, named(ok), secured, authenticated, params.length, hmail.num_failures])
    next()
}

exports.hook_deny = function (next, subject, params) {
    const [code, msg, plugin, method, args, hook] = params
    if (subject.todo) tell('deny', subject, [code, msg, plugin, method, args, hook])
    next()
}
