//! Every verb that no other file handles (CON-41).

use haraka_shared::hook::{Call, Code, HookName, UnknownCommand};
use haraka_shared::log::Level;
use haraka_shared::log_conn;

use crate::smtp::answer::reply;
use crate::smtp::proto::command::Bare;
use crate::smtp::session::{Outcome, Session};

const TEXT: &str = "Unrecognized command";

pub(crate) async fn unrecognized(s: &mut Session, command: UnknownCommand<'_>) -> Outcome {
    let verdict = s.hook(Call::UnrecognizedCommand(command)).await;
    match verdict.code {
        Code::Ok => Outcome::Said,
        Code::NextHook => next_hook(s, verdict.message.text().unwrap_or_default().as_ref()).await,
        Code::Deny => Outcome::Say(reply(500, verdict.message, TEXT)),
        Code::DenyDisconnect => Outcome::SayClose(reply(521, verdict.message, TEXT)),
        Code::DenySoftDisconnect => Outcome::SayClose(reply(421, verdict.message, TEXT)),
        _ => {
            s.conn.count_error();
            Outcome::Say(reply(500, verdict.message, TEXT))
        }
    }
}

/// A plugin handled the command and names the hook to go on with (xclient does).
async fn next_hook(s: &mut Session, name: &str) -> Outcome {
    match HookName::parse(name) {
        Some(hook @ (HookName::ConnectInit | HookName::LookupRdns | HookName::Connect)) => {
            s.greet_again(hook).await
        }
        Some(HookName::Noop) => super::noop::noop(s).await,
        Some(HookName::Rset) => super::rset::rset(s, Bare::Yes).await,
        Some(HookName::Vrfy) => super::vrfy::vrfy(s).await,
        Some(HookName::Quit) => super::quit::quit(s, Bare::Yes).await,
        _ => {
            log_conn!(
                Level::Error,
                s.conn,
                [],
                "NEXT_HOOK names {name:?}, which cannot follow a command"
            );
            Outcome::SayClose(haraka_shared::reply::Reply::new(
                421,
                "Internal Server Error",
            ))
        }
    }
}
