//! QUIT (CON-17).

use haraka_shared::hook::Call;
use haraka_shared::reply::Reply;

use crate::smtp::session::{Outcome, Session, reply};

pub(super) async fn quit(s: &mut Session, args: &str) -> Outcome {
    if !args.is_empty() {
        return Outcome::Say(Reply::new(501, "Syntax error"));
    }
    let verdict = s.hook(Call::Quit(())).await;
    let config = &s.worker.config;
    let farewell = format!("{} {}", config.me, config.connection.close);
    Outcome::SayClose(reply(221, verdict.message, farewell))
}
