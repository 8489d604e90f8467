//! Tests of scripts in compiled form: what is taken from it and what is not, and that nobody can tell.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::sync::Arc;

use haraka_shared::config::{ConfigDir, Watch};
use serde_json::{Value, json};

use super::code::Origin;
use super::compiled::{Compiled, Recorder, Store};
use super::engine::{Engine, ScriptError};
use super::host::Host;
use super::limits::Limits;
use super::tests::{Dir, eval};
use crate::rt::Runtime;

/// All that shows where a function stands, and constants of every kind.
const SCRIPT: &str = r#"'use strict'
class Kept { #own = 1; get own() { return this.#own } static of() { return new Kept() } }
const arrow = (a, b = 2) => a + b
async function later() { await null; throw new Error('later') }
function* some() { yield* [1, 2n ** 70n] }
const nested = { method() { return () => null.length }, async *both() {}, get it() { return 'żółw 🐢' } }
exports.texts = [Kept, Kept.of, arrow, later, some, nested.method, nested.both, exports.f = function () {},
    Object.getOwnPropertyDescriptor(nested, 'it').get, Object.getOwnPropertyDescriptor(Kept.prototype, 'own').get,
    nested.method(), eval, Function.prototype.toString].map(String)
exports.values = [Kept.of().own, arrow(1), [...some()].map(String), /(?<y>\d{4})é/u.exec('2026é').groups.y,
    `${nested.it}${1.5}`, String.raw`\n${-0}`, 'x'.repeat(3), label(), [, 1].length, new.target === undefined]
function label() { outer: for (const a of [1, 2]) { for (;;) { if (a > 1) break outer; continue outer } } return this === undefined }
try { nested.method()() } catch (err) { exports.stack = err.stack; exports.message = err.message }
exports.where = [arrow.fileName, arrow.lineNumber, arrow.columnNumber, arrow.name, arrow.length]
exports.address = { user: () => 'u' }.user()
"#;

fn engine_from(dir: &Dir, origin: Origin) -> Rc<Engine> {
    let config = ConfigDir::open(&dir.path("")).unwrap();
    let host = Host::new(&config, &dir.path(""), &Watch::new()).with_code(origin);
    Engine::new(host, Limits::default()).unwrap()
}

fn required(engine: &Engine, dir: &Dir, file: &str) -> Result<Value, ScriptError> {
    let path = dir.path(file).display().to_string();
    eval(engine, &format!("__required({})", Value::from(path)))
}

/// What loading `files` leaves, before it is sealed.
fn store_of(dir: &Dir, files: &[&str], recorder: Recorder) -> Store {
    let recorder = Rc::new(recorder);
    let engine = engine_from(dir, Origin::Recorded(Rc::clone(&recorder)));
    for file in files {
        drop(required(&engine, dir, file));
    }
    let store = Store::new().unwrap();
    store.fill(&recorder).unwrap();
    store
}

fn compiled(dir: &Dir, files: &[&str]) -> Arc<Compiled> {
    let store = store_of(dir, files, Recorder::of_young_files());
    store.seal().unwrap()
}

/// What a worker finds in a file, and how many scripts it compiled for that.
fn loaded(dir: &Dir, from: &Arc<Compiled>, file: &str) -> (Result<Value, ScriptError>, u32) {
    let engine = engine_from(dir, Origin::Compiled(Arc::clone(from)));
    let found = required(&engine, dir, file);
    (found, engine.host.code.counts().1)
}

fn in_runtime(work: impl FnOnce()) {
    Runtime::new().unwrap().block_on(async { work() });
}

// covers PLG-06, PLG-16
#[test]
fn scripts_that_were_compiled_before_show_no_difference() {
    in_runtime(|| {
        let dir = Dir::new("same");
        dir.file("a.js", SCRIPT);
        let from = compiled(&dir, &["a.js"]);
        let plain = required(&dir.engine(Limits::default()), &dir, "a.js").unwrap();
        let (found, made) = loaded(&dir, &from, "a.js");
        assert_eq!((found.unwrap(), made), (plain.clone(), 0));
        let stack = plain["stack"].as_str().unwrap();
        let place = format!("{}:6:", dir.path("a.js").display());
        assert!(stack.contains(&place), "{stack}");
        assert_eq!(plain["texts"][2], "(a, b = 2) => a + b");
        assert!(
            plain["texts"][12]
                .as_str()
                .unwrap()
                .contains("[native code]")
        );
    });
}

#[test]
fn file_that_changed_is_compiled_as_it_is_now() {
    in_runtime(|| {
        let dir = Dir::new("changed");
        dir.file("a.js", "exports.a = 1");
        let before = fs::metadata(dir.path("a.js")).unwrap().modified().unwrap();
        let from = compiled(&dir, &["a.js"]);
        assert_eq!(loaded(&dir, &from, "a.js"), (Ok(json!({"a": 1})), 0));
        // As long as it was, of the same time.
        fs::write(dir.path("a.js"), "exports.a = 2").unwrap();
        let file = File::options().write(true).open(dir.path("a.js")).unwrap();
        file.set_modified(before).unwrap();
        assert_eq!(loaded(&dir, &from, "a.js"), (Ok(json!({"a": 2})), 1));
        // Another file in its place.
        dir.file("b.js", "exports.a = 3");
        fs::rename(dir.path("b.js"), dir.path("a.js")).unwrap();
        assert_eq!(loaded(&dir, &from, "a.js"), (Ok(json!({"a": 3})), 1));
        fs::remove_file(dir.path("a.js")).unwrap();
        let (gone, _) = loaded(&dir, &from, "a.js");
        assert!(gone.unwrap_err().to_string().contains("Cannot find module"));
    });
}

#[test]
fn file_that_was_changed_just_now_is_not_kept() {
    in_runtime(|| {
        let dir = Dir::new("young");
        dir.file("a.js", "exports.a = 1");
        let from = store_of(&dir, &["a.js"], Recorder::default())
            .seal()
            .unwrap();
        assert_eq!(loaded(&dir, &from, "a.js"), (Ok(json!({"a": 1})), 1));
    });
}

#[test]
fn file_that_cannot_be_compiled_fails_as_without() {
    in_runtime(|| {
        let dir = Dir::new("broken");
        dir.file("a.js", "exports.a = 1\n\nconst = 2\n");
        let from = compiled(&dir, &["a.js", "none.js"]);
        let plain = required(&dir.engine(Limits::default()), &dir, "a.js").unwrap_err();
        let (found, _) = loaded(&dir, &from, "a.js");
        assert_eq!(found.unwrap_err(), plain);
        let place = format!("{}:3:", dir.path("a.js").display());
        assert!(plain.to_string().contains(&place), "{plain}");
        // It runs once it is right.
        dir.file("a.js", "exports.a = 1\n\nconst b = 2\n");
        assert_eq!(loaded(&dir, &from, "a.js"), (Ok(json!({"a": 1})), 1));
    });
}

#[test]
fn store_that_is_not_whole_is_not_used() {
    in_runtime(|| {
        let dir = Dir::new("torn");
        dir.file("a.js", SCRIPT);
        let plain = required(&dir.engine(Limits::default()), &dir, "a.js").unwrap();
        let whole = store_of(&dir, &["a.js"], Recorder::of_young_files());
        let size = whole.file().metadata().unwrap().len();
        assert!(Store::new().unwrap().seal().is_err());
        for length in [1, 15, 16, size / 2, size - 16, size - 1] {
            let torn = store_of(&dir, &["a.js"], Recorder::of_young_files());
            torn.file().set_len(length).unwrap();
            assert!(torn.seal().is_err(), "{length} of {size} octets");
        }
        // An octet here and there of the code of all scripts: none is as it was.
        let torn = store_of(&dir, &["a.js"], Recorder::of_young_files());
        for at in (0..size * 9 / 10).step_by(37) {
            torn.file().write_all_at(&[0xa5], at).unwrap();
        }
        let from = torn.seal().unwrap();
        let (found, made) = loaded(&dir, &from, "a.js");
        assert_eq!(found.unwrap(), plain);
        assert!(made as usize >= from.count() * 9 / 10, "{made} compiled");
    });
}

#[test]
fn sealed_store_cannot_be_changed() {
    in_runtime(|| {
        let dir = Dir::new("sealed");
        let store = store_of(&dir, &[], Recorder::default());
        let file = store.file().try_clone().unwrap();
        let from = store.seal().unwrap();
        assert!(from.count() > 10);
        assert!(file.write_all_at(b"x", 0).is_err());
        assert!(file.set_len(0).is_err());
        assert!(file.set_len(1 << 24).is_err());
    });
}

#[test]
fn package_that_compiles_in_its_own_way_still_does() {
    in_runtime(|| {
        let dir = Dir::new("own-way");
        dir.file("a.js", "exports.a = 1");
        dir.file("hook.js", "const M = Object.getPrototypeOf(module); const old = M._compile; \
            M._compile = function (text, ...rest) { return old.call(this, text.replace('1', '7'), ...rest) }");
        let from = compiled(&dir, &["a.js", "hook.js"]);
        let engine = engine_from(&dir, Origin::Compiled(from));
        required(&engine, &dir, "hook.js").unwrap();
        assert_eq!(required(&engine, &dir, "a.js").unwrap(), json!({"a": 7}));
    });
}
