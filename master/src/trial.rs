//! `haraka -t PLUGIN`: the command line's side of a trial (CLI-12, CLI-13).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches};
use haraka_shared::connection::HelloVerb;
use haraka_shared::log::{self, Level};
use haraka_worker::trial::Trial;

use crate::boot;

/// A trial with the file that its message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    trial: Trial,
    message: Option<PathBuf>,
}

/// The options of a trial.
pub fn args() -> Vec<Arg> {
    let word = |name: &'static str| Arg::new(name).long(name);
    let flag = |name: &'static str| word(name).action(ArgAction::SetTrue);
    vec![
        word("test").short('t').action(ArgAction::Append),
        word("ip"),
        word("helo"),
        word("ehlo"),
        word("envfrom"),
        word("envrcpt").action(ArgAction::Append),
        word("message").value_parser(clap::value_parser!(PathBuf)),
        flag("dump-mime"),
        flag("dump-stream"),
        flag("skip-deny"),
        flag("set-relay"),
    ]
}

/// What the options ask for; `None` if it is no trial.
pub fn wanted(m: &ArgMatches) -> Result<Option<Wanted>, String> {
    let Some(plugins) = m.get_many::<String>("test") else {
        return Ok(None);
    };
    let plugins: Vec<String> = plugins.cloned().collect();
    let word = |name| m.get_one::<String>(name);
    let mut trial = Trial {
        plugins: plugins.iter().all(|p| p != "all").then_some(plugins),
        dump_mime: m.get_flag("dump-mime"),
        dump_stream: m.get_flag("dump-stream"),
        skip_deny: m.get_flag("skip-deny"),
        relaying: m.get_flag("set-relay"),
        ..Trial::default()
    };
    if let Some(ip) = word("ip") {
        trial.ip = ip
            .parse()
            .map_err(|_| format!("--ip {ip}: not an address"))?;
    }
    if let Some(host) = word("helo") {
        trial.hello = (HelloVerb::Helo, host.clone());
    }
    if let Some(host) = word("ehlo") {
        trial.hello = (HelloVerb::Ehlo, host.clone());
    }
    if let Some(from) = word("envfrom") {
        trial.from.clone_from(from);
    }
    if let Some(to) = m.get_many::<String>("envrcpt") {
        trial.to = to.cloned().collect();
    }
    Ok(Some(Wanted {
        trial,
        message: m.get_one::<PathBuf>("message").cloned(),
    }))
}

/// Runs it and reports on `out`. True if no hook denied.
pub fn run(wanted: Wanted, install_dir: &Path, out: &mut dyn Write) -> Result<bool, String> {
    let mut trial = wanted.trial;
    if let Some(file) = wanted.message {
        trial.message = fs::read(&file).map_err(|e| named(&file, &e))?;
    }
    let (config, warnings) = boot::settings(install_dir).map_err(|e| e.to_string())?;
    log::init();
    log::configure(Level::Protocol, config.log.format, config.log.timestamps);
    for warning in warnings {
        haraka_shared::log_server!(Level::Warn, "{warning}");
    }
    haraka_worker::trial::trial(&config, install_dir, &trial, out).map_err(|e| e.to_string())
}

fn named(file: &Path, error: &io::Error) -> String {
    format!("{}: {error}", file.display())
}
