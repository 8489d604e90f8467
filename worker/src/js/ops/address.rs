//! The grammar of addresses, for scripts' `Address`.

use std::rc::Rc;

use haraka_shared::address::{Address, Limits};
use haraka_shared::header::addresses::{self, HeaderAddress, Mailbox, StartAt};
use rquickjs::{Ctx, Exception, Object};
use serde_json::{Value, json};

use super::op;
use crate::js::convert::Json;
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "parse", |ctx: Ctx<'_>, text: String| {
        match Address::parse(&text, Limits::default()) {
            Ok(address) => Ok(Json(shown(&address))),
            Err(e) => Err(Exception::throw_message(&ctx, &e.to_string())),
        }
    });
    op!(
        ctx,
        field,
        "ofParts",
        |ctx: Ctx<'_>, user: String, host: String| {
            match Address::from_parts(&user, &host) {
                Ok(address) => Ok(Json(shown(&address))),
                Err(e) => Err(Exception::throw_message(&ctx, &e.to_string())),
            }
        }
    );
    op!(
        ctx,
        field,
        "ofHeader",
        |ctx: Ctx<'_>, text: String, start_at: String| {
            let options = addresses::Options::at(start(&start_at));
            match addresses::parse_header(&text, options) {
                Ok(found) => Ok(Json(found.iter().map(of_header).collect())),
                Err(e) => Err(Exception::throw_message(&ctx, &e.to_string())),
            }
        }
    );
    op!(ctx, field, "mailboxes", |text: String, start_at: String| {
        mailboxes(&text, &start_at)
    });
    Ok(())
}

/// Of a field that is nothing but mailboxes in ASCII: five parts each, one after the other, as the engine
/// makes text faster than objects.
fn mailboxes(text: &str, start_at: &str) -> Option<Vec<String>> {
    if !text.is_ascii() {
        return None;
    }
    let found = addresses::parse_header(text, addresses::Options::at(start(start_at))).ok()?;
    let mut parts = Vec::with_capacity(found.len() * 5);
    for one in found {
        let HeaderAddress::Mailbox(m) = one else {
            return None;
        };
        parts.extend([m.user, m.host, m.original_host, m.phrase, m.comment]);
    }
    Some(parts)
}

fn start(name: &str) -> StartAt {
    match name {
        "from" => StartAt::From,
        "sender" => StartAt::Sender,
        "reply-to" => StartAt::ReplyTo,
        _ => StartAt::AddressList,
    }
}

fn of_header(found: &HeaderAddress) -> Value {
    let mailbox = |m: &Mailbox| {
        json!({
            "user": m.user, "host": m.host, "original_host": m.original_host,
            "phrase": m.phrase, "comment": m.comment,
        })
    };
    match found {
        HeaderAddress::Mailbox(one) => mailbox(one),
        HeaderAddress::Group(group) => {
            let members: Value = group.addresses.iter().map(mailbox).collect();
            json!({ "phrase": group.phrase, "addresses": members })
        }
    }
}

/// The parts of an address as scripts see them.
pub(in crate::js) fn shown(address: &Address) -> Value {
    let given = |part: &str| (!address.is_null()).then(|| part.to_owned());
    json!({
        "original": address.original(),
        "user": given(address.user()),
        "host": given(address.host()),
        "original_host": address.original_host(),
        "is_utf8": address.is_utf8(),
    })
}

/// An object with one more key.
pub(in crate::js) fn with(mut object: Value, key: &str, value: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
    object
}

/// An address that a script has made or changed: its text if that still says the same, else its parts.
pub(in crate::js) fn told(parts: &Value) -> Option<Address> {
    let text = |key: &str| parts.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("user").is_empty() {
        return Some(Address::null());
    }
    let written = Address::parse(text("original"), Limits::default()).ok();
    let same = written.filter(|a| a.user() == text("user") && a.host() == text("host"));
    same.or_else(|| Address::from_parts(text("user"), text("host")).ok())
}
