//! Headers, for `haraka/header.js`: of the message, of its parts, and those that scripts make.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use haraka_shared::header::{Header, HeaderLimits};
use rquickjs::{Ctx, Object};

use super::op;
use crate::js::convert::{Bytes, Json, lossy};
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
        |ctx: Ctx<'_>, of: Handle, name: String| {
            of.header(&ctx, |h| h.get_all(&name).map(shown).collect::<Vec<_>>())
        }
    );
    op!(
        ctx,
        field,
        "joined",
        |ctx: Ctx<'_>, of: Handle, name: String| {
            of.header(&ctx, |h| {
                let mut all = h.get_all(&name).map(shown);
                let first = all.next().unwrap_or_default();
                all.fold(first, |joined, next| joined + "\n" + &next)
            })
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
    // These give back what the field's value is now.
    op!(
        ctx,
        field,
        "add",
        |ctx: Ctx<'_>, of: Handle, name: String, value: String| {
            of.header_mut(&ctx, |h| {
                h.add(&name, &folded(&value));
                h.get(&name).map(text)
            })
        }
    );
    op!(
        ctx,
        field,
        "addEnd",
        |ctx: Ctx<'_>, of: Handle, name: String, value: String| {
            of.header_mut(&ctx, |h| {
                h.add_end(&name, &folded(&value));
                h.get_all(&name).last().map(text)
            })
        }
    );
    op!(
        ctx,
        field,
        "remove",
        |ctx: Ctx<'_>, of: Handle, name: String| {
            of.header_mut(&ctx, |h| {
                h.remove(&name);
            })
        }
    );
    Ok(())
}

/// What a line break would make another line becomes a fold.
fn folded(value: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'\r', b'\n', value.as_bytes()).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len() + 8);
    let mut rest = value;
    while let Some(at) = rest.find(['\r', '\n']) {
        let (line, from) = rest.split_at_checked(at).unwrap_or_default();
        out.push_str(line);
        let after = from.strip_prefix('\r').unwrap_or(from);
        match after.strip_prefix('\n') {
            // A fold already, or the end.
            Some(after) if after.is_empty() || after.starts_with([' ', '\t']) => {
                let end = from.len() - after.len();
                out.push_str(from.get(..end).unwrap_or_default());
                rest = after;
            }
            broken => {
                out.push_str("\n ");
                rest = broken.unwrap_or(after);
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn text(octets: &[u8]) -> String {
    let text = lossy(octets);
    match memchr::memchr(b'\r', octets) {
        Some(_) => text.replace("\r\n", "\n"),
        None => text.into_owned(),
    }
}

/// As scripts see a value: with a line end.
fn shown(value: &[u8]) -> String {
    let mut shown = text(value);
    if !shown.ends_with('\n') {
        shown.push('\n');
    }
    shown
}

/// Names in lower case with their values, in order.
fn fields(header: &Header) -> serde_json::Value {
    let all = header.fields().filter_map(|field| {
        let name = String::from_utf8_lossy(field.name()?).to_lowercase();
        Some(serde_json::json!([name, text(field.value())]))
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers TXN-24
    #[test]
    fn what_would_be_another_line_becomes_a_fold() {
        for (given, kept) in [
            ("one line", "one line"),
            ("a\nb\r\nc\rd", "a\n b\n c\n d"),
            ("a\n b\r\n\tc", "a\n b\r\n\tc"),
            ("a\r b\n\nc", "a\n  b\n \n c"),
            ("\na\n", "\n a\n"),
            ("a\r\n", "a\r\n"),
            ("a\r", "a\n "),
            ("a\r\r\n\r\n", "a\n \n \r\n"),
            ("\u{e9}\n\u{e9}", "\u{e9}\n \u{e9}"),
            ("", ""),
        ] {
            assert_eq!(folded(given), kept, "{given:?}");
        }
    }
}
