// Hook calls: what a method is called with, and its `next`.

const { Address } = require('internal/address')
const { settled } = require('internal/body')
const { Connection } = require('internal/connection')
const { HMailItem, recipient } = require('internal/hmail')
const { HarakaMx } = require('haraka-net-utils')
const logger = require('internal/logger')
const live = require('internal/live')
const plugins = require('internal/plugin')
const server = require('internal/server')

const { hook: ops } = natives
const STOP = 901
const DENYSOFT = 903

const [CONNECTION, DELIVERY] = [1, 2]

function subjectOf(kind, number, handle) {
    if (kind === CONNECTION) return live.owners.get(number) ?? new Connection(handle, number)
    return kind === DELIVERY ? HMailItem.of(handle) : server
}

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

function number(code) {
    return Number.isInteger(code) && code > 0 ? code : 0
}

// One call of a method, from its subject to its answer.
class Call {
    constructor(method, number, hook, subject) {
        this.plugin = method.plugin
        this.name = method.name
        this.number = number
        this.hook = hook
        this.subject = subject
        this.called = false
        // The plugin has said what becomes of an item, and may answer as well.
        this.decided = false
    }

    failed(err) {
        natives.log.failure(`Plugin ${this.plugin.name} failed on hook ${this.hook}: ${described(err)}`)
    }

    answer(code, message) {
        this.called = true
        // What a plugin has left may be anything; its answer counts all the same.
        let text = null
        try {
            if (message !== undefined) text = said(message) ?? null
        } catch (err) {
            this.failed(err)
        }
        try {
            this.subject.end?.()
        } catch (err) {
            this.failed(err)
        }
        try {
            ops.answer(this.number, this.hook, number(code), text)
        } catch (err) {
            this.failed(err)
            ops.answer(this.number, this.hook, number(code), null)
        }
    }

    next(code, message) {
        if (this.decided) return
        if (this.called) this.again()
        else this.answer(code, message)
    }

    again() {
        const stack = new Error('second call').stack
        const log = this.subject.logerror ? this.subject : logger
        log.logerror(`${this.plugin.name} plugin ran callback multiple times - ignoring subsequent calls`)
        log.logerror(stack)
    }

    decide() {
        if (this.called) return
        this.decided = true
        this.answer(STOP)
    }

    fail(err) {
        const stopped = ops.stopped()
        this.failed(err)
        if (this.called) return
        // One that was stopped has not said its word; one that threw has nothing to say.
        if (stopped) this.next(DENYSOFT, 'plugin stopped')
        else this.next()
    }

    begin(raw) {
        if (this.called) return
        const { plugin, name, hook, subject } = this
        try {
            const args = argument(hook, raw, subject)
            const run = typeof name === 'function' ? name : plugin[name]
            if (typeof run !== 'function') throw new TypeError(`there is no method ${String(name)}`)
            const result = run.call(plugin, (code, message) => this.next(code, message), subject, args)
            if (typeof result?.then === 'function') result.then(undefined, (err) => this.fail(err))
        } catch (err) {
            this.fail(err)
        }
    }
}

exports.run = (method, number, hook, kind, owner, handle, raw) => {
    const subject = subjectOf(kind, owner, handle)
    plugins.runs(subject, number, hook)
    const call = new Call(plugins.method(method), number, hook, subject)
    subject.begin?.(hook, call)
    if (hook !== 'data_post') {
        call.begin(raw)
        return
    }
    // Attachments that are being read come to their end first.
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
    const gone = live.owners.get(connection)
    if (gone && !transaction) plugins.over(gone)
    const over = transaction ? [transaction] : [...(gone?.transactions ?? [])]
    for (const uuid of over) {
        live.owners.get(uuid)?.over()
        live.owners.delete(uuid)
        gone?.over(uuid)
    }
    if (transaction) return
    if (gone && server.notes.redis) gone.results.publishCore()
    live.owners.delete(connection)
}
