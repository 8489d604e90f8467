// URLs in both forms.
const url = require('url')

const FIELDS = ['href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'hash']

module.exports = (out) => {
    const tried = (run) => {
        try {
            return run()
        } catch (err) {
            return `${err.name} ${err.code} ${err.message} ${err.input}`
        }
    }
    for (const [text, base] of [['http://user:pa%20ss@Example.COM:8080/a/../b?x=1&y#z'], ['https://host:443/'], ['http://[::1]:25/'], ['http://münchen.de/ä?ö#ü'], ['mailto:a@b.test'], ['/p?q', 'http://h.test/x/y'], ['../z', 'http://h.test/x/y/'], ['//o.test', 'https://h.test'], ['nope'], ['http://'], ['http://a b/'], ['file:///etc/passwd'], ['redis://:pw@localhost:6379/2'], ['lmtp://h:24'], ['http://1.2.3/'], ['  http://trim.test  '], ['smtp://h.test:587/?x=y']]) {
        out(text, tried(() => FIELDS.map((name) => new URL(text, base)[name]).join(' | ')))
    }
    const changed = new URL('http://h.test/p?a=1')
    changed.port = '81'
    changed.pathname = 'x y'
    changed.searchParams.append('b', 'ä &')
    changed.hash = 'h'
    changed.protocol = 'https'
    changed.username = 'u@'
    out(changed.href, String(changed), JSON.stringify({ changed }))
    changed.search = '?only=1'
    out([...changed.searchParams].join(), changed.searchParams.get('only'), changed.searchParams.get('none'))
    changed.searchParams.delete('only')
    out(changed.href, URL.canParse('x:'), URL.canParse('x'))
    const params = new URLSearchParams('b=2&a=1&b=3&c=%20+&d')
    out(params.get('b'), params.getAll('b').join(), params.has('a'), params.has('a', '2'), params.size, String(params))
    params.sort()
    params.set('b', 'x')
    out(String(params), [...params.keys()].join(), [...params.values()].join())
    out(String(new URLSearchParams({ a: 'b c', 'ä': "~!*'()" })), String(new URLSearchParams([['x', 1], ['x', 2]])))
    out(url.domainToASCII('español.com'), url.domainToUnicode('xn--espaol-zwa.com'), url.domainToASCII('xn--iñvalid.com'))
    out(url.fileURLToPath('file:///a%20b/c'), String(url.pathToFileURL('/a b#?/c')), tried(() => url.fileURLToPath('http://x/')))
    out(JSON.stringify(url.urlToHttpOptions(new URL('https://a:b@x.test:1/p?q#h'))))
    for (const text of ['http://user:pass@sub.host.com:8080/p/a/t/h?query=string#hash', '/a/b?c=d', 'mailto:a@b.test', '//host/path', 'http://h', 'HTTP://H.test/P', 'lmtp://host:24', 'smtp://u%40d:p@h:25/', 'x', '', 'http://[::1]:80/x', 'http://a.test/b c"d', 'host:25', 'http://h?q', 'javascript:alert(1)', 'redis://localhost:6379/1', 'http://user@h.test', 'http://h.test:/x']) {
        out(text, tried(() => JSON.stringify(url.parse(text))))
        out(tried(() => JSON.stringify(url.parse(text, true).query)), tried(() => url.format(url.parse(text))))
    }
    out(JSON.stringify(url.parse('//host/path', false, true)))
    for (const [from, to] of [['/one/two/three', 'four'], ['http://example.com/', '/one'], ['http://example.com/one', '/two'], ['http://a.test/b/c', '../d'], ['http://a.test/b', '?q'], ['http://a.test/b?x', '#h'], ['http://a.test', 'http://b.test/'], ['http://a.test/b/', './c']]) out(url.resolve(from, to))
    out(url.format({ protocol: 'http', hostname: 'h.test', port: 80, pathname: 'p', query: { a: 1, b: [2, 3] } }))
    out(url.format({ protocol: 'https:', host: 'h.test', pathname: '/p', search: 'q=1', hash: 'x' }), url.format(new URL('http://u:p@h.test/x#y'), { auth: false, fragment: false }))
}
