//! Configuration files as scripts get them, by `haraka/config.js`.

use std::path::Path;
use std::rc::Rc;

use haraka_shared::config::{Booleans, ConfigDir, FileType, Typed, TypedSection};
use rquickjs::{Ctx, Exception, Function, Object};
use serde_json::{Map, Value};

use super::op;
use crate::js::convert::{Bytes, Json};
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let h = Rc::clone(host);
    op!(
        ctx,
        field,
        "get",
        move |ctx: Ctx<'_>,
              package: Option<String>,
              name: String,
              kind: String,
              booleans: Vec<String>| {
            let dir = of_package(&h, package.as_deref());
            read(&dir, &name, &kind, &booleans)
                .map(Json)
                .map_err(|e| Exception::throw_message(&ctx, &e))
        }
    );
    let h = Rc::clone(host);
    op!(
        ctx,
        field,
        "bytes",
        move |ctx: Ctx<'_>, package: Option<String>, name: String| {
            match of_package(&h, package.as_deref()).bytes(&name) {
                Ok(bytes) => Ok(bytes.map(Bytes)),
                Err(e) => Err(Exception::throw_message(&ctx, &e.to_string())),
            }
        }
    );
    let h = Rc::clone(host);
    op!(ctx, field, "files", move |ctx: Ctx<'_>, name: String| {
        match h.config.files_below(&name) {
            Ok(files) => Ok(files
                .iter()
                .map(|f| f.to_string_lossy().into_owned())
                .collect::<Vec<_>>()),
            Err(e) => Err(Exception::throw_message(&ctx, &e.to_string())),
        }
    });
    let h = Rc::clone(host);
    op!(ctx, field, "path", move |ctx: Ctx<'_>, name: String| {
        match h.config.path(&name) {
            Ok(path) => Ok(path.to_string_lossy().into_owned()),
            Err(e) => Err(Exception::throw_message(&ctx, &e.to_string())),
        }
    });
    let h = Rc::clone(host);
    op!(ctx, field, "exists", move |name: String| h
        .config
        .exists(&name));
    let h = Rc::clone(host);
    op!(ctx, field, "root", move || h
        .config
        .root()
        .to_string_lossy()
        .into_owned());
    let h = Rc::clone(host);
    // False if there are too many already.
    op!(ctx, field, "follow", move |name: String, number: u32| {
        follow(&h, &name, number)
    });
    let h = Rc::clone(host);
    op!(ctx, field, "unfollow", move |number: u32| {
        h.watched.borrow_mut().remove(&number);
    });
    Ok(())
}

/// Files that scripts may follow; a plugin that asks anew for each message must not fill the list.
const MOST: usize = 10_000;

fn follow(host: &Rc<Host>, name: &str, number: u32) -> bool {
    if host.watched.borrow().len() >= MOST {
        return false;
    }
    let weak = Rc::downgrade(host);
    let file = name.to_owned();
    let observing = host.watch.on_change(&host.config, &[name], move || {
        if let Some(engine) = weak.upgrade().and_then(|h| h.engine()) {
            engine.tell(&format!("change of {file}"), |_, bridge| {
                let changed: Function<'_> = bridge.get("changed")?;
                changed.call((number,))
            });
        }
    });
    host.watched.borrow_mut().insert(number, observing);
    true
}

/// The configuration over a package's own, or over what Haraka ships where the package is `""`.
fn of_package(host: &Host, package: Option<&str>) -> ConfigDir {
    match package {
        Some("") => host.config.with_shipped(),
        Some(package) => host.config.with_defaults(Path::new(package)),
        None => host.config.clone(),
    }
}

fn read(dir: &ConfigDir, name: &str, kind: &str, booleans: &[String]) -> Result<Value, String> {
    let form = FileType::named(kind).unwrap_or_else(|| FileType::of(name));
    let text = |e: haraka_shared::config::ConfigError| e.to_string();
    Ok(match form {
        FileType::Ini => {
            let booleans = Booleans::declare(booleans.iter().map(String::as_str));
            sections(dir.typed_ini(name, &booleans).map_err(text)?)
        }
        FileType::Json | FileType::Hjson | FileType::Yaml => {
            let document = dir.document_as(name, form).map_err(text)?;
            document.unwrap_or_else(|| Value::Object(Map::new()))
        }
        FileType::List => dir.list(name).map_err(text)?.into(),
        FileType::Data => dir.data(name).map_err(text)?.into(),
        FileType::Value => match dir.value(name).map_err(text)? {
            Some(text) => match haraka_shared::config::number(&text) {
                Some(number) => Value::from(number),
                None => text.into(),
            },
            None => Value::Null,
        },
        FileType::Js | FileType::Binary => Value::Null,
    })
}

fn sections(sections: Vec<TypedSection>) -> Value {
    let all = sections.into_iter().map(|(name, keys)| {
        let keys = keys.into_iter().map(|(key, value)| (key, typed(value)));
        (name, Value::Object(keys.collect()))
    });
    Value::Object(all.collect())
}

fn typed(value: Typed) -> Value {
    match value {
        Typed::Undefined => Value::Null,
        Typed::Bool(yes) => yes.into(),
        Typed::Number(n) => n.into(),
        Typed::Text(text) => text.into(),
        Typed::List(items) => items.into_iter().map(typed).collect(),
    }
}
