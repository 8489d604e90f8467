// TLS for clients: on a connection of its own, or on a socket that was in the clear so far.

const net = require('net')
const { coded } = require('internal/streams/common')
const { socket: ops } = natives

const WORDS = {
    CERT_HAS_EXPIRED: 'certificate has expired',
    CERT_NOT_YET_VALID: 'certificate is not yet valid',
    CERT_REVOKED: 'certificate revoked',
    CERT_SIGNATURE_FAILURE: 'certificate signature failure',
    DEPTH_ZERO_SELF_SIGNED_CERT: 'self-signed certificate',
    INVALID_PURPOSE: 'unsupported certificate purpose',
    SELF_SIGNED_CERT_IN_CHAIN: 'self-signed certificate in certificate chain',
    UNABLE_TO_GET_ISSUER_CERT: 'unable to get issuer certificate',
    UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'unable to get local issuer certificate',
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'unable to verify the first certificate',
}
const WRONG_NAME = 'ERR_TLS_CERT_ALTNAME_INVALID'

// PEM as one text, of texts, Buffers, objects with `pem`, and lists of them.
const pem = (given) =>
    [given ?? []]
        .flat()
        .map((one) => String(one?.pem ?? one))
        .join('\n')

const time = (seconds) => {
    const [, day, month, year, clock] = new Date(seconds * 1000).toUTCString().split(' ')
    return `${month} ${String(Number(day)).padStart(2)} ${clock} ${year} GMT`
}

function certificate(peer) {
    const names = peer.names.map((name) => (net.isIP(name) ? `IP Address:${name}` : `DNS:${name}`))
    return {
        subject: peer.subject,
        issuer: peer.issuer,
        subjectaltname: names.join(', '),
        valid_from: time(peer.valid_from),
        valid_to: time(peer.valid_to),
        fingerprint: peer.fingerprint,
        fingerprint256: peer.fingerprint256,
    }
}

class TLSSocket extends net.SocketBody {
    constructor(under, given) {
        const options = given ?? {}
        super({ allowHalfOpen: options.allowHalfOpen })
        this.encrypted = true
        this.authorized = false
        this.authorizationError = null
        this.alpnProtocol = null
        this.servername = null
        Object.defineProperty(this, '_facts', { value: null, writable: true })
        this._securing = true
        this._tls = options
        Object.defineProperty(this, '_under', { value: under ?? null, enumerable: false, writable: true })
        if (under) this._over(under)
    }

    // On a socket that is there; it is closed with this one.
    _over(under) {
        if (!(under instanceof net.SocketBody)) {
            process.nextTick(() => this.destroy(coded('ERR_INVALID_ARG_TYPE', 'TLS needs a net.Socket below', TypeError)))
            return
        }
        this.once('close', () => under.destroy())
        under.once('error', (err) => this.destroy(err))
        under.once('close', () => this.destroy())
        const start = () => {
            if (this.destroyed) return
            if (under._handle === null) {
                this.destroy(coded('ECONNRESET', 'the socket is closed'))
                return
            }
            this._take(under._detach())
            this._secure()
        }
        if (under.connecting) under.once('connect', () => process.nextTick(start))
        else process.nextTick(start)
    }

    _connected(opened) {
        super._connected(opened)
        if (!this.destroyed) this._secure()
    }

    _secure() {
        const options = { ...this._tls, ...this._tls.secureContext?.options }
        const host = options.servername || options.host || this.remoteAddress || 'localhost'
        const settings = {
            name: String(host),
            ca: pem(options.ca),
            cert: `${pem(options.cert)}\n${pem(options.key)}`.trim(),
            passphrase: options.passphrase ?? undefined,
            alpn: (options.ALPNProtocols ?? []).map(String),
            minVersion: options.minVersion,
        }
        if (!net.isIP(settings.name)) this.servername = settings.name
        this._attempt = natives.whenDone(ops.startTls(this._handle, settings), (err, facts) => {
            this._attempt = 0
            if (err) {
                this._handle = null
                this.destroy(Object.assign(err.code === 'ECONNRESET' || err.code === 'EPROTO' ? err : net._failure(err, 'read'), { host: options.host, port: options.port }))
                return
            }
            this._facts = facts
            this._judge(options, settings.name)
        })
    }

    _judge(options, name) {
        const { code, peer, alpn } = this._facts
        const cert = peer ? certificate(peer) : {}
        let err = null
        if (code && code !== WRONG_NAME) {
            err = coded(code, WORDS[code] ?? code)
        } else if (options.checkServerIdentity) {
            err = options.checkServerIdentity(name, cert) ?? null
        } else if (code) {
            err = mismatch(name, cert)
        }
        this.authorized = !err
        this.authorizationError = err ? err.code ?? err.message : null
        this.alpnProtocol = alpn ?? false
        if (err && options.rejectUnauthorized !== false) {
            this.destroy(err)
            return
        }
        this._securing = false
        this._touch()
        this.emit('secureConnect')
        this.emit('secure')
        if (!this.destroyed) this._opened()
    }

    getPeerCertificate() {
        return this._facts?.peer ? certificate(this._facts.peer) : {}
    }

    getProtocol() {
        return this._facts?.protocol ?? null
    }

    getCipher() {
        const name = this._facts?.cipher
        return name ? { name, standardName: name, version: this._facts.protocol } : {}
    }

    getCertificate() {
        return {}
    }

    getEphemeralKeyInfo() {
        return {}
    }

    getFinished() {}

    getSession() {}

    getTLSTicket() {}

    isSessionReused() {
        return false
    }

    setMaxSendFragment() {
        return true
    }

    setServername() {}

    disableRenegotiation() {}

    enableTrace() {}

    renegotiate(_options, callback) {
        const err = coded('ERR_TLS_RENEGOTIATION_DISABLED', 'TLS session renegotiation disabled for this socket')
        if (callback) process.nextTick(callback, err)
        return false
    }
}

function mismatch(host, cert) {
    const reason = net.isIP(host)
        ? `IP: ${host} is not in the cert's list: ${(cert.subjectaltname ?? '').replace(/IP Address:/g, '')}`
        : `Host: ${host}. is not in the cert's altnames: ${cert.subjectaltname ?? ''}`
    const err = coded(WRONG_NAME, `Hostname/IP does not match certificate's altnames: ${reason}`)
    return Object.assign(err, { reason, host, cert })
}

const matches = (pattern, host) => {
    if (!pattern.startsWith('*.')) return pattern === host
    const at = host.indexOf('.')
    return at > 0 && host.slice(at) === pattern.slice(1)
}

exports.checkServerIdentity = (given, cert) => {
    const host = String(given).toLowerCase().replace(/\.$/, '')
    const listed = (cert.subjectaltname ?? '').split(', ').filter(Boolean)
    if (net.isIP(host)) return listed.includes(`IP Address:${host}`) ? undefined : mismatch(host, cert)
    const names = listed.filter((name) => name.startsWith('DNS:')).map((name) => name.slice(4).toLowerCase())
    const all = names.length > 0 ? names : [cert.subject?.CN ?? []].flat().map((name) => name.toLowerCase())
    return all.some((name) => matches(name, host)) ? undefined : mismatch(host, cert)
}

exports.connect = (...args) => {
    // As net.connect, with options also after port and host.
    const list = [...args]
    const callback = typeof list.at(-1) === 'function' ? list.pop() : undefined
    const late = list.length > 1 && list.at(-1) !== null && typeof list.at(-1) === 'object' ? list.pop() : {}
    const [first] = net._normalized(list)
    const options = { rejectUnauthorized: process.env.NODE_TLS_REJECT_UNAUTHORIZED !== '0', ...first, ...late }
    const socket = new TLSSocket(options.socket, options)
    if (callback) socket.once('secureConnect', callback)
    if (options.timeout) socket.setTimeout(options.timeout)
    if (options.signal) net._abortable(socket, options.signal)
    if (!options.socket) socket.connect(options)
    return socket
}

class SecureContext {
    constructor(options) {
        this.context = {}
        Object.defineProperty(this, 'options', { value: options ?? {} })
    }
}

exports.TLSSocket = TLSSocket
exports.SecureContext = SecureContext
exports.createSecureContext = (options) => new SecureContext(options)
exports.createServer = () => {
    throw coded('ERR_METHOD_NOT_IMPLEMENTED', 'tls.createServer: the server offers TLS on its own ports; see tls.ini')
}
exports.getCiphers = () => [
    'tls_aes_256_gcm_sha384', 'tls_aes_128_gcm_sha256', 'tls_chacha20_poly1305_sha256',
    'ecdhe-ecdsa-aes256-gcm-sha384', 'ecdhe-ecdsa-aes128-gcm-sha256', 'ecdhe-ecdsa-chacha20-poly1305',
    'ecdhe-rsa-aes256-gcm-sha384', 'ecdhe-rsa-aes128-gcm-sha256', 'ecdhe-rsa-chacha20-poly1305',
]
exports.rootCertificates = []
exports.DEFAULT_ECDH_CURVE = 'auto'
exports.DEFAULT_MAX_VERSION = 'TLSv1.3'
exports.DEFAULT_MIN_VERSION = 'TLSv1.2'
