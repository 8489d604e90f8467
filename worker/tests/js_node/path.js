// Paths of both kinds.
const path = require('path')

const PATHS = ['', '.', '/', '//', 'a', '/a', 'a/', '/a/b.c', 'a/b/../c', './a', '../a', '/../a', 'a//b', '/a/./b/', 'a/..', '..', '.bashrc', 'a.b.c', 'a.', '/x/.y', 'file.tar.gz/', '/a/b/../../..', '...', 'x/..y']
const WINDOWS = ['', '.', 'C:\\', 'C:', 'C:a', 'C:\\a\\b.c', 'c:/a/../b', '\\\\server\\share\\x', 'a\\b/..\\c', '..\\x', 'C:\\a\\', '\\a', 'x.y\\z.txt']

module.exports = (out) => {
    const tried = (run) => {
        try {
            return JSON.stringify(run())
        } catch (err) {
            return `${err.name} ${err.code} ${err.message}`
        }
    }
    for (const p of PATHS) {
        for (const name of ['normalize', 'dirname', 'basename', 'extname', 'isAbsolute', 'parse']) out(name, JSON.stringify(p), tried(() => path[name](p)))
        out('format', tried(() => path.format(path.parse(p))))
        for (const q of ['b', '../b', '/c/d', '']) {
            out('join', p, q, tried(() => path.join(p, q)))
            out('relative', p, q, tried(() => path.relative(`/r/${p}`, `/r/${q}`)))
            out('resolve', tried(() => path.resolve('/base', p, q)))
        }
    }
    out(path.basename('a.html', '.html'), path.basename('.html', '.html'), path.basename('a/b.html/', 'l'))
    out(tried(() => path.join('a', 5)), tried(() => path.basename(undefined)), tried(() => path.resolve(null)))
    out(tried(() => path.format({ dir: '/d', name: 'n', ext: 'e' })), tried(() => path.format({ root: '/', base: 'b' })), tried(() => path.format('x')))
    out(path.sep, path.delimiter, path.posix === path, path.posix.sep, path.win32.sep, path.win32.delimiter)
    for (const p of WINDOWS) {
        for (const name of ['normalize', 'dirname', 'basename', 'extname', 'isAbsolute', 'parse']) out('win32', name, p, tried(() => path.win32[name](p)))
        out('win32 join', tried(() => path.win32.join(p, 'x', '..', 'y')))
    }
    out(path.win32.relative('C:\\a\\b', 'C:\\a\\c\\d'), path.win32.resolve('C:\\a', '..\\b'))
}
