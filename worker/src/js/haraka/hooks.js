// Hook calls: what a method is called with, and its `next`.

const { settled } = require('internal/body')
const { Connection } = require('internal/connection')
const { HMailItem, recipient } = require('internal/hmail')
const { HarakaMx } = require('haraka-net-utils')
const logger = require('internal/logger')
const { owners } = require('internal/live')
const plugins = require('internal/plugin')
const server = require('internal/server')
const { paramsOf } = require('internal/transaction')

const { hook: ops } = natives
const { methods } = plugins
const STOP = 901
const DENYSOFT = 903

// Whom a call is about; in the bits above, for a connection, what is new about it.
const [KIND, CONNECTION, DELIVERY] = [3, 1, 2]

// The arguments after `next` and the subject, from plain data.
const ARGUMENTS = {
    mail: (params, connection) => [connection.transaction.mail_from, params ?? {}],
    // The number of those before, with the address where it is not the last of the list.
    rcpt(told, connection) {
        const { address: parts, count } = typeof told === 'number' ? { count: told } : told
        const address = connection.transaction.asked(count, parts)
        return [address, parts === undefined ? paramsOf(address) : parts.params]
    },
    rcpt_ok: (parts, connection) => connection.transaction.accepted(parts),
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

const asItIs = (raw) => raw ?? undefined
const argument = (hook, raw, subject) => (ARGUMENTS[hook] ?? asItIs)(raw, subject)

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

// The number of the call whose method is being entered: an answer that comes before that has returned is what `run` gives.
let entering

function failed({ plugin, hook }, err) {
    natives.log.failure(`Plugin ${plugin.name} failed on hook ${hook}: ${described(err)}`)
}

// What a plugin has left may be anything; its answer counts all the same.
function textOf(method, message) {
    try {
        return said(message) ?? null
    } catch (err) {
        failed(method, err)
        return null
    }
}

function tell(method, number, code, text) {
    try {
        ops.answer(number, method.hook, code, text)
    } catch (err) {
        failed(method, err)
        ops.answer(number, method.hook, code, null)
    }
}

function again({ plugin }, subject) {
    const stack = new Error('second call').stack
    const log = subject.logerror ? subject : logger
    log.logerror(`${plugin.name} plugin ran callback multiple times - ignoring subsequent calls`)
    log.logerror(stack)
}

// A method threw, or its promise was rejected; `next` if it has not answered.
function fail(method, err, next) {
    const stopped = ops.stopped()
    failed(method, err)
    // One that was stopped has not said its word; one that threw has nothing to say.
    if (stopped) next?.(DENYSOFT, 'plugin stopped')
    else next?.()
}

// One call of a method, from its subject to its answer; gives the code of that if there is one by then, and it is
// nothing but that.
function enter(method, number, subject, isDelivery, raw) {
    // What was answered, once it was.
    let code
    // Whether the plugin has said what becomes of an item; it may answer as well.
    let decided = false
    const next = (given, message) => {
        if (code !== undefined) {
            if (!decided) again(method, subject)
            return
        }
        // The number of anything that is none, or too big for one, is that of CONT.
        code = typeof given === 'number' && given >>> 0 === given ? given : 0
        const text = message === undefined ? null : textOf(method, message)
        try {
            subject.end?.(method.hook)
        } catch (err) {
            failed(method, err)
        }
        if (entering === number) {
            if (text === null) return
            entering = undefined
        }
        tell(method, number, code, text)
    }
    if (isDelivery) {
        subject.begin(method.hook, () => {
            if (code !== undefined) return
            decided = true
            next(STOP)
        })
    }
    if (code === undefined) {
        const { plugin, name } = method
        try {
            // Looked for once for each method.
            const made = (method.made ??= ARGUMENTS[method.hook] ?? asItIs)
            const args = made(raw, subject)
            const run = typeof name === 'function' ? name : plugin[name]
            if (typeof run !== 'function') throw new TypeError(`there is no method ${String(name)}`)
            const result = run.call(plugin, next, subject, args)
            if (typeof result?.then === 'function') result.then(undefined, (err) => fail(method, err, code === undefined ? next : undefined))
        } catch (err) {
            fail(method, err, code === undefined ? next : undefined)
        }
    }
    const isTold = entering !== number
    entering = undefined
    return isTold ? undefined : code
}

exports.run = (at, number, what, owner, handle, raw) => {
    const method = methods[at]
    const { hook } = method
    const kind = what & KIND
    let subject = server
    if (kind === CONNECTION) subject = owners.get(owner) ?? new Connection(handle, owner)
    else if (kind === DELIVERY) subject = HMailItem.of(handle)
    plugins.runs?.(subject, number, hook)
    if (kind === CONNECTION) {
        subject.begin(hook, what)
        const unread = hook === 'data_post' ? beforeReading(subject) : undefined
        if (unread !== undefined) {
            unread.then(() => enter(method, number, subject, false, raw))
            return undefined
        }
    }
    entering = number
    return enter(method, number, subject, kind === DELIVERY, raw)
}

// Attachments that are being read come to their end first.
function beforeReading(connection) {
    const streams = connection.transactionSeen()?.streams ?? []
    return streams.length > 0 ? settled(streams).then(() => connection.resumed) : connection.resumed
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
