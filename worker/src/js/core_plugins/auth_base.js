// SMTP AUTH for plugins that know passwords (AUT-01 to AUT-11, RFC 4954). Of no use alone: a plugin
// inherits from it and has `get_plain_passwd`, or the checks themselves.

const crypto = require('crypto')
const tlds = require('haraka-tld')
const utils = require('haraka-utils')

// `Username:` and `Password:` in base64.
const ASK_USER = 'VXNlcm5hbWU6'
const ASK_PASSWORD = 'UGFzc3dvcmQ6'

exports.hook_capabilities = (next, connection) => {
    if (connection.tls.enabled) {
        const methods = ['PLAIN', 'LOGIN', 'CRAM-MD5']
        connection.capabilities.push(`AUTH ${methods.join(' ')}`)
        connection.notes.allowed_auth_methods = methods
    }
    next()
}

// `cb(password)`, or `cb()` for nobody. May also be `(user, cb)`.
exports.get_plain_passwd = (user, connection, cb) => cb()

exports.hook_unrecognized_command = function (next, connection, [command, ...rest]) {
    const { notes } = connection
    if (command.toUpperCase() === 'AUTH' && rest[0]) {
        return this.select_auth_method(next, connection, rest.join(' '))
    }
    if (!notes.authenticating) return next()
    const said = [command, ...rest]
    if (notes.auth_method === 'CRAM-MD5' && notes.auth_ticket) return this.auth_cram_md5(next, connection, said)
    if (notes.auth_method === 'LOGIN') return this.auth_login(next, connection, said)
    if (notes.auth_method === 'PLAIN') return this.auth_plain(next, connection, said)
    return next()
}

function withPassword(plugin, user, connection, done) {
    switch (plugin.get_plain_passwd.length) {
        case 2:
            return plugin.get_plain_passwd(user, done)
        case 3:
            return plugin.get_plain_passwd(user, connection, done)
        default:
            throw new TypeError('get_plain_passwd takes (user, cb) or (user, connection, cb)')
    }
}

// Without telling by its time how much of a secret was right.
function same(a, b) {
    const digest = (text) => crypto.createHash('sha256').update(String(text)).digest()
    return crypto.timingSafeEqual ? crypto.timingSafeEqual(digest(a), digest(b)) : digest(a).equals(digest(b))
}

exports.check_plain_passwd = function (connection, user, passwd, cb) {
    withPassword(this, user, connection, (known) => {
        cb(known !== null && known !== undefined && same(known, passwd))
    })
}

exports.check_cram_md5_passwd = function (connection, user, passwd, cb) {
    withPassword(this, user, connection, (known) => {
        if (known === null || known === undefined) return cb(false)
        const digest = crypto.createHmac('md5', String(known)).update(connection.notes.auth_ticket).digest('hex')
        return cb(same(digest, passwd))
    })
}

exports.check_user = function (next, connection, [user, password], method) {
    connection.notes.authenticating = false
    if (!user || !password) {
        connection.respond(504, 'Invalid AUTH string', () => connection.reset_transaction(() => next(OK)))
        return
    }
    const done = (valid, said) => {
        const given = said !== null && typeof said === 'object' ? said : { message: said }
        const code = given.code || (valid ? 235 : 535)
        const text = given.message || (valid ? '2.7.0 Authentication successful' : '5.7.8 Authentication failed')
        // It goes into a header.
        const name = utils.sanitize(user)
        if (valid) this.auth_passed(next, connection, { code, text, name, password, method })
        else this.auth_failed(next, connection, { code, text, name, method })
    }
    if (method === 'CRAM-MD5') this.check_cram_md5_passwd(connection, user, password, done)
    else this.check_plain_passwd(connection, user, password, done)
}

exports.auth_passed = function (next, connection, { code, text, name, password, method }) {
    connection.relaying = true
    connection.results.add({ name: 'relay' }, { pass: this.name })
    connection.results.add({ name: 'auth' }, { pass: this.name, method, user: name })
    connection.respond(code, text, () => {
        connection.authheader = '(authenticated bits=0)\n'
        connection.auth_results(`auth=pass (${method.toLowerCase()})`)
        connection.notes.auth_user = name
        if (!this.blankout_password) connection.notes.auth_passwd = password
        next(OK)
    })
}

// Each failure of a connection waits twice as long for its answer, within the plugin's time.
exports.auth_failed = function (next, connection, { code, text, name, method }) {
    const { notes } = connection
    notes.auth_fails = (notes.auth_fails || 0) + 1
    connection.results.add({ name: 'auth' }, { fail: `${this.name}/${method}` })
    const wanted = 2 ** (notes.auth_fails - 1)
    const delay = this.timeout && wanted >= this.timeout ? this.timeout - 1 : wanted
    connection.lognotice(this, `delaying for ${delay} seconds`)
    connection.auth_results(`auth=fail (${method.toLowerCase()}) smtp.auth=${name}`)
    setTimeout(() => {
        connection.respond(code, text, () => connection.reset_transaction(() => next(OK)))
    }, delay * 1000)
}

exports.select_auth_method = function (next, connection, line) {
    const { notes } = connection
    const [word, ...params] = line.split(/\s+/)
    const method = word.toUpperCase()
    if (!notes.allowed_auth_methods?.includes(method)) return next()
    if (notes.authenticating) return next(DENYDISCONNECT, 'bad protocol')
    notes.authenticating = true
    notes.auth_method = method
    if (method === 'PLAIN') return this.auth_plain(next, connection, params)
    if (method === 'LOGIN') return this.auth_login(next, connection, params)
    if (method === 'CRAM-MD5') return this.auth_cram_md5(next, connection)
    return next()
}

exports.auth_plain = function (next, connection, [given]) {
    const { notes } = connection
    if (given) {
        const [, user, password] = utils.unbase64(given).split('\0')
        return this.check_user(next, connection, [user, password], 'PLAIN')
    }
    if (notes.auth_plain_asked_login) return next(DENYDISCONNECT, 'bad protocol')
    return connection.respond(334, ' ', () => {
        notes.auth_plain_asked_login = true
        next(OK)
    })
}

exports.auth_login = function (next, connection, [given]) {
    const { notes } = connection
    if (notes.auth_login_userlogin) {
        const credentials = [notes.auth_login_userlogin, utils.unbase64(given ?? '')]
        notes.auth_login_userlogin = null
        notes.auth_login_asked_login = false
        return this.check_user(next, connection, credentials, 'LOGIN')
    }
    if (given) {
        const user = utils.unbase64(given)
        return connection.respond(334, ASK_PASSWORD, () => {
            notes.auth_login_userlogin = user
            notes.auth_login_asked_login = true
            next(OK)
        })
    }
    if (notes.auth_login_asked_login) return next(DENYDISCONNECT, 'bad protocol')
    return connection.respond(334, ASK_USER, () => {
        notes.auth_login_asked_login = true
        next(OK)
    })
}

exports.auth_cram_md5 = function (next, connection, params) {
    if (params) {
        const [user, digest] = utils.unbase64(params[0]).split(' ')
        return this.check_user(next, connection, [user, digest], 'CRAM-MD5')
    }
    const random = this.hexi(Math.floor(Math.random() * 1000000))
    const ticket = `<${random}.${this.hexi(Date.now())}@${connection.local.host}>`
    connection.loginfo(this, `ticket: ${ticket}`)
    return connection.respond(334, utils.base64(ticket), () => {
        connection.notes.auth_ticket = ticket
        next(OK)
    })
}

exports.hexi = (number) => Math.abs(parseInt(number, 10)).toString(16)

// For the hook `mail`: who has logged in sends in the name of that domain only.
exports.constrain_sender = function (next, connection, [sender]) {
    if (this?.cfg?.main?.constrain_sender === false) return next()
    const user = connection.results.get('auth')?.user
    const domain = user?.includes('@') ? user.split('@').pop() : null
    if (!domain || !sender.host) return next()
    const [own, given] = [domain, sender.host].map(tlds.get_organizational_domain)
    if (own === given) return next()
    return next(DENY, `Envelope domain '${given}' doesn't match AUTH domain '${own}'`)
}
