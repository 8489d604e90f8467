// A queue item as hooks about deliveries get it.

const path = require('path')
const { Address } = require('internal/address')
const Notes = require('haraka-notes')
const logger = require('internal/logger')

// Items by uuid, oldest first. What plugins note of an item lasts from one attempt to the next as
// long as it is among the newest.
const items = new Map()
const MOST = 1000

class TODOItem {
    constructor(domain, recipients, transaction) {
        this.queue_time = Date.now()
        this.domain = domain
        this.rcpt_to = recipients
        this.mail_from = transaction.mail_from
        this.message_stream = transaction.message_stream
        this.notes = transaction.notes
        this.uuid = transaction.uuid
        this.force_tls = false
    }
}

class HMailItem {
    constructor(item) {
        this.name = 'outbound'
        this.notes = new Notes()
        this.hook = null
        const todo = Object.create(TODOItem.prototype)
        this.todo = Object.assign(todo, {
            queue_time: item.queue_time,
            domain: item.domain,
            rcpt_to: [],
            mail_from: Address.of(item.mail_from),
            notes: new Notes(item.notes),
            uuid: item.uuid,
            force_tls: false,
        })
    }

    // The state of this attempt.
    renew(item) {
        this.path = path.join(item.queue_dir, item.file)
        this.filename = item.file
        this.num_failures = item.attempts
        const known = this.todo.rcpt_to
        const same = (parts) => known.find((a) => a.user === parts.user && a.host === parts.host)
        this.todo.rcpt_to = item.rcpt_to.map((parts) => same(parts) ?? Address.of(parts))
        return this
    }

    static of(handle) {
        const item = natives.delivery.get(handle)
        const known = items.get(item.uuid) ?? new HMailItem(item)
        items.delete(item.uuid)
        items.set(item.uuid, known)
        if (items.size > MOST) items.delete(items.keys().next().value)
        return known.renew(item)
    }

    begin(hook) {
        this.hook = hook
    }

    end() {}
}

logger.add_log_methods(HMailItem)
exports.HMailItem = HMailItem
exports.TODOItem = TODOItem
