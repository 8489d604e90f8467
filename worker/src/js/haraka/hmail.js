// A queue item as hooks about deliveries get it.

const EventEmitter = require('events')
const fs = require('fs')
const path = require('path')
const { PassThrough } = require('stream')
const { Address, partsOf } = require('internal/address')
const Notes = require('haraka-notes')
const live = require('internal/live')
const logger = require('internal/logger')

const { delivery } = natives

// Items by uuid, oldest first. What plugins keep at an item lasts from one attempt to the next as
// long as it is among the newest.
const items = new Map()
const MOST = 1000

const STATE = ['reason', 'dsn_action', 'dsn_status', 'dsn_code', 'dsn_msg', 'dsn_smtp_code', 'dsn_smtp_extc', 'dsn_smtp_response', 'dsn_remote_mta']

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

function stateOf(from) {
    const state = {}
    for (const name of STATE) if (from[name] !== undefined && from[name] !== null) state[name] = from[name]
    return state
}

function recipient(parts, known) {
    const found = known?.find((a) => a.user === parts.user && a.host === parts.host) ?? Address.of(parts)
    return Object.assign(found, stateOf(parts))
}

// What script and server both know of an item: how the script's is told, and how the server's is taken.
const SHARED = {
    domain: {
        tell: (todo) => String(todo.domain),
        take: (todo, domain) => (todo.domain = domain),
    },
    mail_from: {
        tell: (todo) => partsOf(todo.mail_from),
        take: (todo, parts) => (todo.mail_from = Address.of(parts)),
    },
    rcpt_to: {
        tell: (todo) => todo.rcpt_to.map((address) => ({ ...partsOf(address), ...stateOf(address) })),
        take: (todo, list) => (todo.rcpt_to = list.map((parts) => recipient(parts, todo.rcpt_to))),
    },
    force_tls: {
        tell: (todo) => Boolean(todo.force_tls),
        take: (todo, forced) => (todo.force_tls = forced),
    },
    notes: {
        tell: (todo) => live.plain(todo.notes) ?? {},
        take(todo, notes) {
            todo.notes ??= new Notes()
            for (const name of Object.keys(todo.notes)) if (!Object.hasOwn(notes, name)) delete todo.notes[name]
            Object.assign(todo.notes, notes)
        },
    },
}

class HMailItem extends EventEmitter {
    #handle
    // By name: what was told and taken last.
    #told = {}
    #taken = {}
    // Tells the hook call that a plugin has decided.
    #decided
    // What a plugin has decided between attempts.
    #wish

    constructor(item) {
        super()
        this.name = 'outbound'
        // Those of the message; from then on for plugins alone.
        this.notes = new Notes(structuredClone(item.todo.notes))
        this.hook = null
        this.todo = Object.assign(Object.create(TODOItem.prototype), { queue_time: item.queue_time, uuid: item.uuid })
    }

    // The state of this attempt.
    renew(handle, item) {
        this.#handle = handle
        this.path = path.join(item.queue_dir, item.file)
        this.filename = item.file
        this.num_failures = item.attempts
        const [, due, , pid] = item.file.split('_')
        this.next_process = Number(due)
        this.pid = Number(pid)
        this.#push(item.todo)
        for (const [name, { tell, take }] of Object.entries(SHARED)) {
            const given = JSON.stringify(item.todo[name])
            if (given === this.#taken[name]) continue
            take(this.todo, item.todo[name])
            this.#taken[name] = given
            this.#told[name] = JSON.stringify(tell(this.todo))
        }
        return this
    }

    // What plugins have changed goes to the server, unless that has changed it itself.
    #push(now) {
        const changed = {}
        for (const [name, { tell }] of Object.entries(SHARED)) {
            if (this.#told[name] === undefined || (now && JSON.stringify(now[name]) !== this.#taken[name])) continue
            const value = tell(this.todo)
            const told = JSON.stringify(value)
            if (told === this.#told[name]) continue
            changed[name] = value
            this.#told[name] = told
        }
        if (Object.keys(changed).length === 0) return
        const taken = delivery.set(this.#handle, changed)
        for (const name of Object.keys(changed)) {
            this.#taken[name] = JSON.stringify(taken[name])
            if (now) now[name] = taken[name]
        }
    }

    static of(handle) {
        const item = delivery.get(handle)
        const known = items.get(item.uuid) ?? new HMailItem(item)
        items.delete(item.uuid)
        items.set(item.uuid, known)
        if (items.size > MOST) items.delete(items.keys().next().value)
        return known.renew(handle, item)
    }

    begin(hook, decided) {
        this.hook = hook
        this.#decided = decided
        const wish = this.#wish
        this.#wish = undefined
        if (wish) this.#decide(...wish)
    }

    end() {
        this.#decided = undefined
        this.#push()
    }

    // Instead of an answer to the hook; between attempts it waits for the next.
    #decide(what, detail = {}) {
        this.#push()
        const counts = delivery.decide(this.#handle, what, detail)
        if (counts === undefined || counts === null) this.#wish ??= [what, detail]
        else if (counts) this.#decided?.()
    }

    temp_fail(err, _extra) {
        this.#decide('temp_fail', { why: reason(err) })
    }

    bounce(err, _opts) {
        this.#decide('bounce', { why: reason(err) })
    }

    convert_temp_failed_to_bounce(err, opts) {
        this.bounce(err, opts)
    }

    discard() {
        this.#decide('discard')
    }

    double_bounce(err) {
        this.lognotice(`Double bounce: ${err}`)
        this.discard()
    }

    // A plugin has delivered the message itself.
    delivered(ip, port, mode, host, response, _ok, _fail, _bounced, secured, authenticated) {
        this.#decide('delivered', {
            ip: String(ip),
            port: Number(port) || 0,
            mode: String(mode),
            host: String(host ?? ip),
            response: String(response ?? ''),
            secured: Boolean(secured),
            authenticated: Boolean(authenticated),
        })
    }

    extend_rcpt_with_dsn(rcpt, dsn) {
        rcpt.dsn_code = dsn.code
        rcpt.dsn_msg = dsn.msg
        rcpt.dsn_status = [dsn.cls, dsn.sub, dsn.det].join('.')
        const action = { 4: 'delayed', 5: 'failed' }[dsn.cls]
        if (action) rcpt.dsn_action = action
    }

    get file_size() {
        try {
            return fs.statSync(this.path).size
        } catch {
            return 0
        }
    }

    // The message as it is stored: dots doubled, without the final one.
    data_stream() {
        const out = new PassThrough()
        const file = messageFile(this.path)
        offset(file)
            .then((start) => {
                const from = fs.createReadStream(file, { start })
                from.on('error', (err) => out.destroy(err))
                from.pipe(out)
            })
            .catch((err) => out.destroy(err))
        return out
    }
}

// The file that has the message: of an item that was rewritten, not the one that has its envelope.
function messageFile(file) {
    return path.join(path.dirname(file), delivery.bodyFile(path.basename(file)))
}

// Where the message begins: four octets say how long the envelope is.
async function offset(file) {
    const handle = await fs.promises.open(file)
    try {
        const { buffer } = await handle.read(Buffer.alloc(4), 0, 4, 0)
        return buffer.readUInt32BE(0) + 4
    } finally {
        await handle.close()
    }
}

const reason = (err) => (err instanceof Error ? err.message : String(err ?? ''))

logger.add_log_methods(HMailItem)
exports.HMailItem = HMailItem
exports.TODOItem = TODOItem
exports.recipient = recipient
