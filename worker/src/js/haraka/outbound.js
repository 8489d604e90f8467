// `outbound`: mail that plugins send themselves, and a look at the queue (OUT-22 to OUT-24).

const path = require('path')
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

// The items of the queue directory, those of all workers.
const list_queue = async () => {
    const items = await natives.outcome(outbound.list())
    return items.map((item) => ({ ...item, mail_from: Address.of(item.mail_from), rcpt_to: item.rcpt_to.map(Address.of) }))
}

const stat_queue = () => natives.outcome(outbound.count())

// Both give promises; who gives a callback is called.
function called(ask) {
    return (done) => {
        if (!done) return ask()
        ask().then((found) => done(null, found), done)
        return undefined
    }
}
exports.list_queue = called(list_queue)
exports.stat_queue = called(stat_queue)

const IN_PROGRESS = 0
const PENDING = 1
const DEFERRED = 2

// Items of this worker that wait for their time, as a timer queue shows them. Each look is a new list.
exports.temp_fail_queue = {
    get queue() {
        const timer = ([id, fire_time]) => ({ id, fire_time, cb: () => outbound.retry(id) })
        return outbound.waiting()[1].map(timer).sort((a, b) => a.fire_time - b.fire_time)
    },
    length: () => outbound.counts()[DEFERRED],
    drain: () => outbound.flush(undefined),
    discard(id) {
        throw new Error(`${id} is not given up for a plugin: hold or remove it with haraka queue`)
    },
}

// Those that are being delivered or due.
exports.delivery_queue = {
    get tasks() {
        return outbound.waiting()[0].map(([filename]) => ({ filename, path: path.join(exports.queue_dir, filename) }))
    },
    length: () => outbound.counts()[IN_PROGRESS] + outbound.counts()[PENDING],
}

Object.defineProperty(exports, 'queue_dir', { get: () => outbound.dir(), enumerable: false })

exports.get_stats = () => {
    const counts = outbound.counts()
    return `${counts[IN_PROGRESS]}/${counts[IN_PROGRESS] + counts[PENDING]}/${counts[DEFERRED]}`
}

// What this worker has put off is tried now; with a domain, what goes there, of all workers.
exports.flush_queue = async (domain) => outbound.flush(domain ? String(domain) : undefined)
