// DNS questions, answered by the worker's resolver or by servers that a Resolver names.

const process = require('process')
const { coded } = require('internal/streams/common')
const { dns, net } = natives

const bare = (records, { ttl } = {}) => (ttl ? records : records.map(({ address }) => address))
const same = (records) => records

// Type of question, the name that errors show, what becomes of the answer.
const KINDS = {
    A: ['queryA', bare],
    AAAA: ['queryAaaa', bare],
    ANY: ['queryAny', same],
    CAA: ['queryCaa', same],
    CNAME: ['queryCname', same],
    MX: ['queryMx', same],
    NAPTR: ['queryNaptr', same],
    NS: ['queryNs', same],
    PTR: ['queryPtr', same],
    SOA: ['querySoa', ([first]) => first],
    SRV: ['querySrv', same],
    TXT: ['queryTxt', same],
}
const METHODS = {
    resolve4: 'A', resolve6: 'AAAA', resolveAny: 'ANY', resolveCaa: 'CAA', resolveCname: 'CNAME', resolveMx: 'MX',
    resolveNaptr: 'NAPTR', resolveNs: 'NS', resolvePtr: 'PTR', resolveSoa: 'SOA', resolveSrv: 'SRV', resolveTxt: 'TXT',
}

function failure(err, syscall, hostname) {
    const out = new Error(`${syscall} ${err.code} ${hostname}`)
    Object.assign(out, { errno: undefined, code: err.code, syscall, hostname })
    return out
}

function named(name, what = 'name') {
    if (typeof name === 'string') return name
    throw coded('ERR_INVALID_ARG_TYPE', `The "${what}" argument must be of type string. Received ${name === null ? 'null' : typeof name}`, TypeError)
}

// What c-ares takes for the name of a host, and the colons of addresses.
const SPELLED = /^[\w\-./*:%]*$/

const limits = { servers: [] }

// Questions of one resolver that are under way.
class Questions {
    constructor(options) {
        this.options = options
        this.asked = new Map()
    }

    ask(kind, name, syscall) {
        if (!SPELLED.test(name)) return Promise.reject(failure({ code: 'EBADNAME' }, syscall, name))
        return new Promise((resolve, reject) => {
            const fail = (err) => reject(failure(err, syscall, name))
            const number = natives.whenDone(dns.ask(kind, name, this.options()), (err, records) => {
                this.asked.delete(number)
                if (err) fail(err)
                else resolve(records)
            })
            this.asked.set(number, fail)
        })
    }

    cancel() {
        for (const [number, fail] of this.asked) {
            natives.callOff(number)
            fail({ code: 'ECANCELLED' })
        }
        this.asked.clear()
    }
}

// The methods that ask, with promises.
function methods(questions) {
    const all = {}
    for (const [method, kind] of Object.entries(METHODS)) {
        const [syscall, shape] = KINDS[kind]
        all[method] = async (name, options) => shape(await questions.ask(kind, named(name), syscall), options)
    }
    all.resolve = async (name, kind = 'A') => {
        const known = KINDS[kind]
        if (!known) {
            throw coded('ERR_INVALID_ARG_VALUE', `The argument 'rrtype' is invalid. Received '${kind}'`, TypeError)
        }
        return known[1](await questions.ask(kind, named(name), known[0]))
    }
    all.reverse = async (ip) => {
        if (!net.isIP(named(ip))) throw failure({ code: 'EINVAL' }, 'getHostByAddr', ip)
        return questions.ask('REVERSE', ip, 'getHostByAddr').catch((err) => {
            // As c-ares tells it, whatever kept it from finding a name.
            throw err.code === 'ECANCELLED' ? err : failure({ code: 'ENOTFOUND' }, 'getHostByAddr', ip)
        })
    }
    return all
}

let order = 'verbatim'

async function lookup(hostname, given) {
    const options = typeof given === 'number' ? { family: given } : given ?? {}
    const families = { 4: 4, IPv4: 4, 6: 6, IPv6: 6 }
    const family = families[options.family] ?? 0
    if (!hostname) return options.all ? [] : { address: null, family: family === 6 ? 6 : 4 }
    const known = net.isIP(hostname)
    const all = known ? [{ address: hostname, family: known }] : await addresses(named(hostname, 'hostname'), family)
    return options.all ? all : all[0]
}

// Addresses as the system finds them. One family that fails does no harm if the other has some.
async function addresses(name, family) {
    const wanted = [4, 6].filter((number) => family === 0 || family === number)
    const answers = await Promise.allSettled(
        wanted.map(async (number) => {
            const found = await usual.ask(`HOST${number}`, name, 'getaddrinfo')
            return found.map((address) => ({ address, family: number }))
        }),
    )
    if (order === 'ipv6first') answers.reverse()
    const found = answers.filter((a) => a.status === 'fulfilled').flatMap((a) => a.value)
    if (found.length > 0) return found
    const passing = answers.some((a) => !['ENOTFOUND', 'ENODATA'].includes(a.reason.code))
    const code = passing ? 'EAI_AGAIN' : 'ENOTFOUND'
    throw Object.assign(failure({ code }, 'getaddrinfo', name), { errno: passing ? -3001 : -3008 })
}

async function lookupService(address, port) {
    const kind = net.isIP(named(address, 'address'))
    if (!kind) throw coded('ERR_INVALID_ARG_VALUE', `The argument 'address' is invalid. Received '${address}'`, TypeError)
    const [hostname] = await usual.ask('REVERSE', address, 'getnameinfo')
    return { hostname, service: String(port) }
}

// With a callback as the last argument.
function called(run, spread) {
    return function withCallback(...args) {
        const done = args.pop()
        if (typeof done !== 'function') {
            throw coded('ERR_INVALID_ARG_TYPE', 'The "callback" argument must be of type function. Received undefined', TypeError)
        }
        run(...args).then(
            // Outside of the promise, so that what it throws is no rejection.
            (value) => process.nextTick(() => (spread ? spread(done, value) : done(null, value))),
            (err) => process.nextTick(done, err),
        )
    }
}

const withCallbacks = (all) => Object.fromEntries(Object.entries(all).map(([name, run]) => [name, called(run)]))

function checkedServers(servers) {
    if (!Array.isArray(servers)) throw coded('ERR_INVALID_ARG_TYPE', 'The "servers" argument must be an instance of Array', TypeError)
    for (const server of servers) {
        const text = String(server)
        const [, ip] = /^\[?([^\]]+?)\]?$/.exec(text) ?? []
        const host = net.isIP(ip) ? ip : /^(?:\[([^\]]+)\]|([^:]+)):\d+$/.exec(text)?.slice(1).find(Boolean)
        if (!net.isIP(host ?? '')) throw coded('ERR_INVALID_IP_ADDRESS', `Invalid IP address: ${text}`, TypeError)
    }
    return servers.map((server) => String(server).replace(/^\[([^\]]+)\]$/, '$1'))
}

const usual = new Questions(() => limits)
const promises = { ...methods(usual), lookup, lookupService }
const callbacks = withCallbacks(methods(usual))
callbacks.lookup = called(lookup, (done, found) =>
    Array.isArray(found) ? done(null, found) : done(null, found.address, found.family),
)
callbacks.lookupService = called(lookupService, (done, { hostname, service }) => done(null, hostname, service))
const { promisify } = require('util')
if (promisify?.custom) Object.defineProperty(callbacks.lookup, promisify.custom, { value: lookup, enumerable: false })
if (promisify?.custom) Object.defineProperty(callbacks.lookupService, promisify.custom, { value: lookupService, enumerable: false })

// Servers and limits of its own.
const resolver = (shape) =>
    class Resolver {
        #limits
        #questions

        constructor({ timeout = -1, tries } = {}) {
            this.#limits = { servers: [], ...(timeout > 0 ? { timeout } : {}), ...(tries ? { tries } : {}) }
            this.#questions = new Questions(() => ({ ...this.#limits, servers: this.#limits.servers.length > 0 ? this.#limits.servers : limits.servers }))
            for (const [name, run] of Object.entries(shape(methods(this.#questions)))) {
                Object.defineProperty(this, name, { value: run, writable: true, configurable: true })
            }
        }

        setServers(servers) {
            this.#limits.servers = checkedServers(servers)
        }

        getServers() {
            return this.#limits.servers.length > 0 ? [...this.#limits.servers] : getServers()
        }

        setLocalAddress() {}

        cancel() {
            this.#questions.cancel()
        }
    }

const getServers = () => (limits.servers.length > 0 ? [...limits.servers] : dns.servers())
const setServers = (servers) => {
    limits.servers = checkedServers(servers)
}
const setDefaultResultOrder = (wanted) => {
    order = wanted
}
const getDefaultResultOrder = () => order

const CODES = [
    'NODATA', 'FORMERR', 'SERVFAIL', 'NOTFOUND', 'NOTIMP', 'REFUSED', 'BADQUERY', 'BADNAME', 'BADFAMILY', 'BADRESP',
    'CONNREFUSED', 'TIMEOUT', 'EOF', 'FILE', 'NOMEM', 'DESTRUCTION', 'BADSTR', 'BADFLAGS', 'NONAME', 'BADHINTS',
    'NOTINITIALIZED', 'LOADIPHLPAPI', 'ADDRGETNETWORKPARAMS', 'CANCELLED',
]
const codes = Object.fromEntries(CODES.map((code) => [code, `E${code}`]))
const shared = { getServers, setServers, setDefaultResultOrder, getDefaultResultOrder, ...codes }

Object.assign(exports, callbacks, shared, { Resolver: resolver(withCallbacks), ADDRCONFIG: 32, V4MAPPED: 8, ALL: 16 })
exports.promises = { ...promises, ...shared, Resolver: resolver(same) }
