//! DNS questions of scripts, answered by the worker's resolver.

use std::rc::Rc;

use haraka_shared::services::DnsError;
use rquickjs::{Ctx, Object};
use serde_json::Value;

use super::op;
use crate::js::host::{Host, Outcome};

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let host = Rc::clone(host);
    op!(ctx, field, "ask", move |kind: String, name: String| {
        let services = host.services();
        host.start(async move {
            let Some(services) = services else {
                return refused("no questions are answered before the worker serves");
            };
            let dns = services.dns();
            let name = name.trim_end_matches('.');
            let answer: Result<Value, DnsError> = match kind.as_str() {
                "A" => dns.a(name).await.map(texts),
                "AAAA" => dns.aaaa(name).await.map(texts),
                "TXT" => dns.txt(name).await.map(texts),
                "MX" => dns.mx(name).await.map(|records| {
                    let records = records.into_iter().map(|mx| {
                        serde_json::json!({ "exchange": mx.exchange, "priority": mx.preference })
                    });
                    records.collect()
                }),
                "PTR" => match name.parse() {
                    Ok(ip) => dns.ptr(ip).await.map(texts),
                    Err(_) => return refused("not an address"),
                },
                _ => return refused("no such type of question"),
            };
            match answer {
                Ok(records) => Outcome::Data(records),
                Err(e) => Outcome::Failed {
                    code: code(&e).to_owned(),
                    message: e.to_string(),
                },
            }
        })
    });
    Ok(())
}

fn texts(records: Vec<impl ToString>) -> Value {
    records.iter().map(|r| Value::from(r.to_string())).collect()
}

fn refused(message: &str) -> Outcome {
    Outcome::Failed {
        code: "EINVAL".to_owned(),
        message: message.to_owned(),
    }
}

/// The names of c-ares, which Node shows.
fn code(e: &DnsError) -> &'static str {
    match e {
        DnsError::NoSuchName => "ENOTFOUND",
        DnsError::NoData => "ENODATA",
        DnsError::Temporary(text) if text.contains("timed out") => "ETIMEOUT",
        DnsError::Temporary(_) => "ESERVFAIL",
    }
}
