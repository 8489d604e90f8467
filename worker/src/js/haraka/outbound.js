// `outbound`: mail that plugins send themselves, and a look at the queue (OUT-22 to OUT-24).

const { Address } = require('internal/address')
const { HMailItem, TODOItem } = require('internal/hmail')
const { Transaction } = require('internal/transaction')
const config = require('haraka-config')
const logger = require('internal/logger')
const live = require('internal/live')
const net_utils = require('haraka-net-utils')

const { outbound, body } = natives
const OK = 906
const DENY = 902
const DENYSOFT = 903

function parsed(address) {
    return typeof address === 'string' ? new Address(address) : address
}

// Text or octets in any line ends become what is sent: CRLF, dots at line starts doubled.
function stored(contents, stuffed) {
    const text = Buffer.isBuffer(contents) ? contents.toString('latin1') : Buffer.from(contents).toString('latin1')
    const lines = text.replace(/\r?\n/g, '\r\n')
    const whole = lines === '' || lines.endsWith('\n') ? lines : `${lines}\r\n`
    const octets = Buffer.from(whole, 'latin1')
    return stuffed ? octets : Buffer.from(body.stuff(octets).buffer)
}

function collect(stream) {
    return new Promise((resolve, reject) => {
        const pieces = []
        stream.on('data', (piece) => pieces.push(typeof piece === 'string' ? Buffer.from(piece) : piece))
        stream.once('end', () => resolve(Buffer.concat(pieces)))
        stream.once('error', reject)
    })
}

exports.name = 'outbound'
exports.config = config
exports.net_utils = net_utils
exports.TODOItem = TODOItem
exports.HMailItem = HMailItem

// `send_email(from, to, contents, [next], [options])`: contents are text, octets or a stream.
exports.send_email = function (from, to, contents, next, options) {
    if (next !== null && typeof next === 'object' && options === undefined) [next, options] = [undefined, next]
    const { dot_stuffed = false, notes, remove_msgid, remove_date, origin = exports } = options ?? {}
    const answer = next ?? ((code, message) => code === OK || logger.error(exports, String(message)))

    logger.info('Sending email via params', origin)
    const transaction = Transaction.create()
    logger.info(`Created transaction: ${transaction.uuid}`, origin)
    if (notes) Object.assign(transaction.notes, notes)

    try {
        transaction.mail_from = parsed(from)
    } catch (err) {
        return answer(DENY, `Malformed from: ${err}`)
    }
    const recipients = Array.isArray(to) ? to : [to]
    if (recipients.length === 0) return answer(DENY, 'No recipients for email')
    for (const [i, recipient] of recipients.entries()) {
        try {
            recipients[i] = parsed(recipient)
        } catch (err) {
            return answer(DENY, `Malformed to address (${recipient}): ${err}`)
        }
    }
    transaction.rcpt_to = recipients

    const send = (whole, stuffed) => {
        transaction.add_data(stored(whole, stuffed))
        if (remove_msgid) transaction.remove_header('Message-Id')
        if (remove_date) transaction.remove_header('Date')
        exports.send_trans_email(transaction, answer)
    }
    if (typeof contents === 'function') contents = contents()
    if (typeof contents?.on === 'function') {
        collect(contents).then(
            // What a stream gives is stuffed already, as that of a message is.
            (whole) => send(whole, options?.dot_stuffed ?? true),
            (err) => answer(DENYSOFT, `Error from stream line reader: ${err}`),
        )
        return undefined
    }
    return send(contents, dot_stuffed)
}

// Queues a transaction: one that `send_email` or `createTransaction` made, or that of a connection.
exports.send_trans_email = (transaction, next) => {
    const sent = () => {
        if (!transaction.isDetached) return
        live.owners.delete(transaction.uuid)
        transaction.over()
    }
    natives.outcome(outbound.send(transaction.handle())).then(
        () => {
            sent()
            next?.(OK, `Message Queued (${transaction.uuid})`)
        },
        (err) => {
            sent()
            next?.(DENYSOFT, err)
        },
    )
}

// The items of the queue directory; `done(err, list)`, or a promise.
exports.list_queue = (done) => {
    const all = natives.outcome(outbound.list()).then((items) =>
        items.map((item) => ({
            file: item.file,
            uuid: item.uuid,
            domain: item.domain,
            mail_from: Address.of(item.mail_from),
            rcpt_to: Array.from({ length: item.rcpts }),
        })),
    )
    if (!done) return all
    all.then((list) => done(null, list), done)
    return undefined
}

exports.stat_queue = (done) => {
    const all = natives.outcome(outbound.count()).then((queue_count) => ({ queue_count }))
    if (!done) return all
    all.then((stat) => done(null, stat), done)
    return undefined
}
