//! Notes and results that scripts have taken over, as native code reads and writes them.
//!
//! While a script is running the engine cannot be entered; then nothing is there and nothing is
//! written. Native plugins run when no script does.

use std::rc::{Rc, Weak};

use haraka_shared::live::{Companion, LiveTree};
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

/// What keeps a connection's object in the engine alive.
pub(super) struct Kept {
    pub(super) host: Weak<Host>,
    pub(super) number: u32,
}

impl Kept {
    fn forget(&self, transaction: Option<String>) {
        if let Some(host) = self.host.upgrade() {
            host.ended.borrow_mut().push((self.number, transaction));
            if let Some(engine) = host.engine() {
                engine.forget_ended();
            }
        }
    }
}

impl Companion for Kept {
    fn number(&self) -> u32 {
        self.number
    }

    fn transaction_over(&self, uuid: &str) {
        self.forget(Some(uuid.to_owned()));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.forget(None);
    }
}
