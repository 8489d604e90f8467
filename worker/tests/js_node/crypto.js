// Digests, keys, ciphers, signatures.
const crypto = require('crypto')

// Made for this test with OpenSSL; it protects nothing.
const RSA = crypto.createPrivateKey(require('./keys/test.json').rsa)

module.exports = async (out) => {
    const tried = (run) => {
        try {
            return String(run())
        } catch (err) {
            return `${err.name} ${err.code} ${err.message}`
        }
    }
    for (const name of ['md5', 'sha1', 'SHA224', 'sha256', 'RSA-SHA256', 'sha384', 'sha512', 'sha512-256']) {
        out(name, crypto.createHash(name).update('a').update(Buffer.from('b')).digest('hex'), crypto.createHmac(name, 'key').update('data').digest('base64'))
    }
    const sum = crypto.createHash('sha256').update('a')
    out(sum.copy().update('b').digest('hex'), sum.digest('base64url'), tried(() => sum.digest()), tried(() => sum.update('x')))
    out(tried(() => crypto.createHash('nope')), tried(() => crypto.createHmac('nope', 'k')), tried(() => crypto.createHash('md5').update(5)))
    out(crypto.createHmac('sha256', 'k'.repeat(200)).update('x').digest('hex'))
    const stream = crypto.createHash('sha1')
    stream.end('streamed')
    await new Promise((resolve) => stream.on('finish', resolve))
    out(stream.read().toString('hex'))
    for (const [name, keys, vectors] of [['aes-128-cbc', 16, 16], ['aes-192-cbc', 24, 16], ['aes-256-cbc', 32, 16], ['aes-256-ctr', 32, 16], ['aes-128-ecb', 16, 0], ['aes-256-gcm', 32, 12], ['aes-128-gcm', 16, 16]]) {
        const [key, iv] = [Buffer.alloc(keys, 7), vectors ? Buffer.alloc(vectors, 9) : null]
        const gcm = name.endsWith('gcm')
        const cipher = crypto.createCipheriv(name, key, iv)
        if (gcm) cipher.setAAD(Buffer.from('extra'))
        const made = Buffer.concat([cipher.update('some text that is longer than'), cipher.update(' a block'), cipher.final()])
        out(name, made.toString('hex'), gcm ? cipher.getAuthTag().toString('hex') : '')
        const back = crypto.createDecipheriv(name, key, iv)
        if (gcm) back.setAAD(Buffer.from('extra')).setAuthTag(cipher.getAuthTag())
        out(back.update(made.toString('base64'), 'base64', 'utf8') + back.final('utf8'))
        const wrong = crypto.createDecipheriv(name, Buffer.alloc(keys, 8), iv)
        if (gcm) wrong.setAuthTag(cipher.getAuthTag())
        if (!name.endsWith('ctr')) out(tried(() => (wrong.update(made), wrong.final())))
    }
    out(tried(() => crypto.createCipheriv('aes-256-cbc', 'short', Buffer.alloc(16))), tried(() => crypto.createCipheriv('nope', 'k', 'i')), tried(() => crypto.createCipheriv('aes-128-cbc', Buffer.alloc(16), 'x')))
    out(crypto.pbkdf2Sync('pw', 'salt', 1000, 20, 'sha1').toString('hex'), crypto.pbkdf2Sync('pw', 'salt', 10, 40, 'sha512').toString('hex'))
    out(crypto.scryptSync('pw', 'salt', 32, { N: 1024 }).toString('hex'), await new Promise((resolve) => crypto.scrypt('pw', 'salt', 16, (err, key) => resolve(key.toString('hex')))))
    out(await new Promise((resolve) => crypto.pbkdf2('pw', 'salt', 5, 8, 'sha256', (err, key) => resolve(key.toString('hex')))), tried(() => crypto.pbkdf2Sync('p', 's', 0, 1, 'sha1')), tried(() => crypto.pbkdf2Sync('p', 's', 1, 1, 'nope')))
    out(Buffer.from(crypto.hkdfSync('sha256', 'key', 'salt', 'info', 50)).toString('hex'))
    const data = Buffer.from('to be signed')
    for (const digest of ['sha256', 'RSA-SHA256', 'sha512']) {
        const signature = crypto.createSign(digest).update(data).sign(RSA, 'base64')
        out(digest, signature, crypto.createVerify(digest).update(data).verify(crypto.createPublicKey(RSA), signature, 'base64'), crypto.createVerify(digest).update('other').verify(crypto.createPublicKey(RSA), signature, 'base64'))
    }
    for (const name of ['rsa', 'rsa1024']) {
        const key = require('./keys/test.json')[name]
        for (const digest of ['md5', 'sha1', 'sha224', 'sha256', 'RSA-SHA384', 'sha512']) {
            const signature = crypto.sign(digest, data, key)
            const verified = (text) => crypto.verify(digest, Buffer.from(text), crypto.createPublicKey(key), signature)
            out(name, digest, signature.toString('base64'), verified('to be signed'), verified('other'))
        }
    }
    out(RSA.type, RSA.asymmetricKeyType, RSA.asymmetricKeyDetails.modulusLength, RSA.asymmetricKeyDetails.publicExponent)
    const open = crypto.createPublicKey(RSA)
    out(open.export({ type: 'spki', format: 'pem' }), open.export({ type: 'pkcs1', format: 'der' }).toString('hex'), RSA.export({ type: 'pkcs1', format: 'pem' }) === require('./keys/test.json').rsa)
    out(crypto.verify('sha256', data, open.export({ type: 'spki', format: 'pem' }), crypto.sign('sha256', data, { key: require('./keys/test.json').rsa })))
    const ed = crypto.createPrivateKey(require('./keys/test.json').ed25519)
    out(ed.asymmetricKeyType, crypto.sign(null, data, ed).toString('hex'), crypto.verify(null, data, crypto.createPublicKey(ed), crypto.sign(null, data, ed)))
    const der = crypto.createPublicKey({ key: crypto.createPublicKey(ed).export({ type: 'spki', format: 'der' }), format: 'der', type: 'spki' })
    out(der.export({ type: 'spki', format: 'der' }).toString('base64'), crypto.verify(undefined, data, der, Buffer.alloc(64)))
    const pair = crypto.generateKeyPairSync('ed25519')
    out(crypto.verify(null, data, pair.publicKey, crypto.sign(null, data, pair.privateKey)))
    const ec = crypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
    out(ec.privateKey.asymmetricKeyDetails.namedCurve, crypto.verify('sha256', data, ec.publicKey, crypto.sign('sha256', data, ec.privateKey)))
    out(tried(() => crypto.createPrivateKey('nothing')).split(':')[0], tried(() => crypto.createSign('nope')))
    out(crypto.randomBytes(8).length, crypto.randomUUID().length, crypto.randomInt(5, 6), crypto.randomInt(10) < 10, tried(() => crypto.randomInt(5, 5)), tried(() => crypto.randomBytes(-1)))
    out(crypto.timingSafeEqual(Buffer.from('a'), Buffer.from('a')), tried(() => crypto.timingSafeEqual(Buffer.from('a'), Buffer.from('ab'))))
    out(Buffer.from(await crypto.webcrypto.subtle.digest('SHA-256', Buffer.from('x'))).toString('hex'), crypto.getHashes().includes('sha256'), crypto.getCiphers().includes('aes-256-gcm'))
    out(crypto.createSecretKey(Buffer.from('secret')).export().toString(), crypto.createHmac('sha1', crypto.createSecretKey('k', 'utf8')).update('x').digest('hex'))
}
