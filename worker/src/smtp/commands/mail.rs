//! MAIL FROM (CON-21 to CON-23, RFC 5321 §4.1.1.2).

use haraka_shared::address::{Address, Limits};
use haraka_shared::hook::{Call, Params, Path};
use haraka_shared::log::Level;
use haraka_shared::log_conn;
use haraka_shared::reply::Reply;
use haraka_shared::transaction::{Outcome as Counted, Transaction};

use crate::smtp::answer::{Denied, reply, spoken};
use crate::smtp::proto::offers::{self, Offers};
use crate::smtp::proto::params::{Arguments, Path as Which};
use crate::smtp::session::{Outcome, Session};

pub(super) async fn mail(s: &mut Session, args: &str) -> Outcome {
    if s.conn.hello.borrow().is_none() {
        s.conn.count_error();
        return Outcome::Say(Reply::new(503, "Use EHLO/HELO before MAIL"));
    }
    if s.conn.needs_auth() && !s.conn.relaying() {
        s.conn.count_error();
        return Outcome::Say(Reply::new(550, "Authentication required"));
    }
    let from = match path(s, Which::Mail, args) {
        Ok(path) => path,
        Err(refusal) => return refusal,
    };
    let most = s.config.connection.max_bytes;
    let size = from.params.iter().find(|(k, _)| k == "SIZE");
    if let Some((_, Some(size))) = size
        && let Some(most) = most
        // Not a number is no size, as in Haraka; beyond 64 bits it is still too big.
        && size.bytes().all(|b| b.is_ascii_digit())
        && size.parse::<u64>().unwrap_or(u64::MAX) > most
    {
        return Outcome::Say(Reply::new(550, "Message too big!"));
    }
    s.reset_transaction().await;
    s.wire.busy(true);
    let number = s.conn.tran_count.get() + 1;
    s.conn.tran_count.set(number);
    let uuid = format!("{:X}.{number}", s.conn.uuid.hyphenated());
    let txn = Transaction::new(uuid, from);
    s.conn.set_transaction(Some(txn.clone()));

    let verdict = s.hook(Call::Mail(&txn.mail_from())).await;
    let shown = txn.sender().to_string();
    log_conn!(
        Level::Notice,
        s.conn,
        [
            ("code", verdict.code.name().into()),
            ("msg", (&spoken(&verdict)).into())
        ],
        "sender {shown}"
    );
    let default = format!("sender {shown} denied");
    let denied = Denied::from(&verdict, (550, &default), (450, &default));
    let action = denied.as_ref().map_or(Counted::Accept, |d| d.counted);
    let bare = shown.trim_start_matches('<').trim_end_matches('>');
    let address = if bare.is_empty() { &shown } else { bare };
    let found = [
        ("action", action.name().into()),
        ("code", verdict.code.name().into()),
        ("address", address.into()),
    ];
    txn.results.add_all("mail_from", found);
    match denied {
        Some(denied) => denied.and_reset(),
        None => Outcome::Say(reply(250, verdict.message, format!("sender {shown} OK"))),
    }
}

/// The address and parameters of MAIL and RCPT, or what to answer instead.
pub(super) fn path(s: &Session, which: Which, args: &str) -> Result<Path, Outcome> {
    let config = &s.config.connection;
    let strict = config.strict_rfc1869 && !s.conn.relaying();
    let parsed = Arguments::parse(which, args, strict).map_err(|e| {
        s.conn.count_error();
        log_conn!(Level::Notice, s.conn, [], "Error: {e}");
        Outcome::Say(e.reply())
    })?;
    let limits = Limits {
        postel: config.postel,
    };
    let address = Address::parse(&parsed.path, limits).map_err(|e| {
        let command = match which {
            Which::Mail => "MAIL FROM",
            Which::Rcpt => "RCPT TO",
        };
        let text = format!("Invalid {command} address {}: {e}", printable(&parsed.path));
        log_conn!(Level::Notice, s.conn, [], "{text}");
        Outcome::Say(Reply::new(501, text))
    })?;
    if !s.conn.esmtp.get() && !parsed.params.is_empty() {
        return Err(Outcome::Say(Reply::new(555, "Invalid command parameters")));
    }
    let params: Params = parsed
        .params
        .into_iter()
        .map(|p| (p.key.into_owned(), p.value.map(str::to_owned)))
        .collect();
    if config.strict_parameters {
        let offers = Offers {
            smtputf8: config.smtputf8,
            dsn: config.dsn,
            others: &s.added,
        };
        offers::check(which, &params, offers).map_err(|e| {
            s.conn.count_error();
            Outcome::Say(e.reply())
        })?;
    }
    Ok(Path { address, params })
}

/// Without control characters, which must not come back in a reply.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
