//! Reading a message out, in the forms that `message_stream` offers.

use std::cell::RefCell;
use std::rc::Rc;

use haraka_shared::message_stream::{LineEnd, MessageReader, ReadOptions};
use haraka_shared::mime::PartReader;
use haraka_shared::services::Services;
use rquickjs::{Class, Ctx, Object};
use serde_json::Value;

use super::op;
use crate::js::convert::Json;
use crate::js::handle::Handle;
use crate::js::host::{Host, Outcome};
use crate::js::opaque::Opaque;

/// A message or a part of one that is being read.
#[derive(Clone)]
pub(super) struct Reading(Rc<RefCell<Option<Source>>>);

enum Source {
    Message(MessageReader),
    Part(PartReader),
}

impl Reading {
    fn new(source: Source) -> Reading {
        Reading(Rc::new(RefCell::new(Some(source))))
    }

    /// At the beginning of a part.
    pub(super) fn of_part(reader: PartReader) -> Reading {
        Reading::new(Source::Part(reader))
    }
}

impl Source {
    async fn next(&mut self, services: &dyn Services) -> std::io::Result<Option<Vec<u8>>> {
        match self {
            Source::Message(reader) => reader.next(services).await,
            Source::Part(reader) => reader.next(services).await,
        }
    }
}

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "open", open);
    let h = Rc::clone(host);
    op!(
        ctx,
        field,
        "all",
        move |ctx: Ctx<'_>, of: Handle, how: Json| {
            let txn = of.transaction(&ctx)?;
            let mut reader = txn.reader(options(&how.0));
            let most = usize::try_from(h.limits.file).unwrap_or(usize::MAX);
            rquickjs::Result::Ok(with_services(&h, async move |services| {
                match reader.get_data(services, most).await {
                    Ok(bytes) => Outcome::Bytes(bytes),
                    Err(e) => e.into(),
                }
            }))
        }
    );
    let h = Rc::clone(host);
    op!(ctx, field, "next", move |reading: Class<
        '_,
        Opaque<Reading>,
    >| {
        let Reading(place) = reading.borrow().0.clone();
        with_services(&h, async move |services| {
            // Whoever reads twice at a time finds the end.
            let taken = place.take();
            let Some(mut reader) = taken else {
                return Outcome::Data(Value::Null);
            };
            let piece = reader.next(services).await;
            *place.borrow_mut() = Some(reader);
            match piece {
                Ok(Some(bytes)) => Outcome::Bytes(bytes),
                Ok(None) => Outcome::Data(Value::Null),
                Err(e) => e.into(),
            }
        })
    });
    Ok(())
}

fn open<'js>(
    ctx: Ctx<'js>,
    of: Handle,
    how: Json,
) -> rquickjs::Result<Class<'js, Opaque<Reading>>> {
    let reader = of.transaction(&ctx)?.reader(options(&how.0));
    Class::instance(ctx, Opaque(Reading::new(Source::Message(reader))))
}

pub(super) fn with_services<F>(host: &Rc<Host>, work: F) -> u32
where
    F: AsyncFnOnce(&dyn Services) -> Outcome + 'static,
{
    let services = host.services();
    host.start(async move {
        match services {
            Some(services) => work(&*services).await,
            None => std::io::Error::other("there are no messages before the worker serves").into(),
        }
    })
}

fn options(how: &Value) -> ReadOptions {
    let flag = |key: &str| how.get(key).and_then(Value::as_bool);
    ReadOptions {
        line_ends: match how.get("line_endings").and_then(Value::as_str) {
            Some("\n") => LineEnd::Lf,
            _ => LineEnd::Crlf,
        },
        stuffed: ReadOptions::stuffing(flag("dot_stuffed"), flag("dot_stuffing")),
        ending_dot: flag("ending_dot").unwrap_or(false),
        skip_headers: flag("skip_headers").unwrap_or(false),
        clamd_style: flag("clamd_style").unwrap_or(false),
    }
}
