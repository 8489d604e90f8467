//! From what a script gives `next()` to a verdict. `haraka/hooks.js` has sorted it by kind before.

use haraka_shared::hook::{Code, HookName, Message, Verdict};
use haraka_shared::reply::{Enhanced, Reply};
use haraka_shared::route::{Host, Route};
use serde_json::Value;

/// Octets of text in an answer; clients wait for all of it, and log lines repeat it.
const LONGEST: usize = 16 << 10;

/// The code of a number; anything that is none counts as CONT, as `next()` without one.
fn code(number: u32) -> Code {
    [
        Code::Stop,
        Code::Deny,
        Code::DenySoft,
        Code::DenyDisconnect,
        Code::Disconnect,
        Code::Ok,
        Code::NextHook,
        Code::Delay,
        Code::DenySoftDisconnect,
    ]
    .into_iter()
    .find(|c| *c as u32 == number)
    .unwrap_or(Code::Cont)
}

/// The verdict: `message` is `{text}`, `{dsn}`, or any plain value.
pub(super) fn verdict(hook: HookName, number: u32, message: &Value) -> Verdict {
    let code = code(number);
    let message = match (hook, code, message) {
        (_, _, Value::Null) => Message::None,
        (HookName::GetMx, Code::Ok, routes) => Message::Routes(routes_of(routes)),
        (HookName::SendEmail | HookName::Deferred, _, seconds) => match number_of(seconds) {
            Some(seconds) => Message::Seconds(seconds),
            None => text(seconds),
        },
        (_, _, other) => dsn(other).unwrap_or_else(|| text(other)),
    };
    Verdict { code, message }
}

fn number_of(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_str().and_then(|t| t.trim().parse().ok()))
}

fn text(value: &Value) -> Message {
    let line = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let text = match value {
        Value::Array(lines) => lines.iter().map(line).collect::<Vec<_>>().join("\n"),
        other => line(other),
    };
    if text.is_empty() {
        return Message::None;
    }
    Message::Text(short(text).into())
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

/// `{dsn: {code, cls, sub, det, msg}}`, from the objects of haraka-dsn (RES-09); of one whose numbers are none,
/// what it says.
fn dsn(value: &Value) -> Option<Message> {
    let dsn = value.get("dsn")?;
    let said = dsn.get("msg").map(text).unwrap_or_default();
    Some(reply_of(dsn, &said).map_or(said, Message::Reply))
}

/// Plugins give the numbers as text as well.
fn reply_of(dsn: &Value, said: &Message) -> Option<Reply> {
    let number = |key: &str| match dsn.get(key)? {
        Value::String(digits) => digits.trim().parse::<u16>().ok(),
        number => u16::try_from(number.as_u64()?).ok(),
    };
    let said = said.text().unwrap_or_default().into_owned();
    let reply = Reply::new(number("code")?, said);
    let class = u8::try_from(number("cls")?).ok()?;
    Some(match Enhanced::new(class, number("sub")?, number("det")?) {
        Some(enhanced) => reply.with_enhanced(enhanced),
        None => reply,
    })
}

/// Text, an object as of HarakaMx, or several of them (HOK-27); what is no route is left out.
fn routes_of(value: &Value) -> Vec<Route> {
    match value {
        Value::Array(all) => all.iter().filter_map(route).collect(),
        one => route(one).into_iter().collect(),
    }
}

fn route(value: &Value) -> Option<Route> {
    if let Some(text) = value.as_str() {
        return Route::parse(text).ok();
    }
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let truthy = |key: &str| value.get(key).is_some_and(is_truthy);
    let mut route = match (text("path"), text("exchange")) {
        (Some(path), _) => Route::to(Host::Path(path.into())),
        // A null MX, as the DNS gave it.
        (None, Some(name)) if name.is_empty() => Route::to(Host::Name(name)),
        (None, name) => Route::parse(&name?).ok()?,
    };
    let small = |key: &str| value.get(key).and_then(number_of).map(|n| n as u16);
    route.port = small("port").filter(|p| *p != 0).or(route.port);
    route.preference = small("priority").unwrap_or_default();
    route.lmtp |= truthy("using_lmtp");
    route.from_dns = truthy("from_dns");
    route.bind = text("bind").and_then(|ip| ip.parse().ok());
    route.bind_helo = text("bind_helo");
    route.auth_user = text("auth_user").or(route.auth_user);
    route.auth_pass = text("auth_pass").or(route.auth_pass);
    route.auth_type = text("auth_type");
    Some(route)
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // covers HOK-27, RES-09
    #[test]
    fn what_next_is_given_becomes_text_reply_seconds_or_routes() {
        let deny = Code::Deny as u32;
        let of = |hook, code, message| verdict(hook, code, &message);
        let said = of(HookName::Rcpt, deny, json!(["a", "b"]));
        assert_eq!(said, Verdict::deny("a\nb"));
        let dsn = json!({ "dsn": { "code": 550, "cls": 5, "sub": 1, "det": 1, "msg": "no" } });
        let Message::Reply(reply) = of(HookName::Rcpt, deny, dsn).message else {
            panic!("no reply");
        };
        assert_eq!(reply.to_string(), "550 5.1.1 no");
        let digits =
            json!({ "dsn": { "code": "451", "cls": 4, "sub": 7, "det": 1, "msg": "later" } });
        let Message::Reply(reply) = of(HookName::RcptOk, Code::DenySoft as u32, digits).message
        else {
            panic!("no reply");
        };
        assert_eq!(reply.to_string(), "451 4.7.1 later");
        let odd = json!({ "dsn": { "code": "no", "cls": 5, "sub": 0, "det": 0, "msg": "odd" } });
        assert_eq!(of(HookName::Rcpt, deny, odd), Verdict::deny("odd"));
        let soft = of(HookName::Deferred, Code::DenySoft as u32, json!(60));
        assert_eq!(soft.message, Message::Seconds(60.0));
        let mx = json!([{ "exchange": "mx.test", "port": 26 }, "lmtp://b.test"]);
        let Message::Routes(routes) = of(HookName::GetMx, Code::Ok as u32, mx).message else {
            panic!("no routes");
        };
        assert_eq!((routes[0].port(), routes[1].lmtp), (26, true));
        assert_eq!(of(HookName::Rcpt, 0, json!(null)), Verdict::CONT);
    }
}
