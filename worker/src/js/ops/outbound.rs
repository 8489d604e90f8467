//! Messages that scripts send themselves, and the queue as they may look at it.

use std::rc::Rc;

use haraka_shared::address::Address;
use haraka_shared::body::BodyWriter;
use haraka_shared::header::{Header, HeaderLimits};
use haraka_shared::hook::Path;
use haraka_shared::services::{Services, WorkerQueue};
use haraka_shared::spool::{Listing, QueueName, QueueStat};
use haraka_shared::transaction::Transaction;
use rquickjs::{Ctx, Object};
use serde_json::{Value, json};

use super::address::{shown, with};
use super::message::with_services;
use super::op;
use crate::js::convert::{Bytes, Json};
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
    op!(ctx, field, "counts", move || Json(counts(&h)));
    let h = Rc::clone(host);
    op!(ctx, field, "waiting", move || Json(waiting(&h)));
    let h = Rc::clone(host);
    // None while plugins are loaded.
    op!(ctx, field, "dir", move || h
        .services()
        .map(|s| queue_dir(&*s)));
    let h = Rc::clone(host);
    op!(ctx, field, "flush", move |domain: Option<String>| {
        if let Some(queue) = h.services().as_deref().and_then(Services::queue) {
            queue.flush(domain.as_deref());
        }
    });
    let h = Rc::clone(host);
    op!(ctx, field, "retry", move |file: String| {
        if let Some(queue) = h.services().as_deref().and_then(Services::queue) {
            queue.retry(&file);
        }
    });
    let h = Rc::clone(host);
    op!(ctx, field, "count", move || {
        with_services(&h, async |services| {
            let dir = services.config().queue_dir.clone();
            match rt::offload(move || QueueStat::of(&dir)).await {
                Ok(Ok(stat)) => Outcome::Data(json!({
                    "queue_dir": stat.queue_dir, "queue_count": stat.queue_count,
                })),
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
    let dir = queue_dir(services);
    let shown = items.iter().map(|item| {
        let todo = &item.todo;
        let rcpt_to: Value = todo.rcpt_to.iter().map(|r| shown(&r.address)).collect();
        let mut told = serde_json::to_value(todo).unwrap_or_default();
        if let Some(told) = told.as_object_mut() {
            // A key of ours.
            told.remove("size");
        }
        for (key, value) in [
            ("mail_from", shown(&todo.mail_from)),
            ("rcpt_to", rcpt_to),
            ("file", item.name.as_str().into()),
            ("full_path", format!("{dir}/{}", item.name).into()),
            ("pid", item.name.pid.into()),
        ] {
            told = with(told, key, value);
        }
        told
    });
    Outcome::Data(shown.collect())
}

fn queue_dir(services: &dyn Services) -> String {
    let dir = services.config().queue_dir.clone();
    let whole = std::path::absolute(&dir).unwrap_or(dir);
    whole.to_string_lossy().into_owned()
}

/// Being delivered, waiting for their turn, waiting for their time; of this worker.
fn counts(host: &Host) -> Value {
    let services = host.services();
    let queue = services.as_deref().and_then(Services::queue);
    let counts = queue.map(WorkerQueue::counts).unwrap_or_default();
    json!([counts.in_progress, counts.pending, counts.deferred])
}

/// The names of those that wait, and when they are due.
fn waiting(host: &Host) -> Value {
    let services = host.services();
    let queue = services.as_deref().and_then(Services::queue);
    let (due, later) = queue.map(|q| q.waiting(MOST)).unwrap_or_default();
    let named = |names: Vec<QueueName>| -> Value {
        let pairs = names.iter().map(|n| json!([n.as_str(), n.next_attempt]));
        pairs.collect()
    };
    json!([named(due), named(later)])
}
