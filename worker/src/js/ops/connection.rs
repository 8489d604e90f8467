//! The connection as scripts read and change it. Each property is one row here; the object with its
//! getters and setters is in `haraka/connection.js`.

use std::net::IpAddr;
use std::rc::Rc;

use haraka_shared::connection::{Connection, HelloVerb};
use haraka_shared::core_results::NAMES as CORE_RESULTS;
use haraka_shared::reply::Reply;
use haraka_shared::transaction::Tally;
use rquickjs::convert::List;
use rquickjs::{Ctx, Function, Object};
use serde_json::{Value, json};

use super::op;
use crate::js::convert::Json;
use crate::js::handle::Handle;
use crate::js::host::{Host, Outcome};
use crate::js::live;
use crate::rt;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let h = Rc::clone(host);
    op!(
        ctx,
        field,
        "get",
        move |ctx: Ctx<'_>, of: Handle, name: String| {
            let conn = of.connection(&ctx)?;
            rquickjs::Result::Ok(Json(get(&h, &conn, &name)))
        }
    );
    let h = Rc::clone(host);
    // As `get`, with the name once and for all.
    op!(ctx, field, "reader", move |ctx, name: String| reader(
        ctx, &h, name
    ));
    op!(ctx, field, "set", |ctx: Ctx<'_>,
                            of: Handle,
                            name: String,
                            value: Json| {
        let conn = of.connection(&ctx)?;
        rquickjs::Result::Ok(set(&conn, &name, &value.0))
    });
    // What the core found and these numbers do not tell, and the numbers that do; nothing if there is none.
    op!(
        ctx,
        field,
        "coreNews",
        |ctx: Ctx<'_>, of: Handle, a: f64, b: f64, c: f64, d: f64, e: f64| {
            let conn = of.connection(&ctx)?;
            let last = [a, b, c, d, e];
            let marks = conn.core_marks().map(|mark| mark as f64);
            let news = || List((marks.to_vec(), Json(core_news(&conn, &marks, &last))));
            rquickjs::Result::Ok((last != marks).then(news))
        }
    );
    op!(ctx, field, "transaction", |ctx: Ctx<'_>, of: Handle| {
        let conn = of.connection(&ctx)?;
        let open = conn.transaction();
        if let Some(open) = &open {
            live::kept(&conn, |kept| kept.shows(open));
        }
        rquickjs::Result::Ok(open.map(Handle::Transaction))
    });
    op!(
        ctx,
        field,
        "respond",
        |ctx: Ctx<'_>, of: Handle, code: u16, lines: Vec<String>| {
            of.connection(&ctx)?.say(Reply::lines_of(code, lines));
            rquickjs::Result::Ok(())
        }
    );
    op!(ctx, field, "disconnect", |ctx: Ctx<'_>, of: Handle| {
        of.connection(&ctx)?.hang_up();
        rquickjs::Result::Ok(())
    });
    let h = Rc::clone(host);
    op!(
        ctx,
        field,
        "resetTransaction",
        move |ctx: Ctx<'_>, of: Handle| {
            let conn = of.connection(&ctx)?;
            rquickjs::Result::Ok(h.start(async move {
                conn.reset_transaction().await;
                Outcome::Data(Value::Null)
            }))
        }
    );
    Ok(())
}

fn reader<'js>(ctx: Ctx<'js>, host: &Rc<Host>, name: String) -> rquickjs::Result<Function<'js>> {
    let host = Rc::clone(host);
    Function::new(ctx, move |ctx: Ctx<'_>, of: Handle| {
        let conn = of.connection(&ctx)?;
        rquickjs::Result::Ok(Json(get(&host, &conn, &name)))
    })
}

/// The core's results whose numbers differ, by name.
fn core_news(conn: &Connection, marks: &[f64], last: &[f64]) -> Value {
    let changed = CORE_RESULTS.iter().zip(marks).enumerate();
    let changed = changed.filter(|(at, (_, mark))| last.get(*at) != Some(mark));
    let found = changed.filter_map(|(_, (name, _))| {
        let found = conn.core_result(name)?;
        Some(((*name).to_owned(), Value::Object(found)))
    });
    Value::Object(found.collect())
}

fn tally(t: &Tally) -> Value {
    json!({ "accept": t.accept.get(), "tempfail": t.tempfail.get(), "reject": t.reject.get() })
}

/// TLS-21: what Haraka's `setTLS` leaves on a connection.
fn tls(conn: &Connection, name: &str) -> Value {
    let tls = conn.tls.borrow();
    match (name, &*tls) {
        ("advertised", _) => conn.tls_advertised.get().into(),
        ("enabled", tls) => tls.is_some().into(),
        ("verified", tls) => tls.as_ref().is_some_and(|tls| tls.verified).into(),
        ("verifyError", Some(tls)) => tls.verify_error.as_deref().into(),
        ("cipher", Some(tls)) => tls.cipher_json(),
        ("cipher", None) => json!({}),
        ("peerCertificate", Some(tls)) => tls.peer_json(),
        _ => Value::Null,
    }
}

fn remote(conn: &Connection, name: &str) -> Value {
    let remote = conn.remote.borrow();
    match name {
        "ip" => remote.ip.to_string().into(),
        "port" => remote.port.into(),
        "host" => remote.host.as_deref().into(),
        "info" => remote.info.as_deref().into(),
        "closed" => remote.closed.into(),
        "is_private" => remote.is_private.into(),
        "is_local" => remote.is_local.into(),
        _ => Value::Null,
    }
}

fn local(host: &Host, conn: &Connection, name: &str) -> Value {
    match name {
        "ip" => conn.local.get().ip.to_string().into(),
        "port" => conn.local.get().port.into(),
        "host" => host.services().map(|s| s.config().me.clone()).into(),
        "info" => "Haraka".into(),
        _ => Value::Null,
    }
}

fn hello(conn: &Connection, name: &str) -> Value {
    let hello = conn.hello.borrow();
    let Some((verb, host)) = &*hello else {
        return Value::Null;
    };
    match (name, verb) {
        ("verb", HelloVerb::Helo) => "HELO".into(),
        ("verb", HelloVerb::Ehlo) => "EHLO".into(),
        _ => host.to_string().into(),
    }
}

fn proxy(conn: &Connection, name: &str) -> Value {
    let proxy = conn.proxy.get();
    match name {
        "allowed" => proxy.allowed.into(),
        "ip" => proxy.ip.map(|ip| ip.to_string()).into(),
        _ => proxy.ip.map(|_| "haproxy").into(),
    }
}

fn get(host: &Host, conn: &Connection, name: &str) -> Value {
    if let Some((part, name)) = name.split_once('.') {
        return match part {
            "remote" => remote(conn, name),
            "local" => local(host, conn, name),
            "hello" => hello(conn, name),
            "tls" => tls(conn, name),
            _ => proxy(conn, name),
        };
    }
    match name {
        "local result" | "remote result" | "helo result" | "reset result" | "disconnect result" => {
            let of = name.split(' ').next().unwrap_or_default();
            conn.core_result(of).map_or(Value::Null, Value::Object)
        }
        "uuid" => format!("{:X}", conn.uuid.hyphenated()).into(),
        "relaying" => conn.relaying().into(),
        "esmtp" => conn.esmtp.get().into(),
        "pipelining" => conn.pipelining.get().into(),
        "early_talker" => conn.early_talker.get().into(),
        "errors" => conn.errors.get().into(),
        "tran_count" => conn.tran_count.get().into(),
        "totalbytes" => conn.total_bytes.get().into(),
        "rcpt_count" => tally(&conn.rcpt_count),
        "msg_count" => tally(&conn.msg_count),
        "current_line" => {
            let line = conn.line.borrow();
            let text = line.as_deref().map(String::from_utf8_lossy);
            text.as_deref().into()
        }
        "last_reject" => conn
            .last_reject
            .borrow()
            .as_deref()
            .unwrap_or_default()
            .into(),
        "authheader" => conn.authheader.borrow().as_deref().into(),
        "capabilities" => conn.capabilities.borrow().iter().cloned().collect(),
        "start_time" => {
            let ago = rt::precise_now().saturating_duration_since(conn.started);
            let now = std::time::SystemTime::now();
            let since = now
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default();
            let ms = since.saturating_sub(ago).as_millis();
            u64::try_from(ms).unwrap_or_default().into()
        }
        _ => Value::Null,
    }
}

/// Whether there is such a property and the value suits it.
fn set(conn: &Connection, name: &str, value: &Value) -> bool {
    let flag = || value.as_bool().unwrap_or_else(|| truthy(value));
    let text = || value.as_str();
    match name {
        "relaying" => conn.set_relaying(flag()),
        "esmtp" => conn.esmtp.set(flag()),
        "pipelining" => conn.pipelining.set(flag()),
        "early_talker" => conn.early_talker.set(flag()),
        "tran_count" => match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(count) => conn.tran_count.set(count),
            None => return false,
        },
        "errors" => match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(errors) => conn.errors.set(errors),
            None => return false,
        },
        "capabilities" => {
            let lines = value.as_array().into_iter().flatten();
            *conn.capabilities.borrow_mut() = lines
                .filter_map(|l| l.as_str().map(str::to_owned))
                .collect();
        }
        "remote.ip" => match text().and_then(|t| t.parse::<IpAddr>().ok()) {
            Some(ip) => conn.set_remote_ip(ip),
            None => return false,
        },
        "remote.port" => match value.as_u64().and_then(|n| u16::try_from(n).ok()) {
            Some(port) => conn.remote.borrow_mut().port = port,
            None => return false,
        },
        "remote.host" => conn.remote.borrow_mut().host = text().map(Rc::from),
        "remote.info" => conn.remote.borrow_mut().info = text().map(Rc::from),
        "remote.is_private" => conn.remote.borrow_mut().is_private = flag(),
        "remote.is_local" => conn.remote.borrow_mut().is_local = flag(),
        "hello.host" => {
            let mut hello = conn.hello.borrow_mut();
            let verb = hello.as_ref().map_or(HelloVerb::Ehlo, |(verb, _)| *verb);
            *hello = text().map(|host| (verb, Rc::from(host)));
        }
        "authheader" => *conn.authheader.borrow_mut() = text().map(Box::from),
        "last_reject" => *conn.last_reject.borrow_mut() = text().map(Box::from),
        _ => return false,
    }
    true
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}
