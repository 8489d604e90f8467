// smtp_client.js: a queue plugin that hands messages on, to a server of its own making.
const net = require('net')
const { get_client_plugin } = require('./smtp_client')

function backend(plugin) {
    return net.createServer((socket) => {
        let reading = false
        let text = ''
        socket.write('220 backend\r\n')
        socket.on('data', (data) => {
            for (const line of String(data).split('\r\n').slice(0, -1)) {
                if (reading) {
                    if (line !== '.') {
                        text += `${line}|`
                        continue
                    }
                    reading = false
                    plugin.loginfo(`got ${text.slice(text.indexOf('Subject'))}`)
                    socket.write('250 taken\r\n')
                } else if (/^EHLO/.test(line)) socket.write('250-backend\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN\r\n')
                else if (/^AUTH PLAIN /.test(line)) socket.write('235 in\r\n')
                else if (/^DATA/.test(line)) {
                    reading = true
                    socket.write('354 go on\r\n')
                } else if (/^QUIT/.test(line)) socket.end('221 bye\r\n')
                else if (/bad@/.test(line)) socket.write('550 not here\r\n')
                else socket.write('250 fine\r\n')
                if (!reading) plugin.loginfo(`heard ${line.replace(/^(AUTH PLAIN) .*/, '$1 secret')}`)
            }
        })
        socket.on('error', () => {})
    })
}

exports.hook_init_child = function (next) {
    this.backend = backend(this).listen(0, '127.0.0.1', () => next())
}

exports.shutdown = function () {
    this.backend.close()
}

exports.hook_queue = function (next, connection) {
    const { transaction } = connection
    const cfg = { host: '127.0.0.1', port: this.backend.address().port, auth_type: 'plain', auth_user: 'u', auth_pass: 'p' }
    get_client_plugin(this, connection, cfg, (err, client) => {
        client.next = next
        const left = [...transaction.rcpt_to]
        const rcpt = () => {
            if (left.length > 0) client.send_command('RCPT', `TO:${left.shift().format()}`)
            else client.send_command('DATA')
        }
        client.on('mail', rcpt)
        client.on('rcpt', rcpt)
        client.on('data', () => client.start_data(transaction.message_stream))
        client.on('dot', () => {
            client.call_next(OK, client.response.join(' '))
            client.release()
        })
        client.on('bad_code', (code, text) => {
            this.loginfo(`bad ${code} ${text}`)
            client.call_next(code.startsWith('5') ? DENY : DENYSOFT, text)
            client.release()
        })
    })
}
