//! Tests of the engine without a server: what it gives back, and how a module is found.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use haraka_shared::config::{ConfigDir, Watch};
use haraka_shared::live::LiveTree;
use rquickjs::{Function, Object};
use serde_json::json;

use super::convert::Json;
use super::engine::{Engine, ScriptError};
use super::host::Host;
use super::limits::Limits;
use super::resolve::{How, Known, resolve};
use crate::rt::Runtime;

pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new(name: &str) -> Dir {
        let name = format!("haraka-js-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("config")).unwrap();
        Dir(fs::canonicalize(dir).unwrap())
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    pub(super) fn file(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn find(&self, request: &str, from: &str, how: How) -> Option<String> {
        let found = resolve(&Known::default(), request, &self.0.join(from), how)?;
        Some(found.strip_prefix(&self.0).unwrap().display().to_string())
    }

    pub(super) fn engine(&self, limits: Limits) -> Rc<Engine> {
        let config = ConfigDir::open(&self.0).unwrap();
        Engine::new(Host::new(&config, &self.0, &Watch::new()), limits).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

pub(super) fn eval(engine: &Engine, text: &str) -> Result<serde_json::Value, ScriptError> {
    engine
        .enter("test", |ctx, _| ctx.eval::<Json, _>(text))
        .map(|json| json.0)
}

// covers PLG-06
#[test]
fn modules_are_found_by_the_rules_of_node() {
    let dir = Dir::new("resolve");
    let exports = r#"{"name":"a","exports":{".":{"import":"./i.mjs","default":"./r.js"},
        "./sub/*":"./lib/*.js","./up":"./../../escape.js","./none":null}}"#;
    dir.file("node_modules/a/package.json", exports);
    dir.file("node_modules/a/i.mjs", "");
    dir.file("node_modules/a/r.js", "");
    dir.file("node_modules/a/lib/x.js", "");
    dir.file("escape.js", "");
    dir.file("node_modules/@s/b/package.json", r#"{"main":"./lib"}"#);
    dir.file("node_modules/@s/b/lib/index.js", "");
    dir.file("node_modules/c.js", "");
    dir.file("p/q/own.json", "{}");
    dir.file("p/node_modules/c/index.js", "");
    let require = |request, from| dir.find(request, from, How::Require);
    for (request, from, expected) in [
        ("a", "p/q", Some("node_modules/a/r.js")),
        ("a/sub/x", "p", Some("node_modules/a/lib/x.js")),
        ("a/r.js", "p", None),
        ("a/up", "p", None),
        ("a/none", "p", None),
        ("@s/b", "p/q", Some("node_modules/@s/b/lib/index.js")),
        (
            "@s/b/lib/index",
            "p/q",
            Some("node_modules/@s/b/lib/index.js"),
        ),
        ("c", "p/q", Some("p/node_modules/c/index.js")),
        ("c", "", Some("node_modules/c.js")),
        ("./own", "p/q", Some("p/q/own.json")),
        ("../q/own.json", "p/q", Some("p/q/own.json")),
        ("./none", "p/q", None),
        ("a", "node_modules/a/lib", Some("node_modules/a/r.js")),
    ] {
        assert_eq!(
            require(request, from).as_deref(),
            expected,
            "{request} in {from}"
        );
    }
    let import = dir.find("a", "p", How::Import);
    assert_eq!(import.as_deref(), Some("node_modules/a/i.mjs"));
}

#[test]
fn engine_gives_its_memory_back_and_knows_what_was_thrown() {
    let dir = Dir::new("memory");
    let engine = dir.engine(Limits::default());
    assert_eq!(
        eval(&engine, "({ a: [1, 'x', null] })").unwrap(),
        json!({ "a": [1, "x", null] })
    );
    let thrown = eval(&engine, "(() => { throw new TypeError('no') })()").unwrap_err();
    assert!(
        thrown.to_string().starts_with("TypeError: no\n"),
        "{thrown}"
    );
    let before = engine.memory_used();
    for _ in 0..3 {
        let failed = eval(
            &engine,
            "(() => { const all = []; for (;;) all.push('x'.repeat(1e6) + all.length) })()",
        );
        assert!(matches!(failed, Err(ScriptError::Threw(_))), "{failed:?}");
    }
    assert!(engine.memory_used() < before + (1 << 20));
}

fn short(time: std::time::Duration) -> Limits {
    Limits {
        turn: time,
        load: time,
        rest: time / 10,
        ..Limits::default()
    }
}

// covers PLG-16: each of these takes long in functions of the engine's own
#[test]
fn steps_that_take_long_and_memory_are_stopped_as_loops_are() {
    let dir = Dir::new("steps");
    let engine = dir.engine(short(std::time::Duration::from_millis(100)));
    for script in [
        "for (;;) 'x'.repeat(1e6)",
        "for (;;) try { 'x'.repeat(1e6).split('') } catch {}",
        "const text = '[' + '1,'.repeat(1e5) + '1]'; for (;;) JSON.parse(text)",
        "let big = 2n ** 200000n; for (;;) big * big",
        "const all = {}; for (let i = 0; i < 1e5; i++) all['k' + i] = i; for (;;) Object.keys(all)",
        "const { deflateSync } = __required('zlib'); for (;;) deflateSync(Buffer.alloc(1e6))",
        "const { createHash } = __required('crypto'); for (;;) createHash('md5').update(Buffer.alloc(1e6))",
        "/^(a+)+$/.test('a'.repeat(40) + 'b')",
        "Array.prototype.includes.call({ length: 2 ** 53 - 1 }, 1)",
        "const many = Array(1e6).fill(1); for (;;) many.sort(Math.max)",
    ] {
        let began = std::time::Instant::now();
        let failed = eval(&engine, &format!("(() => {{ {script} }})()"));
        assert!(
            matches!(failed, Err(ScriptError::Stopped(_))),
            "{script}: {failed:?}"
        );
        let took = began.elapsed();
        assert!(
            took < std::time::Duration::from_secs(20),
            "{script}: {took:?}"
        );
        assert_eq!(eval(&engine, "[1 + 1].toString()").unwrap(), "2");
    }
}

#[test]
fn endless_chain_of_promises_is_stopped_once_its_time_is_used_up() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let dir = Dir::new("chain");
        let engine = dir.engine(short(std::time::Duration::from_millis(50)));
        eval(
            &engine,
            "globalThis.turns = 0; (async () => { for (;;) { turns += 1; await null } })(); 1",
        )
        .unwrap();
        let mut before = -1.0;
        for _ in 0..10_000 {
            crate::rt::yield_now().await;
            let turns = eval(&engine, "turns").unwrap().as_f64().unwrap();
            if turns == before {
                return;
            }
            before = turns;
        }
        panic!("still running");
    });
}

#[test]
fn replacing_plain_text_gives_what_the_expression_gives() {
    let dir = Dir::new("replace");
    dir.file(
        "plain.js",
        r"module.exports = (s) => [s.replace(/a/g, 'o'), s.replace(/\//g, '--'), s.replace(/''/g, '')]",
    );
    let engine = dir.engine(Limits::default());
    let script = format!(
        "const replaced = __required('{}'); \
         replaced('banana/\\'\\'\\'').concat(replaced({{ replace: (by, what) => by.source + by.flags + what }}))",
        dir.path("plain.js").display()
    );
    assert_eq!(
        eval(&engine, &script).unwrap(),
        json!([
            "bonono/'''",
            "banana--'''",
            "banana/'",
            "ago",
            "\\/g--",
            "''g"
        ])
    );
}

#[test]
fn replacing_one_text_after_another_gives_what_the_expressions_give() {
    let dir = Dir::new("each");
    dir.file(
        "each.js",
        "module.exports = (s) => s.replace(/0/g, 'o').replace(/ab/g, \"b\")\n.replace(/b/g, '').replace(/\\)/g, '\u{e9}\"')",
    );
    let engine = dir.engine(Limits::default());
    let script = format!(
        "const each = __required('{}'); const by = (text) => new RegExp(text, 'g'); \
         const written = (s) => s.replace(by('0'), 'o').replace(by('ab'), 'b').replace(by('b'), '').replace(by('\\\\)'), '\u{e9}\"'); \
         const odd = {{ replace: (by, what) => {{ odd.said += by.source + what; return odd.said.length > 4 ? odd.said : odd }}, said: '' }}; \
         [['', '0', 'aab)', 'abab0 00', 'x', '\u{20ac}0)', '\\ud800 0 b', '\\ud800', new String('0b')].filter((s) => each(s) !== String(written(s))), each(odd)]",
        dir.path("each.js").display()
    );
    assert_eq!(eval(&engine, &script).unwrap(), json!([[], "0oa"]));
}

#[test]
fn splitting_at_blanks_gives_what_the_expression_gives() {
    let dir = Dir::new("split");
    dir.file("blank.js", r"module.exports = (s) => s.split(/\s+/)");
    let engine = dir.engine(Limits::default());
    let script = format!(
        "const parts = __required('{}'); const expression = new RegExp('\\\\s+'); \
         const same = (s) => JSON.stringify(parts(s)) === JSON.stringify(s.split(expression)); \
         const every = Array.from({{ length: 0x10000 }}, (_, c) => `a${{String.fromCharCode(c)}}b`); \
         [['', 'a', ' ', 'a b', ' a\\t\\nb ', 'a\\ud800 b', new String('x y'), new String('x'), ...every].filter((s) => !same(s)), \
         parts({{ split: (by) => by.source + by.flags }})]",
        dir.path("blank.js").display()
    );
    assert_eq!(eval(&engine, &script).unwrap(), json!([[], "\\s+"]));
}

// covers RES-03
#[test]
fn summary_is_the_same_whether_it_is_read_before_a_count_or_after() {
    let dir = Dir::new("summary");
    dir.file("config/results.ini", "[p]\norder=fail,pass\n");
    dir.file(
        "read.js",
        "const Results = require('haraka-results')
         module.exports = (early) => {
             const store = new Results({ loginfo() {}, logerror() {} })
             const said = []
             const look = () => { const own = store.get('p'); return [own.human, own.human_html] }
             const step = (what, given) => {
                 store[what]('p', given)
                 if (early) look()
             }
             step('add', { score: 0, pass: 'a', note: 'x', list: [1] })
             step('incr', { score: 2, fresh: 1 })
             step('incr', { score: 3 })
             said.push(look(), store.collate('p'))
             step('push', { list: 2 })
             step('incr', { score: 1, list: 5 })
             said.push(look(), store.collate('p'))
             step('add', { human: 'mine' })
             step('incr', { score: 1, human: 4 })
             said.push(look(), store.collate('p'), JSON.stringify(store.get('p')))
             return said
         }",
    );
    let engine = dir.engine(Limits::default());
    let said = |early: bool| {
        let script = format!("__required('{}')({early})", dir.path("read.js").display());
        eval(&engine, &script).unwrap()
    };
    let late = said(false);
    assert_eq!(late, said(true));
    assert_eq!(late[0][0], "score: 0, note: x, list: 1, pass:a");
    assert_eq!(late[1], "score: 5, note: x, list: 1, fresh: 1, pass:a");
}

// covers RES-07
#[test]
fn native_code_reads_and_writes_the_plain_part_of_a_scripts_notes() {
    let dir = Dir::new("live");
    let engine = dir.engine(Limits::default());
    let notes = haraka_shared::notes::Notes::default();
    notes.set("queue.wants", "outbound");
    let tree = super::live::Tree::new(&engine.host, Json(json!(7)), "notes".to_owned());
    let handed = notes.hand_over(Rc::clone(&tree) as Rc<dyn LiveTree>);
    assert_eq!(handed, json!({ "queue": { "wants": "outbound" } }));
    engine
        .enter("test", |ctx, _| {
            let setup: Function<'_> = ctx.eval(
                "(handed) => { const loops = { n: 1 }; loops.self = loops; \
                 Object.assign(handed, { loops, run() {}, when: new Date(0), list: ['a'], socket: new (class S {})() }); \
                 return handed }",
            )?;
            let held: Object<'_> = setup.call((Json(handed),))?;
            ctx.globals().set("held", held)
        })
        .unwrap();
    // The owner of number 7, as the connection's own script makes it.
    engine
        .enter("test", |_, bridge| {
            let owners: Object<'_> = bridge.get("owners")?;
            let set: Function<'_> = owners.get("set")?;
            let globals = owners.ctx().globals();
            let owner = Object::new(owners.ctx().clone())?;
            owner.set("notes", globals.get::<_, Object<'_>>("held")?)?;
            set.call::<_, ()>((rquickjs::function::This(owners), 7, owner))
        })
        .unwrap();
    assert_eq!(notes.text("queue.wants").as_deref(), Some("outbound"));
    assert!(notes.lists("list", "a"));
    notes.set("queue.more.deep", 5);
    assert_eq!(
        eval(&engine, "held.queue.more").unwrap(),
        json!({ "deep": 5 })
    );
    assert_eq!(
        notes.to_json(),
        json!({ "queue": { "wants": "outbound", "more": { "deep": 5 } }, "loops": { "n": 1 },
            "when": "1970-01-01T00:00:00.000Z", "list": ["a"] })
    );
    notes.take_back();
    assert!(!notes.is_live() && notes.truthy("loops.n"));
}

#[test]
fn plain_data_comes_to_scripts_as_json_would_be_read_whatever_they_did_to_prototypes() {
    let dir = Dir::new("plain");
    let engine = dir.engine(Limits::default());
    let text = r#"{"b":[1,-2.5,[],{}],"__proto__":{"x":null},"2":true,"1":"\u0000é\ud83d\ude00","":18446744073709551615,
        "length":9007199254740993,"a":[[["deep"]],4294967296,2147483648,-0.0,1e300]}"#;
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    let said = engine.enter("test", |ctx, _| {
        let same: Function<'_> = ctx.eval(
            "for (const name of ['b', 'a', 'x']) for (const of of [Object.prototype, Array.prototype]) \
                 Object.defineProperty(of, name, { set() { throw new Error(name) }, configurable: true }); \
             (value, text) => { const read = JSON.parse(text); \
                 const shown = (of) => [JSON.stringify(of), Object.getOwnPropertyNames(of), Object.hasOwn(of, '__proto__'), \
                     JSON.stringify(Object.getOwnPropertyDescriptors(of.a)), Object.is(of.a[3], -0), Array.isArray(of.b)]; \
                 return JSON.stringify(shown(value)) + '\\n' + JSON.stringify(shown(read)) }",
        )?;
        same.call::<_, String>((Json(value), text))
    });
    let said = said.unwrap();
    let (given, read) = said.split_once('\n').unwrap();
    assert_eq!(given, read);
    assert!(given.contains("deep") && given.contains("__proto__"));
}
