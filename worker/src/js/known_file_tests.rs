//! What stands in for parts of packages from npm, held against these.

use std::fs;
use std::path::{Path, PathBuf};

use super::limits::Limits;
use super::tests::{Dir, eval};

const PACKAGE: &str = "node_modules/@redis/client/dist/lib";

const FILES: [&str; 6] = [
    "errors.js",
    "single-entry-cache.js",
    "RESP/decoder.js",
    "RESP/verbatim-string.js",
    "client/pub-sub.js",
    "client/tracing.js",
];

/// Makes up a client of decoder and followers, feeds it, and tells all that it heard.
const HEAR: &str = r#"
exports.hear = (chunks, mapping = {}) => {
    const heard = []
    const { Decoder } = require('@redis/client/dist/lib/RESP/decoder.js')
    const { PubSub } = require('@redis/client/dist/lib/client/pub-sub.js')
    const pubsub = new PubSub('x')
    const follow = (kind, name, strings, buffers = []) =>
        pubsub.extendChannelListeners(kind, name, { unsubscribing: false, strings: new Set(strings), buffers: new Set(buffers) })
    const told = (what) => (message, channel) => {
        heard.push([what, typeof message, String(message), String(channel)])
        if (String(message) === 'boom') throw new Error('boom')
    }
    follow('PATTERNS', 'a*', [told('one'), told('two')])
    follow('PATTERNS', 'b*', [told('text')], [told('octets')])
    follow('CHANNELS', 'c', [told('channel')])
    const decoder = new Decoder({
        onReply: (reply) => heard.push(['reply', typeof reply, typeof reply === 'bigint' ? String(reply) : reply, Object.is(reply, -0), Array.isArray(reply), reply?.x]),
        onErrorReply: (err) => heard.push(['error', err.message]),
        onPush: (push) => pubsub.handleMessageReply(push) || heard.push(['push', push.map(String)]),
        getTypeMapping: () => mapping,
    })
    for (const chunk of chunks) {
        try {
            decoder.write(Buffer.from(chunk))
        } catch (err) {
            heard.push(['thrown', err.message])
            decoder.reset()
        }
    }
    return heard
}
exports.cut = (text, size) => {
    const octets = Buffer.from(text)
    const chunks = []
    for (let at = 0; at < octets.length; at += size) chunks.push(octets.subarray(at, at + size))
    return exports.hear(chunks)
}
exports.keep = () => {
    const Cache = require('@redis/client/dist/lib/single-entry-cache.js').default
    const [cache, a, b] = [new Cache(), { x: { y: 1 } }, { z: 2 }]
    const circle = { modules: { a }, socket: {} }
    circle.self = circle
    const found = [cache.get({ modules: { a } })]
    for (const config of [undefined, {}, { n: 1 }, { modules: { a, b }, n: 1 }, circle]) {
        cache.set(config, 'made')
        for (const other of [undefined, null, {}, { n: 1 }, { n: 2 }, { modules: { a, b }, n: 1 }, { n: 1, modules: { a, b } }, circle,
            { modules: { a }, n: 1 }, { modules: { b, a }, n: 1 }, { modules: { a: { x: { y: 1 } }, b }, n: 1 }, { modules: { a, b: {} }, n: 1 },
            { modules: { a, b }, n: 1, f() {} }, { modules: { a, b }, n: 1, m: undefined }]) {
            found.push(cache.get(other) ?? null)
        }
    }
    return found
}
"#;

const FED: &str = r#"[
    `>4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\na1\r\n$5\r\nh\u00e9y!\r\n`,
    `+OK\r\n>4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\na1\r\n$0\r\n\r\n$-1\r\n-ERR no\r\n:7\r\n`,
    `>4\r\n$8\r\npmessage\r\n$2\r\nb*\r\n$2\r\nb1\r\n$3\r\n\u20ac\r\n>4\r\n$8\r\npmessage\r\n$1\r\nx\r\n$2\r\nb1\r\n$1\r\n1\r\n`,
    `%3\r\n$9\r\n__proto__\r\n%1\r\n+x\r\n:1\r\n+7\r\n#f\r\n$0\r\n\r\n~2\r\n$-1\r\n*-1\r\n%1\r\n:1\r\n:2\r\n*2\r\n-ERR in\r\n:1\r\n`,
    `:-5\r\n:-0\r\n:999999999999999\r\n:9999999999999999\r\n:12345678901234567890\r\n$3\r\n\u20ac\r\n*0\r\n%0\r\n`,
    `%1\r\n$1\r\nk\r\n*2\r\n:1\r\n_\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n`,
    `>4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\na1\r\n$4\r\nboom\r\n`,
    `>4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\na1\r\n$1\r\n1\r\n`.repeat(3) + `>4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\na2\r\n$1\r\n2\r\n`.repeat(2) + `:8\r\n`,
    `>4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$20\r\n__redis__:invalidate\r\n_\r\n,1.5\r\n#t\r\n(12\r\n=7\r\ntxt:abc\r\n!5\r\nERR x\r\n`,
]"#;

/// The folder of packages beside the real Haraka; none where there is none.
fn packages() -> Option<PathBuf> {
    let peer = std::env::var("PEER_HARAKA").ok()?;
    let peer = fs::canonicalize(peer).ok()?;
    Some(peer.ancestors().nth(3)?.to_owned())
}

/// The package, each file with `more` at its end, which makes it one that is not known.
fn package(name: &str, from: &Path, more: &str) -> Dir {
    let dir = Dir::new(name);
    for file in FILES {
        let text = fs::read_to_string(from.join("@redis/client/dist/lib").join(file)).unwrap();
        dir.file(&format!("{PACKAGE}/{file}"), &format!("{text}{more}"));
    }
    let slots = "module.exports = () => 0";
    dir.file("node_modules/cluster-key-slot/index.js", slots);
    dir.file("hear.js", HEAR);
    dir
}

// covers RES-05
#[test]
fn followers_hear_from_native_frames_what_they_hear_from_the_packages_decoder() {
    let Some(from) = packages() else { return };
    let known = package("redis-known", &from, "");
    let other = package("redis-other", &from, "\n");
    let tell = |dir: &Dir, what: &str| {
        let engine = dir.engine(Limits::default());
        let hear = dir.path("hear.js");
        eval(
            &engine,
            &what.replace("HEAR", &format!("__required('{}')", hear.display())),
        )
        .unwrap()
    };
    let both = |what: &str| {
        let said = tell(&known, what);
        assert_eq!(said, tell(&other, what), "{what}");
        said
    };
    let changed =
        "HEAR && __required(PATH).Decoder.prototype.write.toString().includes('redis.frames')";
    let changed = |dir: &Dir| {
        let path = dir.path(&format!("{PACKAGE}/RESP/decoder.js"));
        tell(
            dir,
            &changed.replace("PATH", &format!("'{}'", path.display())),
        )
    };
    assert_eq!(changed(&known), true, "the file is known");
    assert_eq!(changed(&other), false);
    for size in 1..40 {
        let heard = both(&format!("{FED}.flatMap((text) => HEAR.cut(text, {size}))"));
        assert!(heard.as_array().unwrap().len() > 20);
    }
    both(&format!("HEAR.hear({FED})"));
    for mapping in ["{ 36: Buffer }", "{ 37: Map, 58: String }", "{ 37: Array }"] {
        both(&format!("HEAR.hear({FED}, {mapping})"));
    }
    both(&format!(
        "HEAR.cut({FED}.filter((t) => !t.includes('boom')).join(''), 7)"
    ));
    // Longer than what is kept, and what is no frame.
    both(
        "HEAR.cut(`$200000\\r\\n${'x'.repeat(200000)}\\r\\n:1\\r\\n>4\\r\\n$8\\r\\npmessage\\r\\n$2\\r\\na*\\r\\n$1\\r\\na\\r\\n$1\\r\\n1\\r\\n`, 30000)",
    );
    both(
        "HEAR.hear([':1\\r\\n?', ':2\\r\\n>4\\r\\n$8\\r\\npmessage\\r\\n$2\\r\\na*\\r\\n$1\\r\\na\\r\\n$1\\r\\n1\\r\\n'])",
    );
    both("HEAR.keep()");
}

#[test]
fn expressions_for_addresses_are_the_same_whether_written_again_or_not() {
    let Some(from) = packages() else { return };
    let of = |name: &str, more: &str| {
        let dir = Dir::new(name);
        let file = "node_modules/haraka-net-utils/index.js";
        let text = fs::read_to_string(from.join("haraka-net-utils/index.js")).unwrap();
        let imports: Vec<&str> = text.lines().filter(|l| l.contains("require('")).collect();
        for line in imports {
            let name = line
                .split("require('")
                .nth(1)
                .unwrap()
                .split('\'')
                .next()
                .unwrap();
            let path = if name.starts_with('.') {
                format!("haraka-net-utils/{name}")
            } else {
                name.to_owned()
            };
            let path = path.replace("/./", "/").trim_end_matches(".js").to_owned();
            dir.file(
                &format!("node_modules/{path}.js"),
                "module.exports = { getDnsResolver: () => ({}) }",
            );
        }
        dir.file(file, &format!("{text}{more}"));
        let engine = dir.engine(Limits::default());
        let asked = format!(
            "(({{ is_ip_literal: is, get_ipany_re: make }}) => {{
                const hosts = ['[1.2.3.4]', '1.2.3.4', '[IPv6:::1]', '[::1]', '[1.2.3.4', '', undefined, null, '[a]', 7]
                const shown = (re) => [re.source, re.flags, re.lastIndex, re.test('a 1.2.3.4 ::1'), re.lastIndex]
                return [...hosts, ...hosts].map((host) => is(host)).concat(
                    [[], [], ['^'], ['^', '$', ''], ['^', '$', 'g'], ['^', '$', 'g']].map((given) => shown(make(...given))),
                    make('^') === make('^'), make.toString().includes('written.get'))
            }})(__required('{}'))",
            dir.path(file).display()
        );
        let mut said = eval(&engine, &asked).unwrap();
        let changed = said.as_array_mut().unwrap().pop().unwrap();
        (said, changed)
    };
    let (known, other) = (of("literals-known", ""), of("literals-other", "\n"));
    assert_eq!(known.0, other.0);
    assert_eq!((known.1, other.1), (true.into(), false.into()));
    assert_eq!(known.0[0], true);
}

#[test]
fn organizational_domains_are_those_that_the_package_finds() {
    let Some(from) = packages() else { return };
    let of = |name: &str, more: &str| {
        let dir = Dir::new(name);
        let file = "node_modules/haraka-tld/index.js";
        let text = fs::read_to_string(from.join("haraka-tld/index.js")).unwrap();
        dir.file(file, &format!("{text}{more}"));
        dir.file("node_modules/haraka-tld/lib/update.js", "");
        let engine = dir.engine(Limits::default());
        let asked = format!(
            "((tlds) => {{
                const names = ['com', 'co.uk', 'uk', '*.ck', '!www.ck', 'a.b.jp', 'www.ck', '*', '!x.com']
                tlds.public_suffix_list = new Map(names.map((name) => [name, []]))
                const hosts = names.flatMap((name) => ['', 'a.', 'B.a.', 'c.b.A.', '.', 'a..', 'xn--p1ai.'].flatMap((below) =>
                    [below + name, below + name.slice(2), below + name.slice(1), `${{below}}${{name}}.`]))
                const find = (host) => {{
                    try {{ return tlds.get_organizational_domain(host) }} catch (err) {{ return err.name }}
                }}
                const found = [...hosts, '', '.', undefined, null, 7, {{}}, 'b.jp', '\\u0130.com'].map(find)
                tlds.is_public_suffix = () => true
                return [...found, find('a.b'), tlds.get_organizational_domain.toString().includes('lastIndexOf')]
            }})(__required('{}'))",
            dir.path(file).display()
        );
        let mut said = eval(&engine, &asked).unwrap();
        let changed = said.as_array_mut().unwrap().pop().unwrap();
        (said, changed)
    };
    let (known, other) = (of("tld-known", ""), of("tld-other", "\n"));
    assert_eq!(known.0, other.0);
    assert_eq!((known.1, other.1), (true.into(), false.into()));
    assert!(known.0.as_array().unwrap().contains(&"a.co.uk".into()));
}
