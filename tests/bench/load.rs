//! Load generator and mail sink: `cargo bench --bench load -- [OPTIONS]`, or the built program alone.
//! `--connect ADDR` sends, `--sink ADDR` receives and counts, without either a small table of this server
//! under load is printed. Both ends are made to cost less than what they measure: poll(2), many connections
//! per thread, one prepared message, one write for all that can be written.

// The crate-wide bans keep peers' input from causing a panic; here the peers are our own processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod handshakes;
#[path = "../harness/mod.rs"]
mod harness;
mod poller;
mod scripts;
mod sink;
mod source;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use source::{Reuse, Work};

const USAGE: &str = "\
usage: load [--connect ADDR [--sessions N] [--messages N] [--size BYTES] [--pipelining on|off]
             [--reuse on|off|N] [--rcpt-per-message N] [--threads N] [--from ADDR] [--to ADDR]]
       load --sink ADDR [--delay MILLISECONDS] [--threads N]
       load [--messages N] [--sessions N] [--size BYTES]
       load --handshakes N
       load --scripts N [--row NAME] | --scripts-memory N

--connect  sends messages, then prints throughput, latency and what was refused
--scripts  plugins in JavaScript, so many messages a round; beside PEER_HARAKA, if that is set
--row      only those rows of --scripts whose names begin so, such as 'typical, kept'
--scripts-memory  how the memory of a worker with such plugins grows over so many messages
--reuse    messages per connection: on = no limit, off = 1
--to       a recipient; with several per message, digits are put before the @
--sink     accepts everything, counts it, prints the counts every second in which they change;
           --delay is the time between the final dot and its reply
neither    starts the server with queue/discard and as a relay to a sink, and prints a table;
           with PEER_HARAKA (path of the real bin/haraka) also that one, and Postfix's smtp-source
           and smtp-sink where they are installed
";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut connect = None;
    let mut listen = None;
    let mut delay = Duration::ZERO;
    let mut work = Work::default();
    let mut scripts: Option<fn(&Work, &str) -> anyhow::Result<()>> = None;
    let mut row = String::new();
    while let Some(option) = args.next() {
        match option.as_str() {
            "--bench" => continue, // cargo bench adds it
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(());
            }
            _ => {}
        }
        let value = args
            .next()
            .with_context(|| format!("{option} needs a value\n{USAGE}"))?;
        let number = || {
            let number: usize = value.parse().with_context(|| format!("{option} {value}"))?;
            ensure!(number > 0, "{option} {value}: at least 1");
            Ok(number)
        };
        match option.as_str() {
            "--connect" => {
                connect = Some(value.parse().with_context(|| format!("{option} {value}"))?)
            }
            "--sink" => listen = Some(value.clone()),
            "--sessions" => work.sessions = number()?,
            "--messages" => work.messages = number()?,
            "--size" => work.size = number()?,
            "--rcpt-per-message" => work.recipients = number()?,
            "--threads" => work.threads = number()?,
            "--handshakes" => return handshakes::print(number()?),
            "--scripts" | "--scripts-memory" => {
                work.messages = number()?;
                scripts = Some(match option.as_str() {
                    "--scripts" => scripts::print,
                    _ => scripts::memory,
                });
            }
            "--row" => row = value.clone(),
            "--delay" => delay = Duration::from_millis(number()? as u64),
            "--from" => work.from = value.clone(),
            "--to" => work.to = value.clone(),
            "--pipelining" => work.pipelining = on_off(&option, &value)?,
            "--reuse" => {
                work.reuse = match on_off(&option, &value) {
                    Ok(true) => Reuse::Always,
                    Ok(false) => Reuse::Times(1),
                    Err(_) => Reuse::Times(number()?),
                }
            }
            _ => bail!("unknown option {option}\n{USAGE}"),
        }
    }
    if let Some(print) = scripts {
        return print(&work, &row);
    }
    match (connect, listen) {
        (Some(_), Some(_)) => bail!("--connect and --sink are two programs' work\n{USAGE}"),
        (Some(addr), None) => {
            println!("{}", source::send(addr, &work)?);
            Ok(())
        }
        (None, Some(addr)) => sink::serve_forever(&addr, delay, work.threads),
        (None, None) => table::print(&work)
            .and_then(|()| handshakes::print(work.messages))
            .and_then(|()| scripts::print(&work, &row)),
    }
}

fn on_off(option: &str, value: &str) -> anyhow::Result<bool> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => bail!("{option} {value}: on or off"),
    }
}
