// Octets: made, read, written, searched, in all encodings.
const { Buffer } = require('buffer')

const tried = (run) => {
    try {
        const found = run()
        return Buffer.isBuffer(found) ? found.toString('hex') : String(found)
    } catch (err) {
        return `${err.name} ${err.code} ${err.message}`
    }
}

module.exports = (out) => {
    const show = (name, run) => out(name, tried(run))
    for (const encoding of ['utf8', 'UTF-8', 'latin1', 'binary', 'ascii', 'hex', 'base64', 'base64url', 'ucs2', 'utf16le']) {
        for (const text of ['', 'a', 'abc', 'äöü€😀', '6162zz', 'Zm9v YmFy==', '-_-_', '\ufeffx']) {
            show(`from ${encoding} ${text}`, () => Buffer.from(text, encoding))
            show(`length ${encoding} ${text}`, () => Buffer.byteLength(text, encoding))
        }
        show(`to ${encoding}`, () => Buffer.from([0xe2, 0x82, 0xac, 0x00, 0xff, 0x41]).toString(encoding))
    }
    show('unknown', () => Buffer.from('a', 'nope'))
    show('number', () => Buffer.from(5))
    show('nothing', () => Buffer.from(null))
    show('array', () => Buffer.from([1, 300, -1, '7', 2.9, NaN]))
    show('json', () => Buffer.from(JSON.parse(JSON.stringify(Buffer.from('xyz')))))
    show('old', () => new Buffer('a'))
    show('alloc', () => Buffer.alloc(5, 'ab'))
    show('alloc base64', () => Buffer.alloc(4, 'YQ==', 'base64'))
    show('alloc negative', () => Buffer.alloc(-1))
    show('alloc text', () => Buffer.alloc('5'))
    show('concat', () => Buffer.concat([Buffer.from('ab'), Buffer.from('cde')], 4))
    show('concat long', () => Buffer.concat([Buffer.from('ab')], 4))
    show('concat wrong', () => Buffer.concat([1]))
    show('compare', () => [Buffer.compare(Buffer.from('a'), Buffer.from('b')), Buffer.from('b').compare(Buffer.from('abc'), 1, 2)])
    show('equals', () => Buffer.from('a').equals(Buffer.from('a')))
    const text = Buffer.from('this is a buffer, a buffer is this')
    for (const [what, from, encoding] of [['is'], ['is', 3], ['is', -4], ['buffer', 12], ['x'], ['', 3], ['6973', 0, 'hex'], [97, 9], [97.9, 0], [Buffer.from('this'), 1]]) {
        show(`indexOf ${what} ${from}`, () => text.indexOf(what, from, encoding))
        show(`lastIndexOf ${what} ${from}`, () => text.lastIndexOf(what, from, encoding))
        show(`includes ${what}`, () => text.includes(what, from, encoding))
    }
    show('indexOf wrong', () => text.indexOf({}))
    show('slice shares', () => {
        const all = Buffer.from('abc')
        all.slice(1)[0] = 0x7a
        return all.toString() + all.subarray(-2).toString() + all.slice(5).length
    })
    show('copy', () => {
        const to = Buffer.alloc(4, '.')
        return `${Buffer.from('hello').copy(to, 1, 1)} ${to}`
    })
    show('write', () => {
        const to = Buffer.alloc(6, '.')
        return [to.write('ä€x', 1), to.write('zz', 'latin1'), to.write('6162', 4, 'hex'), to.toString('hex')]
    })
    show('write outside', () => Buffer.alloc(2).write('a', 5))
    show('fill', () => Buffer.alloc(7).fill('abc', 1, 6))
    show('fill number', () => Buffer.alloc(3).fill(257))
    show('fill outside', () => Buffer.alloc(3).fill(1, 0, 9))
    show('swap16', () => Buffer.from('0102030405060708', 'hex').swap16())
    show('swap32', () => Buffer.from('0102030405060708', 'hex').swap32())
    show('swap64', () => Buffer.from('0102030405060708', 'hex').swap64())
    show('swap wrong', () => Buffer.alloc(3).swap16())
    const numbers = { UInt8: [255], Int8: [-128], UInt16: [65535], Int16: [-2], UInt32: [4294967295], Int32: [-3], Float: [1.5], Double: [-1e300], BigInt64: [-5n], BigUInt64: [2n ** 64n - 1n] }
    for (const [name, [value]] of Object.entries(numbers)) {
        for (const end of name.endsWith('8') ? [''] : ['LE', 'BE']) {
            show(`${name}${end}`, () => {
                const to = Buffer.alloc(10)
                return [to[`write${name}${end}`](value, 1), to.toString('hex'), to[`read${name}${end}`](1)]
            })
            show(`${name}${end} outside`, () => Buffer.alloc(3)[`read${name}${end}`](9))
            show(`${name}${end} short`, () => Buffer.alloc(0)[`read${name}${end}`]())
        }
    }
    for (const [name, value] of [['UInt8', 256], ['Int8', 128], ['UInt16LE', -1], ['UInt32BE', 2 ** 32], ['Int32LE', 2 ** 31], ['BigInt64LE', 2n ** 63n]]) {
        show(`${name} ${value}`, () => Buffer.alloc(8)[`write${name}`](value))
    }
    for (const size of [1, 2, 3, 4, 5, 6]) {
        show(`variable ${size}`, () => {
            const to = Buffer.alloc(8)
            return [to.writeUIntBE(0x12, 0, size), to.writeIntLE(-7, 1, size), to.readIntLE(1, size), to.readUIntBE(0, size), to.readUintLE(2, size), to.toString('hex')]
        })
    }
    show('variable wrong', () => Buffer.alloc(8).readUIntBE(0, 7))
    show('offset', () => Buffer.alloc(8).readUInt8(1.5))
    show('offset type', () => Buffer.alloc(8).readUInt8('1'))
    show('transcode', () => require('buffer').transcode(Buffer.from('€ä'), 'utf8', 'latin1'))
    show('atob', () => atob('aGVsbG8='))
    show('atob wrong', () => atob('a'))
    show('btoa', () => btoa('hällo'))
    show('isUtf8', () => [require('buffer').isUtf8(Buffer.from('ä')), require('buffer').isUtf8(Buffer.from([0xff]))])
    show('isEncoding', () => [Buffer.isEncoding('UTF-8'), Buffer.isEncoding('x'), Buffer.isEncoding(5)])
    show('iterates', () => [...Buffer.from('ab').entries()].join(';'))
    show('json text', () => JSON.stringify(Buffer.from('a')))
    show('slices', () => `${Buffer.from('abcd').toString('utf8', 1, 3)}${Buffer.from('abcd').toString('utf8', -2, 99)}`)
    show('from view', () => Buffer.from(new Uint16Array([1, 2])))
    show('from memory', () => Buffer.from(new Uint16Array([1, 2]).buffer, 1, 2))
    show('species', () => Buffer.isBuffer(Buffer.from('a').map((b) => b + 1)))
}
