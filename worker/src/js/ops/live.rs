//! Notes and results going over from the server to a script.

use std::rc::Rc;

use rquickjs::{Ctx, Object};

use super::op;
use crate::js::convert::Json;
use crate::js::handle::Handle;
use crate::js::host::Host;
use crate::js::live::Tree;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let host = Rc::clone(host);
    op!(
        ctx,
        field,
        "handOver",
        move |of: Handle, owner: Json, kind: String| {
            let tree = Tree::new(&host, owner, kind.clone());
            Json(match (of, kind.as_str()) {
                (Handle::Connection(c), "notes") => c.notes.hand_over(tree),
                (Handle::Connection(c), _) => c.results.hand_over(tree),
                (Handle::Transaction(t), "notes") => t.notes.hand_over(tree),
                (Handle::Transaction(t), _) => t.results.hand_over(tree),
                (Handle::Delivery(d), _) => d.notes.to_json(),
                // These have neither.
                (Handle::Mime(_) | Handle::Part(..) | Handle::Header(_), _) => {
                    serde_json::Value::Null
                }
            })
        }
    );
    Ok(())
}
