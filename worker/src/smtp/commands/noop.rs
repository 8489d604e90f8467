//! NOOP; arguments are ignored (CON-15).

use haraka_shared::hook::Call;
use haraka_shared::reply::Reply;

use crate::smtp::answer::Denied;
use crate::smtp::session::{Outcome, Session};

const REFUSED: &str = "Stop wasting my time";

pub(super) async fn noop(s: &mut Session) -> Outcome {
    let verdict = s.hook(Call::Noop(())).await;
    // Haraka answers DENYSOFT with 250 (PB-74).
    match Denied::from(&verdict, (500, REFUSED), (450, REFUSED)) {
        Some(denied) => denied.and_go_on(),
        None => Outcome::Say(Reply::new(250, "OK")),
    }
}
