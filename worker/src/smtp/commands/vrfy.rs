//! VRFY, answered by plugins only (CON-19).

use haraka_shared::hook::{Call, Code};
use haraka_shared::reply::Reply;

use crate::smtp::answer::{Denied, reply};
use crate::smtp::session::{Outcome, Session};

pub(super) async fn vrfy(s: &mut Session) -> Outcome {
    let verdict = s.hook(Call::Vrfy(())).await;
    if let Some(denied) = Denied::from(&verdict, (550, "Access Denied"), (450, "Lookup Failed")) {
        return denied.and_reset();
    }
    if verdict.code == Code::Ok {
        return Outcome::Say(reply(250, verdict.message, "User OK"));
    }
    Outcome::Say(Reply::new(
        252,
        "Just try sending a mail and we'll see how it turns out...",
    ))
}
