//! RSET (CON-16).

use haraka_shared::hook::Call;
use haraka_shared::reply::Reply;

use crate::smtp::proto::command::{ARGUMENT_NOT_ALLOWED, Bare};
use crate::smtp::session::{Outcome, Session};

pub(super) async fn rset(s: &mut Session, bare: Bare) -> Outcome {
    if bare == Bare::No {
        return Outcome::Say(ARGUMENT_NOT_ALLOWED);
    }
    s.hook(Call::Rset(())).await;
    Outcome::SayReset(Reply::new(250, "OK"))
}
