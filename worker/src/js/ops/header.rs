//! Headers, for `haraka/header.js`: of the message, of its parts, and those that scripts make.

use std::cell::RefCell;
use std::rc::Rc;

use haraka_shared::header::{Header, HeaderLimits};
use rquickjs::{Ctx, Object};

use super::op;
use crate::js::convert::{Bytes, Json};
use crate::js::handle::Handle;
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    // A header of a script's own, from lines in stored form.
    op!(ctx, field, "make", |block: Bytes| {
        let mut block = block.0;
        block.extend_from_slice(b"\r\n");
        let (header, _) = Header::split(&block, HeaderLimits::default());
        Handle::Header(Rc::new(RefCell::new(header)))
    });
    op!(
        ctx,
        field,
        "all",
        |ctx: Ctx<'_>, of: Handle, name: String, decoded: bool| {
            of.header(&ctx, |header| match decoded {
                true => header.get_all_decoded(&name).collect(),
                false => header.get_all(&name).map(text).collect::<Vec<String>>(),
            })
        }
    );
    op!(
        ctx,
        field,
        "shown",
        |ctx: Ctx<'_>, of: Handle, name: String| { of.header(&ctx, |h| all_shown(h, &name)) }
    );
    op!(
        ctx,
        field,
        "joined",
        |ctx: Ctx<'_>, of: Handle, name: String| {
            of.header(&ctx, |h| all_shown(h, &name).join("\n"))
        }
    );
    op!(
        ctx,
        field,
        "decoded",
        |ctx: Ctx<'_>, of: Handle, name: String| {
            of.header(&ctx, |h| {
                h.get_all_decoded(&name).collect::<Vec<_>>().join("\n")
            })
        }
    );
    op!(ctx, field, "lines", |ctx: Ctx<'_>, of: Handle| {
        of.header(&ctx, |h| h.lines().map(text).collect::<Vec<String>>())
    });
    op!(ctx, field, "fields", |ctx: Ctx<'_>, of: Handle| {
        of.header(&ctx, |h| Json(fields(h)))
    });
    op!(
        ctx,
        field,
        "change",
        |ctx: Ctx<'_>, of: Handle, how: String, name: String, value: String| {
            of.header_mut(&ctx, |h| change(h, &how, &name, &value))
        }
    );
    Ok(())
}

fn text(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    match memchr::memchr(b'\r', octets) {
        Some(_) => text.replace("\r\n", "\n"),
        None => text.into_owned(),
    }
}

/// As scripts see them: each with a line end.
fn all_shown(header: &Header, name: &str) -> Vec<String> {
    let shown = |octets| {
        let mut shown = text(octets);
        if !shown.ends_with('\n') {
            shown.push('\n');
        }
        shown
    };
    header.get_all(name).map(shown).collect()
}

/// Names in lower case with their values, in order.
fn fields(header: &Header) -> serde_json::Value {
    let all = header.fields().filter_map(|field| {
        let name = String::from_utf8_lossy(field.name()?).to_lowercase();
        Some(serde_json::json!([name, text(field.value())]))
    });
    all.collect()
}

fn change(header: &mut Header, how: &str, name: &str, value: &str) {
    match how {
        "add" => header.add(name, value),
        "add_end" => header.add_end(name, value),
        _ => {
            header.remove(name);
        }
    }
}
