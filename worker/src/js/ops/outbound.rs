//! Messages that scripts send themselves, and the queue as they may look at it.

use std::rc::Rc;

use haraka_shared::address::Address;
use haraka_shared::body::BodyWriter;
use haraka_shared::header::{Header, HeaderLimits};
use haraka_shared::hook::Path;
use haraka_shared::services::Services;
use haraka_shared::spool::{Listing, QueueStat};
use haraka_shared::transaction::Transaction;
use rquickjs::{Ctx, Object};
use serde_json::{Value, json};

use super::address::shown;
use super::message::with_services;
use super::op;
use crate::js::convert::Bytes;
use crate::js::handle::Handle;
use crate::js::host::{Host, Outcome};
use crate::rt;

/// Items that one listing gives at most.
const MOST: usize = 100_000;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "create", |uuid: String| {
        let nobody = Path {
            address: Address::null(),
            params: Vec::new(),
        };
        Handle::Transaction(Transaction::new(uuid, nobody))
    });
    op!(
        ctx,
        field,
        "fill",
        |ctx: Ctx<'_>, of: Handle, stored: Bytes| {
            fill(&of.transaction(&ctx)?, &stored.0);
            rquickjs::Result::Ok(())
        }
    );
    let h = Rc::clone(host);
    op!(ctx, field, "send", move |ctx: Ctx<'_>, of: Handle| {
        let txn = of.transaction(&ctx)?;
        rquickjs::Result::Ok(with_services(&h, async move |services| {
            match services.enqueue(&txn).await {
                Ok(()) => Outcome::Data(Value::Null),
                Err(e) => Outcome::Failed {
                    code: "EQUEUE".to_owned(),
                    message: e.to_string(),
                },
            }
        }))
    });
    let h = Rc::clone(host);
    op!(ctx, field, "list", move || {
        with_services(&h, async |services| list(services).await)
    });
    let h = Rc::clone(host);
    op!(ctx, field, "count", move || {
        with_services(&h, async |services| {
            let dir = services.config().queue_dir.clone();
            match rt::offload(move || QueueStat::of(&dir)).await {
                Ok(Ok(stat)) => Outcome::Data(stat.queue_count.into()),
                Ok(Err(e)) => std::io::Error::other(e).into(),
                Err(e) => std::io::Error::other(e).into(),
            }
        })
    });
    Ok(())
}

/// The message in stored form; what is no header is body.
fn fill(txn: &Transaction, stored: &[u8]) {
    let (header, at) = Header::split(stored, HeaderLimits::default());
    let mut body = BodyWriter::default();
    body.push(stored.get(at..).unwrap_or_default());
    *txn.header.borrow_mut() = header;
    *txn.body.borrow_mut() = body.finish();
    txn.data_bytes.set(stored.len() as u64);
}

async fn list(services: &dyn Services) -> Outcome {
    let dir = services.config().queue_dir.clone();
    let listed = rt::offload(move || {
        let items = Listing::open(&dir)?.flatten().take(MOST);
        Ok::<Vec<_>, haraka_shared::spool::SpoolError>(items.collect())
    })
    .await;
    let items = match listed {
        Ok(Ok(items)) => items,
        Ok(Err(e)) => return std::io::Error::other(e).into(),
        Err(e) => return std::io::Error::other(e).into(),
    };
    let shown = items.iter().map(|item| {
        json!({
            "file": item.name.as_str(), "domain": item.domain,
            "mail_from": shown(&item.mail_from), "rcpts": item.rcpt_count,
        })
    });
    Outcome::Data(shown.collect())
}
