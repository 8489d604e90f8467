//! A queue item as hooks about deliveries show it to scripts; the object is in `haraka/hmail.js`.

use std::rc::Rc;

use haraka_shared::address::Address;
use haraka_shared::delivery::{Decision, Delivered, Delivery};
use haraka_shared::spool::{Form, QueueName, Recipient, RecipientState};
use rquickjs::{Ctx, Object};
use serde_json::{Map, Value, json};

use super::address::{shown, told};
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
        rquickjs::Result::Ok(Json(json!({
            "uuid": item.uuid, "file": item.file, "attempts": item.attempts.get(),
            "queue_dir": queue_dir, "queue_time": item.queue_time, "todo": todo(&item),
        })))
    });
    op!(
        ctx,
        field,
        "set",
        |ctx: Ctx<'_>, of: Handle, changed: Json| {
            let item = of.delivery(&ctx)?;
            for (name, value) in changed.0.as_object().into_iter().flatten() {
                set(&item, name, value);
            }
            rquickjs::Result::Ok(Json(todo(&item)))
        }
    );
    // Which file of the queue directory has the message of this item.
    op!(ctx, field, "bodyFile", |file: String| {
        match QueueName::parse(&file) {
            Some(name) if name.form == Form::Split => name.body_file(),
            _ => file,
        }
    });
    // Whether it counts; nothing if the attempt is over.
    op!(
        ctx,
        field,
        "decide",
        |ctx: Ctx<'_>, of: Handle, what: String, detail: Json| {
            let item = of.delivery(&ctx)?;
            let decision = decision(&what, &detail.0);
            rquickjs::Result::Ok(match decision {
                Some(decision) if !item.is_over() => Some(item.decide(decision)),
                _ => None,
            })
        }
    );
    Ok(())
}

/// What a script may change.
fn todo(item: &Delivery) -> Value {
    let recipients: Value = item.rcpt_to.borrow().iter().map(recipient).collect();
    json!({
        "domain": *item.domain.borrow(), "mail_from": shown(&item.mail_from.borrow()),
        "rcpt_to": recipients, "force_tls": item.force_tls.get(), "notes": item.notes.to_json(),
    })
}

/// A recipient with what is known of its last attempt, under the names that Haraka gives it.
pub(in crate::js) fn recipient(recipient: &Recipient) -> Value {
    let mut parts = shown(&recipient.address);
    let state = recipient.state.as_ref();
    let state = state.and_then(|s| serde_json::to_value(s).ok());
    if let (Some(parts), Some(Value::Object(mut state))) = (parts.as_object_mut(), state) {
        state.remove("last_attempt");
        // Haraka has it as it was on the wire.
        if let Some(code) = state.get_mut("dsn_smtp_code") {
            *code = code.to_string().into();
        }
        parts.append(&mut state);
    }
    parts
}

fn set(item: &Delivery, name: &str, value: &Value) {
    match (name, value) {
        ("domain", Value::String(domain)) => item.domain.borrow_mut().clone_from(domain),
        ("mail_from", parts) => {
            if let Some(address) = told(parts) {
                *item.mail_from.borrow_mut() = address;
            }
        }
        ("rcpt_to", Value::Array(list)) => {
            let before = item.rcpt_to.take();
            let now = list.iter().enumerate();
            let now = now.filter_map(|(at, parts)| as_told(parts, at, list.len(), &before));
            let now = now.collect();
            *item.rcpt_to.borrow_mut() = now;
        }
        ("force_tls", value) => item.force_tls.set(value == &Value::Bool(true)),
        ("notes", notes @ Value::Object(_)) => item.notes.replace(notes.clone()),
        _ => {}
    }
}

/// A recipient as a script has left it: the same one if the address is that of one, or else of the one
/// that it takes the place of.
fn as_told(parts: &Value, at: usize, count: usize, before: &[Recipient]) -> Option<Recipient> {
    let address: Address = told(parts)?;
    let same = before.iter().find(|r| r.address == address);
    let replaced = before.get(at).filter(|_| before.len() == count);
    let extra = same.or(replaced).map(|r| r.extra.clone());
    Some(Recipient {
        extra: extra.unwrap_or_default(),
        state: state(parts).map(Box::new),
        address,
    })
}

fn state(parts: &Value) -> Option<RecipientState> {
    let mut state = Map::new();
    for (key, value) in parts.as_object()? {
        let value = match (key.as_str(), value) {
            (_, Value::Null) => continue,
            ("dsn_code" | "dsn_smtp_code", Value::String(text)) => text.parse::<u16>().ok()?.into(),
            (key, Value::Number(_)) if key.ends_with("code") => value.clone(),
            (key, Value::String(_)) if key == "reason" || key.starts_with("dsn_") => value.clone(),
            _ => continue,
        };
        state.insert(key.clone(), value);
    }
    if state.is_empty() {
        return None;
    }
    serde_json::from_value(Value::Object(state)).ok()
}

fn decision(what: &str, detail: &Value) -> Option<Decision> {
    let text = |key: &str| detail.get(key).and_then(Value::as_str).unwrap_or_default();
    let flag = |key: &str| detail.get(key) == Some(&Value::Bool(true));
    Some(match what {
        "temp_fail" => Decision::TempFail(text("why").to_owned()),
        "bounce" => Decision::Bounce(text("why").to_owned()),
        "discard" => Decision::Discard,
        "delivered" => Decision::Delivered(Box::new(Delivered {
            host: text("host").to_owned(),
            ip: text("ip").to_owned(),
            response: text("response").to_owned(),
            delay: 0.0,
            port: detail
                .get("port")
                .and_then(Value::as_u64)
                .and_then(|p| u16::try_from(p).ok())
                .unwrap_or_default(),
            mode: if text("mode").eq_ignore_ascii_case("lmtp") {
                "LMTP"
            } else {
                "SMTP"
            },
            recipients: Vec::new(),
            secured: flag("secured"),
            authenticated: flag("authenticated"),
        })),
        _ => return None,
    })
}
