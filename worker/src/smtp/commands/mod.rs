//! One file per verb: its rules, its hook, its replies. This file only chooses.

mod auth_results;
pub(crate) mod bdat;
mod data;
mod helo;
mod internalcmd;
mod mail;
mod message;
mod noop;
mod queue;
mod quit;
mod rcpt;
mod rset;
mod unrecognized;
mod vrfy;

use haraka_shared::hook::UnknownCommand;
use haraka_shared::reply::Reply;

use super::proto::command::Command;
use super::session::{Outcome, Session};
pub(crate) use unrecognized::unrecognized;

/// Runs one command.
pub(crate) async fn run(s: &mut Session, command: Command<'_>) -> Outcome {
    match command {
        Command::Mail(_) | Command::Rcpt(_) | Command::Data(_) if s.chunks.is_some() => {
            s.conn.count_error();
            Outcome::Say(bdat::IN_PROGRESS)
        }
        Command::Helo(hello) => helo::helo(s, hello).await,
        Command::Ehlo(hello) => helo::ehlo(s, hello).await,
        Command::Mail(args) => mail::mail(s, args).await,
        Command::Rcpt(args) => rcpt::rcpt(s, args).await,
        Command::Data(args) => data::data(s, args).await,
        Command::Bdat(argument) => bdat::bdat(s, argument).await,
        Command::Rset(args) => rset::rset(s, args).await,
        Command::Noop => noop::noop(s).await,
        Command::Vrfy(_) => vrfy::vrfy(s).await,
        Command::Help => Outcome::Say(Reply::new(250, "Not implemented")),
        Command::Quit(args) => quit::quit(s, args).await,
        Command::InternalCmd(args) => internalcmd::internalcmd(s, args),
        Command::Proxy(_) => proxy_not_allowed(s),
        Command::Unrecognized { verb, rest } => {
            unrecognized(s, UnknownCommand::new(verb, rest)).await
        }
    }
}

/// HAP-05. Where a proxy is trusted, its header is read before the session starts.
pub(crate) fn proxy_not_allowed(s: &Session) -> Outcome {
    let peer = s.conn.remote_ip();
    Outcome::SayClose(Reply::new(421, format!("PROXY not allowed from {peer}")))
}
