// Hook calls: what a method is called with, and its `next`.

const { Address } = require('internal/address')
const { settled } = require('internal/body')
const { Connection } = require('internal/connection')
const { HMailItem, recipient } = require('internal/hmail')
const { HarakaMx } = require('haraka-net-utils')
const logger = require('internal/logger')
const { owners } = require('internal/live')
const plugins = require('internal/plugin')
const server = require('internal/server')

const { hook: ops } = natives
const { methods, runs } = plugins
const STOP = 901
const DENYSOFT = 903

// Whom a call is about; in the bits above, for a connection, what is new about it.
const [KIND, CONNECTION, DELIVERY] = [3, 1, 2]

const same = (a, parts) => a.user === parts.user && a.host === parts.host

// The arguments after `next` and the subject, from plain data.
const ARGUMENTS = {
    mail: (params, connection) => [connection.transaction.mail_from, params ?? {}],
    rcpt: ({ address, count }, connection) => [connection.transaction.asked(address, count), address.params],
    rcpt_ok(parts, connection) {
        const last = connection.transaction.rcpt_to.at(-1)
        return last && same(last, parts) ? last : Address.of(parts)
    },
    deferred({ fail_recips, mx, ...told }, hmail) {
        if (!fail_recips) return told
        return { ...told, fail_recips: among(hmail, fail_recips), mx: mx ? new HarakaMx(mx) : undefined }
    },
    bounce({ message, mx, bounced_rcpt, deferred_rcpt }, hmail) {
        const err = new Error(message)
        if (mx) err.mx = new HarakaMx(mx)
        if (deferred_rcpt) err.deferred_rcpt = among(hmail, deferred_rcpt)
        if (bounced_rcpt) err.bounced_rcpt = among(hmail, bounced_rcpt)
        return err
    },
    delivered: (told, hmail) => told.map((value, i) => (i === 6 ? among(hmail, value) : value)),
    deny([code, message, plugin, method, params, hook], subject) {
        return [code, message ?? undefined, plugin, method, argument(hook, params, subject), hook]
    },
}

// Recipients of an item: the same objects that it has.
const among = (hmail, list) => list.map((parts) => recipient(parts, hmail.todo.rcpt_to))

function argument(hook, raw, subject) {
    const made = ARGUMENTS[hook]
    return made === undefined ? (raw ?? undefined) : made(raw, subject)
}

// What `next` was given besides a code, as plain data.
function said(message) {
    if (message === undefined || message === null) return null
    if (message?.constructor?.name === 'DSN') {
        const { code, cls, sub, det, msg } = message
        return { dsn: { code, cls, sub, det, msg } }
    }
    if (message instanceof Error) return message.message
    if (typeof message !== 'object') return message
    return JSON.parse(JSON.stringify(message))
}

// The call whose method is being entered: an answer that comes before that has returned is what `run` gives.
let entering

// One call of a method, from its subject to its answer.
class Call {
    constructor(method, number, subject) {
        this.method = method
        this.number = number
        this.subject = subject
        // What was answered, once it was.
        this.code = undefined
        // Whether the plugin has said what becomes of an item; it may answer as well.
        this.decided = false
    }

    failed(err) {
        const { plugin, hook } = this.method
        natives.log.failure(`Plugin ${plugin.name} failed on hook ${hook}: ${described(err)}`)
    }

    answer(code, message) {
        // The number of anything that is none, or too big for one, is that of CONT.
        this.code = typeof code === 'number' && code >>> 0 === code ? code : 0
        // What a plugin has left may be anything; its answer counts all the same.
        let text = null
        try {
            if (message !== undefined) text = said(message) ?? null
        } catch (err) {
            this.failed(err)
        }
        const { hook } = this.method
        try {
            this.subject.end?.(hook)
        } catch (err) {
            this.failed(err)
        }
        if (entering === this) {
            if (text === null) return
            entering = undefined
        }
        try {
            ops.answer(this.number, hook, this.code, text)
        } catch (err) {
            this.failed(err)
            ops.answer(this.number, hook, this.code, null)
        }
    }

    again() {
        const stack = new Error('second call').stack
        const log = this.subject.logerror ? this.subject : logger
        log.logerror(`${this.method.plugin.name} plugin ran callback multiple times - ignoring subsequent calls`)
        log.logerror(stack)
    }

    decide() {
        if (this.code !== undefined) return
        this.decided = true
        this.answer(STOP)
    }

    fail(err) {
        const stopped = ops.stopped()
        this.failed(err)
        if (this.code !== undefined) return
        // One that was stopped has not said its word; one that threw has nothing to say.
        if (stopped) this.answer(DENYSOFT, 'plugin stopped')
        else this.answer()
    }

    begin(raw) {
        if (this.code !== undefined) return
        const { subject } = this
        const { plugin, name, hook } = this.method
        try {
            const args = argument(hook, raw, subject)
            const run = typeof name === 'function' ? name : plugin[name]
            if (typeof run !== 'function') throw new TypeError(`there is no method ${String(name)}`)
            const next = (code, message) => {
                if (this.code === undefined) this.answer(code, message)
                else if (!this.decided) this.again()
            }
            const result = run.call(plugin, next, subject, args)
            if (typeof result?.then === 'function') result.then(undefined, (err) => this.fail(err))
        } catch (err) {
            this.fail(err)
        }
    }
}

// Gives the code of the answer if there is one by then, and it is nothing but that.
exports.run = (number, expected, what, owner, handle, raw) => {
    const method = methods[number]
    const kind = what & KIND
    let subject = server
    if (kind === CONNECTION) subject = owners.get(owner) ?? new Connection(handle, owner)
    else if (kind === DELIVERY) subject = HMailItem.of(handle)
    runs(subject, expected, method.hook)
    const call = new Call(method, expected, subject)
    entering = call
    subject.begin?.(method.hook, call, what)
    if (method.hook === 'data_post') beginAfterReading(call, raw)
    else call.begin(raw)
    const { code } = call
    const told = entering !== call
    entering = undefined
    return told ? undefined : code
}

// Attachments that are being read come to their end first.
function beginAfterReading(call, raw) {
    const { subject } = call
    const streams = subject.transactionSeen?.()?.streams ?? []
    if (streams.length > 0) settled(streams).then(() => subject.resumed).then(() => call.begin(raw))
    else if (subject.resumed) subject.resumed.then(() => call.begin(raw))
    else call.begin(raw)
}

function described(err) {
    return err instanceof Error ? `${err.name}: ${err.message}\n${err.stack ?? ''}`.trimEnd() : String(err)
}

// A connection ended, or one of its transactions alone.
exports.forget = (connection, transaction) => {
    const gone = owners.get(connection)
    if (gone && !transaction) plugins.over(gone)
    const over = transaction ? [transaction] : [...(gone?.transactions ?? [])]
    for (const uuid of over) {
        owners.get(uuid)?.over()
        owners.delete(uuid)
        gone?.over(uuid)
    }
    if (transaction) return
    if (gone && server.notes.redis) gone.results.publishCore()
    owners.delete(connection)
}
