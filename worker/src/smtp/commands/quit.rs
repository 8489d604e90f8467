//! QUIT (CON-17).

use haraka_shared::hook::Call;

use crate::smtp::answer::reply;
use crate::smtp::proto::command::{ARGUMENT_NOT_ALLOWED, Bare};
use crate::smtp::session::{Outcome, Session};

pub(super) async fn quit(s: &mut Session, bare: Bare) -> Outcome {
    if bare == Bare::No {
        return Outcome::Say(ARGUMENT_NOT_ALLOWED);
    }
    let verdict = s.hook(Call::Quit(())).await;
    let config = &s.config;
    let farewell = format!("{} {}", config.me, config.connection.close);
    Outcome::SayClose(reply(221, verdict.message, farewell))
}
