//! The parts of a message and what scripts ask of them: texts, attachments, filters, added octets.

use std::rc::{Rc, Weak};

use haraka_shared::body::Splice;
use haraka_shared::mime::{BodyFilter, MimeTree, Part, PartKind};
use haraka_shared::stuffing::Stuffer;
use haraka_shared::transaction::Attachment;
use rquickjs::{Class, Ctx, Exception, Function, Object};
use serde_json::{Value, json};

use super::message::Reading;
use super::op;
use crate::js::convert::{Bytes, Json, throw_io};
use crate::js::engine::Engine;
use crate::js::handle::Handle;
use crate::js::host::Host;
use crate::js::opaque::Opaque;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "tree", |ctx: Ctx<'_>, of: Handle| {
        let txn = of.transaction(&ctx)?;
        rquickjs::Result::Ok(txn.mime().map(Handle::Mime))
    });
    op!(ctx, field, "same", |ctx: Ctx<'_>, a: Handle, b: Handle| {
        rquickjs::Result::Ok(a.mime(&ctx)?.is(&b.mime(&ctx)?))
    });
    op!(ctx, field, "parts", |ctx: Ctx<'_>, of: Handle| {
        let tree = of.mime(&ctx)?;
        let parts: Value = tree.parts().iter().map(shown).collect();
        rquickjs::Result::Ok(Json(parts))
    });
    op!(
        ctx,
        field,
        "header",
        |ctx: Ctx<'_>, of: Handle, part: usize| {
            rquickjs::Result::Ok(Handle::Part(of.mime(&ctx)?, part))
        }
    );
    let h = Rc::clone(host);
    op!(
        ctx,
        field,
        "text",
        move |ctx: Ctx<'_>, of: Handle, part: usize| { text(&h, &ctx, &of.mime(&ctx)?, part) }
    );
    op!(ctx, field, "open", open);
    wishes(ctx, field, host)
}

/// What scripts ask for before the message is there.
fn wishes<'js>(ctx: &Ctx<'js>, field: &Object<'js>, host: &Rc<Host>) -> rquickjs::Result<()> {
    let h = Rc::clone(host);
    op!(
        ctx,
        field,
        "onAttachment",
        move |ctx: Ctx<'_>, of: Handle, number: u32| {
            let engine = engine_of(&h);
            let told = move |attachment| announce(&engine, number, attachment);
            of.transaction(&ctx)?.on_attachment(told);
            rquickjs::Result::Ok(())
        }
    );
    let h = Rc::clone(host);
    op!(
        ctx,
        field,
        "filter",
        move |ctx: Ctx<'_>, of: Handle, number: u32| {
            of.transaction(&ctx)?
                .add_body_filter(filter(engine_of(&h), number));
            rquickjs::Result::Ok(())
        }
    );
    op!(
        ctx,
        field,
        "append",
        |ctx: Ctx<'_>, of: Handle, octets: Bytes| {
            let txn = of.transaction(&ctx)?;
            let at = txn.body.borrow().len();
            txn.splice_body(vec![Splice {
                at,
                remove: 0,
                insert: octets.0,
            }]);
            rquickjs::Result::Ok(())
        }
    );
    op!(ctx, field, "stuff", |octets: Bytes| {
        let mut stuffed = Vec::with_capacity(octets.0.len() + 16);
        let mut stuffer = Stuffer::new();
        stuffer.push(&octets.0, &mut |piece| stuffed.extend_from_slice(piece));
        stuffer.finish(&mut |piece| stuffed.extend_from_slice(piece));
        Bytes(stuffed)
    });
    Ok(())
}

fn engine_of(host: &Host) -> Weak<Engine> {
    host.engine().map_or(Weak::new(), |e| Rc::downgrade(&e))
}

fn shown(part: &Part) -> Value {
    let kind = match part.kind() {
        PartKind::Text => "text",
        PartKind::Multipart => "multipart",
        PartKind::Attachment => "attachment",
    };
    json!({
        "ct": part.content_type(), "children": part.children(), "kind": kind,
        "filename": part.filename(), "html": part.is_type("text/html"),
    })
}

/// The text was read before the hook where it is on disk; see `call`.
fn text(host: &Host, ctx: &Ctx<'_>, tree: &MimeTree, part: usize) -> rquickjs::Result<Json> {
    let most = usize::try_from(host.limits.file).unwrap_or(usize::MAX);
    match tree.text(part, most) {
        Ok(text) => Ok(Json(json!([text.text, text.encoding]))),
        Err(e) => Err(throw_io(ctx, &e, "read", "the message")),
    }
}

fn open<'js>(
    ctx: Ctx<'js>,
    of: Handle,
    part: usize,
) -> rquickjs::Result<Class<'js, Opaque<Reading>>> {
    match of.mime(&ctx)?.reader(part) {
        Some(reader) => Class::instance(ctx, Opaque(Reading::of_part(reader))),
        None => Err(Exception::throw_type(&ctx, "no such part")),
    }
}

fn announce(engine: &Weak<Engine>, number: u32, attachment: Attachment) {
    let Some(engine) = engine.upgrade() else {
        return;
    };
    let Attachment {
        content_type,
        filename,
        tree,
        part,
        stream,
    } = attachment;
    engine.tell("attachment", |ctx, bridge| {
        let tell: Function<'_> = bridge.get("attachment")?;
        let reading = Class::instance(ctx.clone(), Opaque(Reading::of_part(stream)))?;
        tell.call((
            number,
            content_type,
            filename,
            Handle::Mime(tree),
            part,
            reading,
        ))
    });
}

fn filter(engine: Weak<Engine>, number: u32) -> BodyFilter {
    let asked = Weak::clone(&engine);
    BodyFilter {
        wants: Box::new(move |content_type| {
            let Some(engine) = asked.upgrade() else {
                return false;
            };
            let wants = engine.enter("body filter", |_, bridge| {
                let wants: Function<'_> = bridge.get("filterWants")?;
                wants.call::<_, bool>((number, content_type))
            });
            wants.unwrap_or_else(|e| failed(&engine, &e.to_string()).is_some())
        }),
        text: Box::new(move |part, octets| {
            let engine = engine.upgrade()?;
            let octets = Bytes(octets.to_vec());
            let all = part.header().get_all_decoded("content-disposition");
            let disposition = all.collect::<Vec<_>>().join("\n");
            let made = engine.enter("body filter", |_, bridge| {
                let run: Function<'_> = bridge.get("filterRun")?;
                run.call::<_, Option<Bytes>>((
                    number,
                    part.content_type(),
                    part.charset(),
                    octets,
                    disposition,
                ))
            });
            match made {
                Ok(made) => made.map(|bytes| bytes.0),
                Err(e) => failed(&engine, &e.to_string()),
            }
        }),
    }
}

/// The part stays as it came.
fn failed(engine: &Engine, why: &str) -> Option<Vec<u8>> {
    engine.host.log_failure(&format!("body filter: {why}"));
    None
}
