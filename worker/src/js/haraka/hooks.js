// Hook calls: what a method is called with, and its `next`.

const { Address } = require('internal/address')
const { settled } = require('internal/body')
const { Connection } = require('internal/connection')
const { HMailItem, recipient } = require('internal/hmail')
const { HarakaMx } = require('haraka-net-utils')
const logger = require('internal/logger')
const live = require('internal/live')
const plugins = require('internal/plugin')

const { hook: ops } = natives
const STOP = 901
const DENYSOFT = 903

function subjectOf(given) {
    switch (given.kind) {
        case 'connection':
            return live.owners.get(given.number) ?? new Connection(given.handle, given.number)
        case 'hmail':
            return HMailItem.of(given.handle)
        default:
            return globalThis.server
    }
}

const same = (a, parts) => a.user === parts.user && a.host === parts.host

// The arguments after `next` and the subject, from plain data.
const ARGUMENTS = {
    mail: ({ params }, connection) => [connection.transaction.mail_from, params],
    rcpt: ({ address, params }, connection) => [connection.transaction.asked(address), params],
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

const argument = (hook, raw, subject) => (ARGUMENTS[hook] ? ARGUMENTS[hook](raw, subject) : (raw ?? undefined))

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

exports.run = (method, call, hook, given, raw) => {
    const { plugin, name } = plugins.method(method)
    const subject = subjectOf(given)
    plugins.over(subject)
    plugins.running.set(subject, { call, hook })
    let called = false
    let decided = false
    const answer = (code, message) => {
        called = true
        // What a plugin has left may be anything; its answer counts all the same.
        const text = unless(() => said(message)) ?? null
        unless(() => subject.end?.())
        const give = (text) => {
            ops.answer(call, hook, number(code), text)
            return true
        }
        if (!unless(() => give(text))) give(null)
    }

    const unless = (step) => {
        try {
            return step()
        } catch (err) {
            natives.log.failure(`Plugin ${plugin.name} failed on hook ${hook}: ${described(err)}`)
            return undefined
        }
    }

    const next = (code, message) => {
        // A plugin that has said what becomes of an item may answer as well.
        if (decided) return
        if (called) {
            const stack = new Error('second call').stack
            const log = subject.logerror ? subject : logger
            log.logerror(`${plugin.name} plugin ran callback multiple times - ignoring subsequent calls`)
            log.logerror(stack)
            return
        }
        answer(code, message)
    }

    const fail = (err) => {
        const stopped = ops.stopped()
        natives.log.failure(`Plugin ${plugin.name} failed on hook ${hook}: ${described(err)}`)
        if (called) return
        // One that was stopped has not said its word; one that threw has nothing to say.
        if (stopped) next(DENYSOFT, 'plugin stopped')
        else next()
    }

    const begin = () => {
        try {
            start()
        } catch (err) {
            fail(err)
        }
    }

    const start = () => {
        if (called) return
        const args = argument(hook, raw, subject)
        const run = typeof name === 'function' ? name : plugin[name]
        if (typeof run !== 'function') throw new TypeError(`there is no method ${String(name)}`)
        const result = run.call(plugin, next, subject, args)
        if (typeof result?.then === 'function') result.then(undefined, fail)
    }

    subject.begin?.(hook, () => {
        if (called) return
        decided = true
        answer(STOP)
    })

    // Attachments that are being read come to their end first.
    const streams = hook === 'data_post' ? (subject.transactionSeen?.()?.streams ?? []) : []
    if (streams.length > 0) settled(streams).then(() => subject.resumed).then(begin)
    else if (hook === 'data_post' && subject.resumed) subject.resumed.then(begin)
    else begin()
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
        gone?.transactions.delete(uuid)
    }
    if (!transaction) live.owners.delete(connection)
}
