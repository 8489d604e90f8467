// Tells which members Haraka's objects have, whichever server runs it: a line of JSON for each.

const outbound = require('./outbound')

function members(object) {
    const names = new Set()
    for (let at = object; at && at !== Object.prototype && at !== Function.prototype; at = Object.getPrototypeOf(at)) {
        if (['EventEmitter', 'Stream', 'Readable', 'Array'].includes(at.constructor?.name) && Object.hasOwn(at, 'constructor')) break
        for (const name of Object.getOwnPropertyNames(at)) {
            if (!/^(_|constructor$|prototype$|length$|arguments$|caller$)/.test(name)) names.add(name)
        }
    }
    return [...names].sort()
}

exports.tell = function (name, object) {
    this.loginfo(`members ${name} ${JSON.stringify(members(object))}`)
}

exports.register = function () {
    const { Address } = require('./outbound').TODOItem ? require('@haraka/email-address') : {}
    this.tell('plugin', this)
    this.tell('server', server)
    this.tell('logger', this.haraka_require('logger'))
    this.tell('outbound', outbound)
    this.tell('address', new Address('<a@b.test>'))
    this.tell('config', this.config)
    for (const name of ['utils', 'net-utils', 'dsn', 'tld', 'constants']) this.tell(`haraka-${name}`, require(`haraka-${name}`))
}

exports.hook_data = (next, connection) => {
    connection.transaction.parse_body = true
    connection.transaction.attachment_hooks(() => {})
    next()
}

exports.hook_data_post = function (next, connection) {
    const { transaction } = connection
    connection.results.add(this, { pass: 'it' })
    this.tell('connection', connection)
    for (const part of ['remote', 'local', 'hello', 'tls', 'proxy']) this.tell(`connection.${part}`, connection[part])
    this.tell('transaction', transaction)
    this.tell('header', transaction.header)
    this.tell('body', transaction.body)
    this.tell('message_stream', transaction.message_stream)
    this.tell('results', connection.results)
    this.tell('notes', connection.notes)
    outbound.send_email('<a@b.test>', '<c@far.test>', 'Subject: x\n\nx\n')
    next()
}

exports.hook_send_email = function (next, hmail) {
    this.tell('hmail', hmail)
    this.tell('hmail.todo', hmail.todo)
    next(DELAY, 3600)
}
