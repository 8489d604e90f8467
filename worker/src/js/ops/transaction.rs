//! The transaction as scripts read and change it; the object is in `haraka/transaction.js`.

use std::rc::Rc;

use haraka_shared::hook::{Params, Path};
use haraka_shared::transaction::Transaction;
use rquickjs::{Ctx, Function, Object};
use serde_json::{Map, Value, json};

use super::address::{shown, told, with};
use super::op;
use crate::js::convert::Json;
use crate::js::handle::Handle;
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(
        ctx,
        field,
        "get",
        |ctx: Ctx<'_>, of: Handle, name: String| {
            let txn = of.transaction(&ctx)?;
            rquickjs::Result::Ok(Json(get(&txn, &name)))
        }
    );
    // As `get`, with the name once and for all.
    op!(ctx, field, "reader", reader);
    op!(ctx, field, "set", |ctx: Ctx<'_>,
                            of: Handle,
                            name: String,
                            value: Json| {
        let txn = of.transaction(&ctx)?;
        rquickjs::Result::Ok(set(&txn, &name, &value.0))
    });
    op!(
        ctx,
        field,
        "banner",
        |ctx: Ctx<'_>, of: Handle, text: String, html: Option<String>| {
            of.transaction(&ctx)?.set_banner(&text, html.as_deref());
            rquickjs::Result::Ok(())
        }
    );
    Ok(())
}

fn reader(ctx: Ctx<'_>, name: String) -> rquickjs::Result<Function<'_>> {
    Function::new(ctx, move |ctx: Ctx<'_>, of: Handle| {
        let txn = of.transaction(&ctx)?;
        rquickjs::Result::Ok(Json(get(&txn, &name)))
    })
}

/// An address with its parameters.
pub(in crate::js) fn path(path: &Path) -> Value {
    with(shown(&path.address), "params", params(&path.params))
}

/// ESMTP parameters; one without a value is `true`, as in Haraka.
pub(in crate::js) fn params(params: &Params) -> Value {
    let pairs = params.iter().map(|(key, value)| {
        let value = value.clone().map_or(Value::Bool(true), Value::from);
        (key.clone(), value)
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn get(txn: &Transaction, name: &str) -> Value {
    match name {
        "uuid" => txn.uuid.clone().into(),
        "mail_from version" => txn.mail_from_version().into(),
        "mail_from" => path(&txn.mail_from()),
        "rcpt_to" => txn.rcpt_to.borrow().iter().map(path).collect(),
        "relaying" => txn.relaying.get().into(),
        "data_bytes" => txn.data_bytes.get().into(),
        "parse_body" => txn.wishes.parse_body.get().into(),
        "discard_data" => txn.wishes.discard_data.get().into(),
        "rcpt_count" => json!({
            "accept": txn.rcpt_count.accept.get(), "tempfail": txn.rcpt_count.tempfail.get(),
            "reject": txn.rcpt_count.reject.get(),
        }),
        "mime_part_count" => txn.mime().map_or(0, |tree| tree.parts().len()).into(),
        "msg_status" => txn.status.get().map(|s| s.name()).into(),
        _ => Value::Null,
    }
}

fn set(txn: &Transaction, name: &str, value: &Value) -> bool {
    match name {
        "parse_body" => txn.wishes.parse_body.set(value == &Value::Bool(true)),
        "discard_data" => txn.wishes.discard_data.set(value == &Value::Bool(true)),
        "mail_from" => {
            let Some(address) = told(value) else {
                return false;
            };
            txn.set_mail_from(Path {
                address,
                params: told_params(value.get("params")),
            });
        }
        "asked" => {
            let Some(address) = told(value) else {
                return false;
            };
            let params = told_params(value.get("params"));
            *txn.asked.borrow_mut() = Some(Box::new(Path { address, params }));
        }
        "data_bytes" => txn.data_bytes.set(value.as_u64().unwrap_or_default()),
        "rcpt_to" => {
            let Some(all) = value.as_array() else {
                return false;
            };
            let paths: Option<Vec<Path>> = all
                .iter()
                .map(|parts| {
                    Some(Path {
                        address: told(parts)?,
                        params: told_params(parts.get("params")),
                    })
                })
                .collect();
            let Some(paths) = paths else { return false };
            *txn.rcpt_to.borrow_mut() = paths;
        }
        _ => return false,
    }
    true
}

fn told_params(params: Option<&Value>) -> Params {
    let pairs = params.and_then(Value::as_object).into_iter().flatten();
    pairs
        .map(|(key, value)| (key.clone(), value.as_str().map(str::to_owned)))
        .collect()
}
