// `haraka-net-utils`, where a plugin does not bring its own.

const net = require('net')
const os = require('os')
const config = require('haraka-config')

const ops = natives.net

// Lazily: what looks up names is not needed to read addresses.
const lookups = () => require('dns').promises

exports.config = config

exports.ip_to_long = (ip) => net.isIPv4(ip) && ip.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0)
exports.long_to_ip = (number) => [24, 16, 8, 0].map((bits) => Math.floor(number / 2 ** bits) % 256).join('.')
exports.dec_to_hex = (number) => number.toString(16)
exports.hex_to_dec = (text) => parseInt(text, 16)

exports.is_local_ipv4 = (ip) => net.isIPv4(ip) && ops.isLocal(ip)
exports.is_local_ipv6 = (ip) => net.isIPv6(ip) && (ops.isLocal(ip) || ops.isPrivate(ip))
exports.is_private_ipv4 = (ip) => net.isIPv4(ip) && ops.isPrivate(ip) && !ops.isLocal(ip)
exports.is_private_ip = (ip) => net.isIP(ip) !== 0 && ops.isPrivate(ip)
exports.is_rfc1918 = exports.is_private_ip

exports.on_local_interface = (ip) =>
    Object.values(os.networkInterfaces?.() ?? {})
        .flat()
        .some(({ address }) => address === ip)

exports.is_local_ip = (ip) =>
    exports.on_local_interface(ip) || (net.isIPv4(ip) ? exports.is_local_ipv4(ip) : exports.is_local_ipv6(ip))

exports.is_local_host = async (host) => {
    const own = exports.get_primary_host_name()
    if (host === own) return true
    const there = net.isIP(host) ? [host] : await exports.get_ips_by_host(host)
    const here = await exports.get_ips_by_host(own)
    return there.some((ip) => exports.is_local_ip(ip) || here.includes(ip))
}

exports.is_ip_literal = (host) => {
    const inside = /^\[(?:IPv6:)?(.*)\]$/i.exec(host)
    return inside !== null && net.isIP(inside[1]) !== 0
}
exports.is_ipv4_literal = (host) => /^\[(\d{1,3}\.){3}\d{1,3}\]$/.test(host)

exports.same_ipv4_network = (ip, list) => {
    const network = (one) => one.split('.').slice(0, 3).join('.')
    return net.isIPv4(ip) && (list ?? []).some((one) => net.isIPv4(one) && network(one) === network(ip))
}

// Whether both texts are in the text, without overlap.
exports.octets_in_string = (text, a, b) => {
    const [first, second] = b.length >= a.length ? [b, a] : [a, b]
    const at = b.length >= a.length ? text.lastIndexOf(first) : text.indexOf(first)
    return at >= 0 && (text.slice(0, at) + text.slice(at + first.length)).includes(second)
}

// Whether a host name is made from an address: two of its octets, or all of it in hexadecimal.
exports.is_ip_in_str = (ip, name) => {
    if (!ip || !name || !net.isIPv4(ip)) return false
    const host = String(require('haraka-tld').split_hostname(name, 1)[0])
    const octets = ip.split('.')
    if (exports.octets_in_string(host, octets[2], octets[3])) return true
    if (exports.octets_in_string(host, octets[0], octets[1])) return true
    let rest = host
    for (const octet of octets) {
        const hex = Number(octet).toString(16).padStart(2, '0')
        if (!rest.includes(hex)) return false
        rest = rest.replace(hex, '')
    }
    return true
}

const V4 = '(?:(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)\\.){3}(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)'
const V6 = '(?:[0-9a-fA-F]{0,4}:){2,7}(?:[0-9a-fA-F]{1,4}|' + V4 + ')?'
exports.get_ipany_re = (prefix = '', suffix = '', flags = 'mg') => new RegExp(`${prefix}(${V4}|${V6})${suffix}`, flags)

exports.getHostIPs = async (host) => {
    const found = await Promise.allSettled([
        Promise.resolve().then(() => lookups().resolve6(host)),
        Promise.resolve().then(() => lookups().resolve4(host)),
    ])
    return {
        addrs: found.flatMap(({ value }) => value ?? []),
        errors: found.filter(({ status }) => status === 'rejected').map(({ reason }) => reason),
    }
}

exports.get_ips_by_host = async (host, done) => {
    const { addrs, errors } = await exports.getHostIPs(host)
    const ips = [...new Set(addrs)]
    done?.(errors, ips)
    return ips
}

exports.ipv6_reverse = (ip) => ops.reverse(ip)
exports.ipv6_bogus = (ip) => !net.isIPv6(ip) || ops.isBogus(ip)
exports.normalize_ip = (ip) => ops.canonical(String(ip)) ?? null

// A list, or an object whose keys are one: addresses, networks and names.
exports.ip_in_list = (list, ip) => {
    if (list === undefined || list === null) return false
    const items = Array.isArray(list) ? list : Object.keys(list)
    return items.includes(ip) || (net.isIP(ip) !== 0 && items.some((item) => ops.contains(String(item), ip)))
}

exports.get_primary_host_name = () => config.get('me') || os.hostname()

exports.get_public_ip = async (done) => {
    const configured = config.get('smtp.ini').main.public_ip || null
    done?.(null, configured)
    return configured
}

class HarakaMx {
    constructor(from = {}, domain) {
        if (from instanceof HarakaMx) return from
        if (typeof from === 'string') this.read(from)
        else this.take(from)
        this.priority ??= 0
        if (domain) this.from_dns ??= domain.toLowerCase()
        this.bind_helo ??= exports.get_primary_host_name()
    }

    take(from) {
        const names = ['exchange', 'path', 'priority', 'port', 'bind', 'bind_helo', 'using_lmtp']
        for (const name of [...names, 'auth_user', 'auth_pass', 'auth_type', 'from_dns']) {
            if (from[name] !== undefined && from[name] !== null) this[name] = from[name]
        }
    }

    read(text) {
        if (text.includes('mtp://')) {
            const url = new URL(text)
            if (url.protocol === 'lmtp:') this.using_lmtp = true
            if (url.hostname) this.exchange = url.hostname.toLowerCase().replace(/^\[(.*)\]$/, '$1')
            if (url.port) this.port = Number(url.port)
            if (url.username) this.auth_user = decodeURIComponent(url.username)
            if (url.password) this.auth_pass = decodeURIComponent(url.password)
            return
        }
        const literal = /^\[([^\]]+)\](?::(\d+))?$/.exec(text)
        const named = net.isIPv6(text) ? null : /^(.*):(\d+)$/.exec(text)
        const [, host, port] = literal ?? named ?? [text, text]
        this.exchange = host.toLowerCase()
        if (port >= 1 && port <= 65535) this.port = Number(port)
    }

    toUrl() {
        if (this.path) return `file://${this.exchange || 'localhost'}${this.path}`
        const host = net.isIPv6(this.exchange) ? `[${this.exchange}]` : this.exchange
        const user = this.auth_user ? `${this.auth_user}:****@` : ''
        return `${this.using_lmtp ? 'lmtp' : 'smtp'}://${user}${host}${this.port ? `:${this.port}` : ''}`
    }

    toString() {
        return `MX ${this.priority} ${this.toUrl()}${this.from_dns ? ' (via DNS)' : ''}`
    }
}
exports.HarakaMx = HarakaMx

// What the DNS says now and will say again: no such name, no such records.
const SETTLED = ['ENOTFOUND', 'ENODATA', 'NOTFOUND']

exports.get_mx = async (raw, done) => {
    const domain = String(raw).toLowerCase().replace(/\.$/, '')
    try {
        const found = await lookups().resolveMx(domain)
        if (found.length > 0) {
            const list = found.map((mx) => new HarakaMx(mx, domain))
            done?.(null, list)
            return list
        }
    } catch (err) {
        if (!SETTLED.includes(err.code)) {
            if (!done) throw err
            done(err, [])
            return undefined
        }
    }
    const list = await exports.get_implicit_mx(domain)
    done?.(null, list)
    return list
}

exports.get_implicit_mx = async (domain) => {
    const { addrs } = await exports.getHostIPs(domain)
    return addrs.map((ip) => new HarakaMx(ip, domain))
}

exports.resolve_mx_hosts = async (list) => {
    const resolved = list.map(async (mx) => {
        if (!mx.exchange || net.isIP(mx.exchange)) return [mx]
        const { addrs } = await exports.getHostIPs(mx.exchange)
        return addrs.map((ip) => ({ ...mx, exchange: ip, from_dns: mx.exchange }))
    })
    return (await Promise.all(resolved)).flat()
}

exports.parse_proxy_line = (line) => {
    const text = String(line ?? '').replace(/\r?\n$/, '')
    const found = /^(?:PROXY )?(TCP[46]) (\S+) (\S+) (\d+) (\d+)$/.exec(text)
    if (!found) return null
    const [, proto, src_ip, dst_ip, src_port, dst_port] = found
    const family = Number(proto.at(-1))
    if (net.isIP(src_ip) !== family || net.isIP(dst_ip) !== family) return null
    return { type: 'haproxy', proto, src_ip, src_port, dst_ip, dst_port }
}

exports.is_haproxy_allowed = (ip) => {
    const { haproxy } = config.get('connection.ini', { booleans: ['+haproxy.enabled'] })
    const normal = exports.normalize_ip(ip)
    if (!normal || haproxy?.enabled === false) return false
    return exports.ip_in_list([].concat(haproxy?.hosts ?? []).filter(Boolean), normal)
}

// Lets a socket tell of each line.
exports.add_line_processor = (socket, { max_line_length = 4 << 20 } = {}) => {
    let rest = ''
    socket.on('data', (data) => {
        const lines = (rest + data).split(/(?<=\n)/)
        rest = lines.length > 0 && !lines.at(-1).endsWith('\n') ? lines.pop() : ''
        for (const line of lines) socket.emit('line', line)
        if (rest.length > max_line_length) {
            rest = ''
            socket.emit('error', new Error(`Line length exceeded ${max_line_length} bytes`))
        }
    })
    socket.on('end', () => {
        if (rest) socket.emit('line', rest)
        rest = ''
    })
}

let LineSocket
Object.defineProperty(exports, 'LineSocket', {
    enumerable: true,
    get() {
        LineSocket ??= class extends net.Socket {
            constructor(options) {
                super(options)
                exports.add_line_processor(this)
            }
        }
        return LineSocket
    },
})

Object.defineProperty(exports, 'HostPool', { enumerable: true, get: () => require('internal/host_pool') })

exports.parseSockaddr = (text, port = 0) => {
    if (/^\d+$/.test(text)) return { host: '::', port: Number(text) }
    if (net.isIPv6(text)) return { host: text.toLowerCase(), port }
    const found = /^\[([0-9a-fA-F:.]+)\](?::(\d+))?$/.exec(text) ?? /^([\w.-]+)(?::(\d+))?$/.exec(text)
    if (found) return { host: found[1].toLowerCase(), port: found[2] === undefined ? port : Number(found[2]) }
    if (text.includes('/')) return { path: text }
    throw new Error(`Invalid socket address ${text}`)
}

class Endpoint {
    constructor({ path, mode, address, host, port }) {
        if (path) Object.assign(this, mode ? { path, mode } : { path })
        else Object.assign(this, { host: (address || host || '::0') === '::' ? '::0' : address || host || '::0', port: Number(port) })
    }

    // Has a server listen here.
    async bind(server, options) {
        const { rm, chmod } = require('fs').promises
        const place = this.path ? { path: this.path } : { host: this.host, port: this.port }
        if (this.path) await rm(this.path, { force: true })
        await new Promise((resolve, reject) => {
            server.once?.('error', reject)
            server.listen({ ...options, ...place }, () => {
                server.off?.('error', reject)
                resolve()
            })
        })
        if (this.mode) await chmod(this.path, parseInt(this.mode, 8))
    }

    toString() {
        if (this.path) return this.mode ? `${this.path}:${this.mode}` : this.path
        return this.host.includes(':') ? `[${this.host}]:${this.port}` : `${this.host}:${this.port}`
    }
}
exports.Endpoint = Endpoint

// An error is given back, not thrown.
exports.endpoint = (address, port) => {
    try {
        if (typeof address === 'object') return new Endpoint(address)
        const parsed = exports.parseSockaddr(String(address), port)
        const mode = /^(.*):([0-7]{3})$/.exec(parsed.path ?? '')
        return new Endpoint(mode ? { path: mode[1], mode: mode[2] } : parsed)
    } catch (err) {
        return err
    }
}
