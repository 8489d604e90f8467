//! The header of a message, for `haraka/header.js`.

use std::rc::Rc;

use haraka_shared::header::Header;
use haraka_shared::transaction::Transaction;
use rquickjs::{Ctx, Object};

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
        "all",
        |ctx: Ctx<'_>, of: Handle, name: String, decoded: bool| {
            let txn = of.transaction(&ctx)?;
            let header = txn.header.borrow();
            rquickjs::Result::Ok(match decoded {
                true => header.get_all_decoded(&name).collect(),
                false => header.get_all(&name).map(text).collect::<Vec<String>>(),
            })
        }
    );
    op!(ctx, field, "lines", |ctx: Ctx<'_>, of: Handle| {
        let txn = of.transaction(&ctx)?;
        let header = txn.header.borrow();
        rquickjs::Result::Ok(header.lines().map(text).collect::<Vec<String>>())
    });
    op!(ctx, field, "fields", |ctx: Ctx<'_>, of: Handle| {
        let txn = of.transaction(&ctx)?;
        let header = txn.header.borrow();
        rquickjs::Result::Ok(Json(fields(&header)))
    });
    op!(
        ctx,
        field,
        "change",
        |ctx: Ctx<'_>, of: Handle, how: String, name: String, value: String| {
            let txn = of.transaction(&ctx)?;
            change(&txn, &how, &name, &value);
            rquickjs::Result::Ok(())
        }
    );
    Ok(())
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).replace("\r\n", "\n")
}

/// Names in lower case with their values, in order.
fn fields(header: &Header) -> serde_json::Value {
    let all = header.fields().filter_map(|field| {
        let name = String::from_utf8_lossy(field.name()?).to_lowercase();
        Some(serde_json::json!([name, text(field.value())]))
    });
    all.collect()
}

fn change(txn: &Transaction, how: &str, name: &str, value: &str) {
    let mut header = txn.header.borrow_mut();
    match how {
        "add" => header.add(name, value),
        "add_end" => header.add_end(name, value),
        _ => {
            header.remove(name);
        }
    }
}
