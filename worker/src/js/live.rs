//! Notes and results that scripts have taken over, as native code reads and writes them, and what is kept
//! of a connection that scripts have seen.
//!
//! While a script is running the engine cannot be entered; then nothing is there and nothing is
//! written. Native plugins run when no script does.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use haraka_shared::connection::Connection;
use haraka_shared::core_results::NAMES as CORE_RESULTS;
use haraka_shared::hook::HookName;
use haraka_shared::live::{Companion, LiveTree};
use haraka_shared::transaction::Transaction;
use rquickjs::function::{Args, This};
use rquickjs::{Ctx, Function, Object};
use serde_json::{Map, Value, json};

use super::convert::Json;
use super::engine::{Engine, ScriptError};
use super::host::Host;

/// Whose tree it is: `notes` or `results` of a connection or transaction.
pub(super) struct Tree {
    engine: Weak<Engine>,
    /// The connection's number, or the transaction's uuid.
    owner: Json,
    kind: String,
}

impl Tree {
    pub(super) fn new(host: &Host, owner: Json, kind: String) -> Rc<Tree> {
        let engine = host.engine().map_or(Weak::new(), |e| Rc::downgrade(&e));
        Rc::new(Tree {
            engine,
            owner,
            kind,
        })
    }

    fn ask(&self, what: &str, path: &[&str], value: Value) -> Option<Value> {
        let engine = self.engine.upgrade()?;
        let answer = engine.enter(&self.kind, |ctx: &Ctx<'_>, bridge: &Object<'_>| {
            let live: Function<'_> = bridge.get("live")?;
            let mut args = Args::new(ctx.clone(), 4 + path.len());
            args.push_arg(self.owner.clone())?;
            args.push_arg(&*self.kind)?;
            args.push_arg(what)?;
            args.push_arg(Json(value))?;
            args.push_args(path.iter().copied())?;
            live.call_arg::<Option<String>>(args)
        });
        match answer {
            Ok(text) => text.and_then(|t| serde_json::from_str(&t).ok()),
            Err(e) => {
                self.failed(&engine, &e);
                None
            }
        }
    }

    fn failed(&self, engine: &Engine, e: &ScriptError) {
        engine.host.log_failure(&format!("{}: {e}", self.kind));
    }
}

impl LiveTree for Tree {
    fn read(&self, path: &[&str]) -> Option<Value> {
        self.ask("read", path, Value::Null)
    }

    fn write(&self, path: &[&str], value: Value) {
        self.ask("write", path, value);
    }

    fn append(&self, path: &[&str], value: Value) {
        self.ask("append", path, value);
    }

    fn add(&self, plugin: &str, found: Map<String, Value>) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        let added = engine.enter(&self.kind, |_: &Ctx<'_>, bridge: &Object<'_>| {
            let owners: Object<'_> = bridge.get("owners")?;
            let of: Function<'_> = owners.get("get")?;
            let Some(owner) =
                of.call::<_, Option<Object<'_>>>((This(owners), self.owner.clone()))?
            else {
                return Ok(());
            };
            let results: Object<'_> = owner.get("results")?;
            let add: Function<'_> = results.get("add")?;
            let plugin = Json(json!({ "name": plugin }));
            add.call((This(results), plugin, Json(Value::Object(found))))
        });
        if let Err(e) = added {
            self.failed(&engine, &e);
        }
    }

    fn all(&self) -> Map<String, Value> {
        match self.ask("read", &[], Value::Null) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }
}

/// News of a connection: the transaction that the script has is over, there is one that it does not have, the
/// core has found something. Below these bits is the kind of what a hook is about.
const CLOSED: u32 = 4;
const OPENED: u32 = 8;
const FOUND: u32 = 16;

/// What keeps a connection's object in the engine alive.
pub(super) struct Kept {
    host: Weak<Host>,
    /// The engine's own number for the connection.
    pub(super) number: u32,
    /// The uuid of the transaction whose object the script has been given; empty while there is none.
    shown: RefCell<String>,
    /// The hook that was called last, and [`Connection::core_marks`] of when it began.
    hook: Cell<Option<HookName>>,
    marks: Cell<[u64; CORE_RESULTS.len()]>,
}

impl Kept {
    pub(super) fn new(host: &Rc<Host>, number: u32) -> Kept {
        Kept {
            host: Rc::downgrade(host),
            number,
            shown: RefCell::default(),
            hook: Cell::default(),
            marks: Cell::default(),
        }
    }

    /// The script is given the object of this transaction.
    pub(super) fn shows(&self, transaction: &Transaction) {
        self.shown.borrow_mut().clone_from(&transaction.uuid);
    }

    /// What is new since the last hook call, as `haraka/connection.js` reads it, so that it need not ask.
    pub(super) fn news(&self, connection: &Connection, hook: HookName) -> u32 {
        let open = connection.transaction();
        let mut shown = self.shown.borrow_mut();
        let is_shown = open.as_ref().is_some_and(|open| open.uuid == *shown);
        let mut news = 0;
        if !is_shown && !shown.is_empty() {
            shown.clear();
            news |= CLOSED;
        }
        if !is_shown && open.is_some() {
            news |= OPENED;
        }
        if self.hook.replace(Some(hook)) != Some(hook) {
            let marks = connection.core_marks();
            if self.marks.replace(marks) != marks {
                news |= FOUND;
            }
        }
        news
    }

    fn forget(&self, transaction: Option<String>) {
        if let Some(host) = self.host.upgrade() {
            host.ended.borrow_mut().push((self.number, transaction));
            if let Some(engine) = host.engine() {
                engine.forget_ended();
            }
        }
    }
}

/// Looks at what is kept for a connection; nothing before a script has seen it, and when it has ended.
pub(super) fn kept<T>(connection: &Connection, look: impl FnOnce(&Kept) -> T) -> Option<T> {
    let companion = connection.companion.borrow();
    let any: &dyn Any = &***companion.as_ref()?;
    any.downcast_ref().map(look)
}

impl Companion for Kept {
    fn transaction_over(&self, uuid: &str) {
        self.forget(Some(uuid.to_owned()));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.forget(None);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use haraka_shared::address::Address;
    use haraka_shared::connection::Local;
    use haraka_shared::hook::Path;

    use super::*;

    // covers RES-05, RES-06
    #[test]
    fn news_tell_what_was_found_by_the_next_hook_and_what_was_opened_and_closed_at_once() {
        let ip = [198, 51, 100, 1].into();
        let conn = Connection::new(ip, 25, Local { ip, port: 25 }, Instant::now());
        let kept = Kept {
            host: Weak::new(),
            number: 1,
            shown: RefCell::default(),
            hook: Cell::default(),
            marks: Cell::default(),
        };
        assert_eq!(kept.news(&conn, HookName::Connect), FOUND);
        conn.set_remote_host("client.test");
        assert_eq!(kept.news(&conn, HookName::Connect), 0);
        assert_eq!(kept.news(&conn, HookName::Mail), FOUND);
        let open = |uuid: &str| {
            let address = Address::null();
            let params = Vec::new();
            let transaction = Transaction::new(uuid.to_owned(), Path { address, params });
            conn.set_transaction(Some(transaction.clone()));
            transaction
        };
        let first = open("A.1");
        assert_eq!(kept.news(&conn, HookName::Mail), OPENED);
        assert_eq!(kept.news(&conn, HookName::Mail), OPENED, "not taken yet");
        kept.shows(&first);
        assert_eq!(kept.news(&conn, HookName::Mail), 0);
        open("A.2");
        assert_eq!(kept.news(&conn, HookName::Mail), CLOSED | OPENED);
        conn.set_transaction(None);
        assert_eq!(kept.news(&conn, HookName::Mail), 0);
    }
}
