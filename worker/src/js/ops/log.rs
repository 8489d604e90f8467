//! Log lines of scripts, in Haraka's form.

use std::rc::Rc;

use haraka_shared::log::{self, Level, Value};
use rquickjs::{Ctx, Object};

use super::op;
use crate::js::convert::Json;
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "level", log::level);
    op!(ctx, field, "write", write);
    let host = Rc::clone(host);
    op!(ctx, field, "failure", move |text: String| host
        .log_failure(&text));
    Ok(())
}

fn level_of(number: u8) -> Option<Level> {
    Level::ALL.into_iter().find(|l| *l as u8 == number)
}

fn write(level: u8, uuid: String, origin: String, message: String, fields: Json) {
    let Some(level) = level_of(level).filter(|l| log::enabled(*l)) else {
        return;
    };
    let texts: Vec<(String, serde_json::Value, String)> = match fields.0 {
        serde_json::Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| {
                let text = match &value {
                    serde_json::Value::String(text) => text.clone(),
                    serde_json::Value::Null => String::new(),
                    other => other.to_string(),
                };
                (key, value, text)
            })
            .collect(),
        _ => Vec::new(),
    };
    let fields: Vec<(&str, Value<'_>)> = texts
        .iter()
        .map(|(key, value, text)| match value.as_u64() {
            Some(number) => (key.as_str(), Value::Number(number)),
            None => (key.as_str(), Value::Text(text)),
        })
        .collect();
    log::emit(level, &uuid, &origin, &fields, format_args!("{message}"));
}
