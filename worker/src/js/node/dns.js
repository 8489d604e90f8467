// DNS questions, answered by the worker's resolver.

const { dns, net } = natives

const KINDS = { A: 'A', AAAA: 'AAAA', MX: 'MX', TXT: 'TXT', PTR: 'PTR' }

async function ask(kind, name, syscall) {
    try {
        return await natives.outcome(dns.ask(kind, String(name)))
    } catch (err) {
        err.message = `${syscall} ${err.code} ${name}`
        throw Object.assign(err, { errno: undefined, syscall, hostname: name })
    }
}

const promises = {
    resolve4: (name) => ask('A', name, 'queryA'),
    resolve6: (name) => ask('AAAA', name, 'queryAaaa'),
    resolveMx: (name) => ask('MX', name, 'queryMx'),
    resolveTxt: async (name) => (await ask('TXT', name, 'queryTxt')).map((text) => [text]),
    reverse: (ip) => ask('PTR', ip, 'getHostByAddr'),
    resolve(name, kind = 'A') {
        switch (KINDS[kind]) {
            case 'A':
                return promises.resolve4(name)
            case 'AAAA':
                return promises.resolve6(name)
            case 'MX':
                return promises.resolveMx(name)
            case 'TXT':
                return promises.resolveTxt(name)
            default:
                return Promise.reject(Object.assign(new TypeError(`no questions of type ${kind}`), { code: 'EINVAL' }))
        }
    },
    async lookup(name, options = {}) {
        const family = typeof options === 'number' ? options : options.family
        const known = net.isIP(name)
        const all = known ? [{ address: name, family: known }] : await addresses(name, family)
        return options.all ? all : all[0]
    },
}

async function addresses(name, family) {
    const questions = []
    if (family !== 6 && family !== 'IPv6') questions.push(['resolve4', 4])
    if (family !== 4 && family !== 'IPv4') questions.push(['resolve6', 6])
    const answers = await Promise.allSettled(
        questions.map(async ([question, number]) => (await promises[question](name)).map((address) => ({ address, family: number }))),
    )
    const found = answers.filter((a) => a.status === 'fulfilled').flatMap((a) => a.value)
    if (found.length > 0) return found
    throw answers[0].reason ?? Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: 'ENOTFOUND' })
}

// With a callback as the last argument.
function called(name, spread) {
    return (...args) => {
        const done = args.pop()
        if (typeof done !== 'function') throw new TypeError('The "callback" argument must be of type function')
        promises[name](...args).then(
            (value) => (spread ? spread(done, value) : done(null, value)),
            (err) => done(err),
        )
    }
}

const callbacks = {}
for (const name of Object.keys(promises)) callbacks[name] = called(name)
callbacks.lookup = called('lookup', (done, found) =>
    Array.isArray(found) ? done(null, found) : done(null, found.address, found.family),
)

const servers = { getServers: () => [], setServers() {}, cancel() {}, setLocalAddress() {} }

class Resolver {}
Object.assign(Resolver.prototype, callbacks, servers)

class PromiseResolver {}
Object.assign(PromiseResolver.prototype, promises, servers)

const CODES = ['NODATA', 'FORMERR', 'SERVFAIL', 'NOTFOUND', 'NOTIMP', 'REFUSED', 'TIMEOUT', 'CANCELLED']
const codes = Object.fromEntries(CODES.map((code) => [code, `E${code}`]))

Object.assign(exports, callbacks, servers, codes, { Resolver })
exports.promises = { ...promises, ...servers, ...codes, Resolver: PromiseResolver }
exports.setDefaultResultOrder = () => {}
