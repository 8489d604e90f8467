//! A queue item as hooks about deliveries show it to scripts.

use std::rc::Rc;

use rquickjs::{Ctx, Object};
use serde_json::{Value, json};

use super::address::shown;
use super::op;
use crate::js::convert::Json;
use crate::js::handle::Handle;
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "get", |ctx: Ctx<'_>, of: Handle| {
        let item = of.delivery(&ctx)?;
        let rcpts: Value = item.rcpt_to.iter().map(shown).collect();
        rquickjs::Result::Ok(Json(json!({
            "uuid": item.uuid, "file": item.file, "domain": item.domain,
            "attempts": item.attempts, "mail_from": shown(&item.mail_from), "rcpt_to": rcpts,
        })))
    });
    Ok(())
}
