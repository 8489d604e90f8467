//! Methods of text that the loader's changed calls name, for `globals.js`: splitting at blanks, and replacing
//! several texts by others.
//!
//! They answer for text that is Unicode. All else goes to the method of the same name that all objects have,
//! which does what was written.

use std::borrow::Cow;
use std::rc::Rc;

use memchr::memmem;
use rquickjs::function::This;
use rquickjs::{Array, CString, Ctx, Function, IntoJs, Object, String as Text, Value};

use super::op;
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "split$blank", split_at_blanks);
    op!(ctx, field, "replace$each", replace_each);
    Ok(())
}

/// What `text.split(/\s+/)` gives.
fn split_at_blanks<'js>(
    ctx: Ctx<'js>,
    this: This<Value<'js>>,
    by: Value<'js>,
) -> rquickjs::Result<Value<'js>> {
    let Some(text) = octets_of(&this.0)? else {
        return as_written(&ctx, "split$blank", this, by);
    };
    let Ok(text) = std::str::from_utf8(text.as_ref()) else {
        return as_written(&ctx, "split$blank", this, by);
    };
    let parts = Array::new(ctx.clone())?;
    if !text.contains(is_blank) {
        parts.set(0, this.0)?;
        return Ok(parts.into_value());
    }
    let (mut rest, mut at) = (text, 0);
    while let Some((part, after)) = rest.split_once(is_blank) {
        parts.set(at, part)?;
        rest = after.trim_start_matches(is_blank);
        at += 1;
    }
    parts.set(at, rest)?;
    Ok(parts.into_value())
}

/// ECMA-262, CharacterClassEscape: white space and line terminators, which are Unicode's but for two.
fn is_blank(c: char) -> bool {
    c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}')
}

/// The text after all replacements of what is in the pairs: texts, each with what stands for it, a line each.
fn replace_each<'js>(
    ctx: Ctx<'js>,
    this: This<Value<'js>>,
    pairs: Text<'js>,
) -> rquickjs::Result<Value<'js>> {
    let Some(text) = octets_of(&this.0)? else {
        return as_written(&ctx, "replace$each", this, pairs.into_value());
    };
    let with = CString::from_string(pairs.clone())?;
    let replaced = replaced(text.as_ref(), with.as_ref());
    match std::str::from_utf8(&replaced) {
        _ if matches!(replaced, Cow::Borrowed(_)) => Ok(this.0),
        Ok(replaced) => replaced.into_js(&ctx),
        Err(_) => as_written(&ctx, "replace$each", this, pairs.into_value()),
    }
}

/// Borrowed if nothing was found. What is looked for is no part of a character, so halves of such are passed over.
fn replaced<'a>(text: &'a [u8], pairs: &[u8]) -> Cow<'a, [u8]> {
    let mut now = Cow::Borrowed(text);
    let mut lines = pairs.split(|&octet| octet == b'\n');
    while let (Some(wanted), Some(by)) = (lines.next(), lines.next()) {
        let mut out = Vec::new();
        let mut copied = 0;
        let mut from = 0;
        while let Some(at) = find(now.get(from..).unwrap_or_default(), wanted) {
            let start = from + at;
            out.extend_from_slice(now.get(copied..start).unwrap_or_default());
            out.extend_from_slice(by);
            from = start + wanted.len();
            copied = from;
        }
        if copied > 0 {
            out.extend_from_slice(now.get(copied..).unwrap_or_default());
            now = Cow::Owned(out);
        }
    }
    now
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    match wanted {
        [octet] => memchr::memchr(*octet, text),
        _ => memmem::find(text, wanted),
    }
}

/// Of a text that is one by itself, not an object of one.
fn octets_of<'js>(value: &Value<'js>) -> rquickjs::Result<Option<CString<'js>>> {
    let text = value.as_string().cloned();
    text.map(CString::from_string).transpose()
}

/// What all objects have under that name.
fn as_written<'js>(
    ctx: &Ctx<'js>,
    name: &str,
    this: This<Value<'js>>,
    argument: Value<'js>,
) -> rquickjs::Result<Value<'js>> {
    let method: Function<'js> = Object::new(ctx.clone())?.get(name)?;
    method.call((this, argument))
}
