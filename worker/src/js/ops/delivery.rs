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
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let h = Rc::clone(host);
    op!(ctx, field, "get", move |ctx: Ctx<'_>, of: Handle| {
        let item = of.delivery(&ctx)?;
        let queue_dir = h.services().map(|s| s.config().queue_dir.clone());
        let rcpts: Value = item.rcpt_to.iter().map(shown).collect();
        rquickjs::Result::Ok(Json(json!({
            "uuid": item.uuid, "file": item.file, "domain": item.domain,
            "attempts": item.attempts, "mail_from": shown(&item.mail_from), "rcpt_to": rcpts,
            "notes": item.notes.to_json(), "queue_dir": queue_dir, "queue_time": queue_time(&item.file),
        })))
    });
    Ok(())
}

/// When the item was queued, in milliseconds since 1970: what its file name begins with.
fn queue_time(file: &str) -> Option<u64> {
    file.split('_').next()?.parse().ok()
}
