// A queue item as hooks about deliveries get it.

const { Address } = require('internal/address')
const Notes = require('haraka-notes')
const logger = require('internal/logger')

class HMailItem {
    constructor(handle) {
        const item = natives.delivery.get(handle)
        this.name = 'outbound'
        this.path = item.file
        this.filename = item.file
        this.num_failures = item.attempts
        this.notes = new Notes()
        this.todo = {
            uuid: item.uuid,
            domain: item.domain,
            mail_from: Address.of(item.mail_from),
            rcpt_to: item.rcpt_to.map((parts) => Address.of(parts)),
            notes: new Notes(natives.live.handOver(handle, 0, 'notes')),
        }
        this.hook = null
    }

    begin(hook) {
        this.hook = hook
    }

    end() {}
}

logger.add_log_methods(HMailItem)
exports.HMailItem = HMailItem
