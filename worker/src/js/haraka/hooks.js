// Hook calls: what a method is called with, and its `next`.

const { Address } = require('internal/address')
const { settled } = require('internal/body')
const { Connection } = require('internal/connection')
const { HMailItem } = require('internal/hmail')
const { HarakaMx } = require('haraka-net-utils')
const logger = require('internal/logger')
const live = require('internal/live')
const plugins = require('internal/plugin')

const { hook: ops } = natives
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
    deferred: (told) => ({ ...told, fail_recips: told.fail_recips.map(Address.of) }),
    bounce({ message, mx, bounced_rcpt, deferred_rcpt }) {
        const of = (parts) => Object.assign(Address.of(parts), { reason: parts.reason, dsn_action: 'failed' })
        return Object.assign(new Error(message), { mx: mx ? new HarakaMx(mx) : undefined, deferred_rcpt, bounced_rcpt: bounced_rcpt.map(of) })
    },
    delivered: (told) => told.map((value, i) => (i === 6 ? value.map(Address.of) : value)),
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

exports.run = (method, call, hook, given, raw) => {
    const { plugin, name } = plugins.method(method)
    const subject = subjectOf(given)
    subject.begin?.(hook)

    let called = false
    const answer = (code, message) => {
        called = true
        // What a plugin has left may be anything; its answer counts all the same.
        const text = unless(() => said(message))
        unless(() => subject.end?.())
        ops.answer(call, hook, number(code), text ?? null)
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
        natives.log.failure(`Plugin ${plugin.name} failed on hook ${hook}: ${described(err)}`)
        if (called) return
        // One that was stopped has not said its word; one that threw has nothing to say.
        if (isStop(err)) next(DENYSOFT, 'plugin stopped')
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
        const args = ARGUMENTS[hook] ? ARGUMENTS[hook](raw, subject) : (raw ?? undefined)
        const run = typeof name === 'function' ? name : plugin[name]
        if (typeof run !== 'function') throw new TypeError(`there is no method ${String(name)}`)
        const result = run.call(plugin, next, subject, args)
        if (typeof result?.then === 'function') result.then(undefined, fail)
    }

    // Attachments that are being read come to their end first.
    const streams = hook === 'data_post' ? (subject.transactionSeen?.()?.streams ?? []) : []
    if (streams.length > 0) settled(streams).then(() => subject.resumed).then(begin)
    else if (hook === 'data_post' && subject.resumed) subject.resumed.then(begin)
    else begin()
}

function isStop(err) {
    return err?.constructor?.name === 'InternalError' && err.message === 'interrupted'
}

function described(err) {
    return err instanceof Error ? `${err.name}: ${err.message}\n${err.stack ?? ''}`.trimEnd() : String(err)
}

// A connection ended, or one of its transactions alone.
exports.forget = (connection, transaction) => {
    const gone = live.owners.get(connection)
    const over = transaction ? [transaction] : [...(gone?.transactions ?? [])]
    for (const uuid of over) {
        live.owners.get(uuid)?.over()
        live.owners.delete(uuid)
        gone?.transactions.delete(uuid)
    }
    if (transaction) return
    if (gone && globalThis.server.notes.redis) gone.results.publishCore()
    live.owners.delete(connection)
}
