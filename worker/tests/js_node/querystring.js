// Queries and pieces of text.
const qs = require('querystring')
const { StringDecoder } = require('string_decoder')

module.exports = (out) => {
    for (const text of ['', 'a=1&b=2', 'a=1&a=2&a=3', 'a', '=b', 'a=', '&&a=b&', 'a=b=c', 'a+b=c+d', 'a%20b=%C3%A4', 'x=%E2%82', 'x=%zz', 'a%3Db=1', '__proto__=1']) {
        out(text, JSON.stringify(qs.parse(text)), JSON.stringify(qs.parse(text, ';', ':')))
    }
    out(JSON.stringify(qs.parse('a:1;b:2', ';', ':')), JSON.stringify(qs.parse('a=1&b=2&c=3', null, null, { maxKeys: 2 })))
    for (const value of [{ a: 1, b: 'x y', c: true, d: null, e: undefined, f: [1, 'z'], g: {}, h: NaN, i: 5n }, {}, 'text', null, { 'ä&': '=€' }, { a: [] }, { x: "~!*()'" }]) {
        out(qs.stringify(value), qs.stringify(value, ';', ':'))
    }
    out(qs.escape('a b&c/ä'), qs.unescape('a%20b%'), Object.getPrototypeOf(qs.parse('a=b')))
    const texts = { utf8: 'aä€😀z', utf16le: 'aä😀', base64: 'hello world', hex: 'abc', latin1: 'äb', base64url: 'abcd' }
    for (const [encoding, text] of Object.entries(texts)) {
        const octets = Buffer.from(text, encoding === 'utf16le' ? encoding : 'utf8')
        // Of UTF-16 Node hands out half a character when its octets come one by one.
        for (const size of encoding === 'utf16le' ? [2, 3, 5] : [1, 2, 3, 5]) {
            const decoder = new StringDecoder(encoding)
            const parts = []
            for (let i = 0; i < octets.length; i += size) parts.push(decoder.write(octets.subarray(i, i + size)))
            parts.push(decoder.end())
            out(encoding, size, JSON.stringify(parts))
        }
    }
    const cut = new StringDecoder('utf8')
    out(JSON.stringify([cut.write(Buffer.from([0xe2, 0x82])), cut.end(), cut.write(Buffer.from([0x41, 0xff, 0xc3])), cut.end(Buffer.from([0x41]))]))
    try {
        new StringDecoder('nope')
    } catch (err) {
        out(err.name, err.code, err.message)
    }
}
