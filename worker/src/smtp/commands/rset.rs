//! RSET (CON-16).

use haraka_shared::hook::Call;
use haraka_shared::reply::Reply;

use crate::smtp::session::{Outcome, Session};

pub(super) async fn rset(s: &mut Session, args: &str) -> Outcome {
    if !args.is_empty() {
        return Outcome::Say(Reply::new(501, "Syntax error"));
    }
    s.hook(Call::Rset(())).await;
    Outcome::SayReset(Reply::new(250, "OK"))
}
