//! HELO and EHLO (CON-12 to CON-14, RFC 5321 §4.1.1.1).

use haraka_shared::connection::HelloVerb;
use haraka_shared::hook::{Call, HookName};
use haraka_shared::reply::Reply;

use crate::smtp::answer::Denied;
use crate::smtp::proto::command::HelloError;
use crate::smtp::session::{Outcome, Session};

pub(super) async fn helo(s: &mut Session, host: Result<&str, HelloError>) -> Outcome {
    let host = match introduce(s, HelloVerb::Helo, host).await {
        Ok(host) => host,
        Err(refusal) => return refusal,
    };
    let verdict = s.hook(Call::Helo(&host)).await;
    if let Some(denied) = Denied::from(&verdict, (550, "HELO denied"), (450, "HELO denied")) {
        return forget(s, denied);
    }
    Outcome::Say(Reply::new(250, greeting(s)))
}

pub(super) async fn ehlo(s: &mut Session, host: Result<&str, HelloError>) -> Outcome {
    let host = match introduce(s, HelloVerb::Ehlo, host).await {
        Ok(host) => host,
        Err(refusal) => return refusal,
    };
    let verdict = s.hook(Call::Ehlo(&host)).await;
    if let Some(denied) = Denied::from(&verdict, (550, "EHLO denied"), (450, "EHLO denied")) {
        return forget(s, denied);
    }
    let config = &s.config.connection;
    let mut lines = vec![greeting(s), "PIPELINING".to_owned(), "8BITMIME".to_owned()];
    if config.smtputf8 {
        lines.push("SMTPUTF8".to_owned());
    }
    lines.push(format!("SIZE {}", config.max_bytes.unwrap_or(0)));
    // Haraka's own come first and in its order; these are ours.
    if config.chunking {
        lines.push("CHUNKING".to_owned());
    }
    if config.dsn {
        lines.push("DSN".to_owned());
    }
    if config.enhanced_status_codes {
        lines.push("ENHANCEDSTATUSCODES".to_owned());
    }
    if let (true, Some(most)) = (config.limits, config.max_recipients) {
        lines.push(format!("LIMITS RCPTMAX={most}"));
    }
    s.added.clear();
    if s.worker.hooks.wants(HookName::Capabilities) {
        let ours = lines.clone();
        *s.conn.capabilities.borrow_mut() = lines;
        s.hook(Call::Capabilities(())).await;
        lines = s.conn.capabilities.take();
        s.added = lines
            .iter()
            .filter(|line| !ours.contains(line))
            .map(|line| keyword(line))
            .collect();
    }
    s.conn.esmtp.set(true);
    Outcome::Say(Reply::lines_of(250, lines))
}

fn keyword(line: &str) -> String {
    line.split([' ', '=']).next().unwrap_or_default().to_owned()
}

/// Checks the name, ends the transaction and notes who the client says it is.
async fn introduce(
    s: &mut Session,
    verb: HelloVerb,
    host: Result<&str, HelloError>,
) -> Result<std::rc::Rc<str>, Outcome> {
    let word = match verb {
        HelloVerb::Helo => "HELO",
        HelloVerb::Ehlo => "EHLO",
    };
    let host = host.map_err(|e| Outcome::Say(e.reply(word)))?;
    s.reset_transaction().await;
    let host: std::rc::Rc<str> = host.into();
    *s.conn.hello.borrow_mut() = Some((verb, std::rc::Rc::clone(&host)));
    Ok(host)
}

/// A client that may go on has not introduced itself; one that may not keeps its name for the log.
fn forget(s: &Session, denied: Denied) -> Outcome {
    if !denied.close {
        *s.conn.hello.borrow_mut() = None;
    }
    denied.and_go_on()
}

fn greeting(s: &Session) -> String {
    let remote = s.conn.remote.borrow();
    let name = remote.host.clone();
    drop(remote);
    let config = &s.config;
    format!(
        "{} Hello {}, {}",
        config.me,
        s.conn.shown(name.as_ref()),
        config.connection.helo
    )
}
