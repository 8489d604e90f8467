//! Haraka's command line. Options may stand in any order and long ones may be cut short; errors go
//! to standard error and end with a status other than 0 (PB-62).

use std::fmt::Display;
use std::io::{BufWriter, IsTerminal as _, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use haraka_shared::config::{Config, ConfigDir, Nodes};
use haraka_shared::date::epoch_ms;
use haraka_shared::log::Level;
use haraka_shared::log_server;

use crate::control::ask;
use crate::install::install;
use crate::new_plugin::new_plugin;
use crate::passwd::passwd;
use crate::{WorkerSide, boot, check, dump, list, manual, queue, queue_tools, trial};

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Version,
    Usage,
    Manual(String, Option<PathBuf>),
    Start(PathBuf),
    Install(PathBuf, bool),
    /// What there is, also in an install directory.
    List(Option<PathBuf>),
    NewPlugin(Vec<String>, PathBuf, bool),
    Trial(Box<trial::Wanted>, PathBuf),
    Order(PathBuf),
    Check(PathBuf),
    Dump(PathBuf),
    QueueList(PathBuf),
    QueueStat(PathBuf),
    QueueEmpty(PathBuf),
    /// With the domain, if not all.
    Unstick(PathBuf, Option<String>),
    Graceful(PathBuf),
    /// `haraka queue`, in this install directory.
    Queue(Box<queue::args::Tool>, PathBuf),
    /// Of this user.
    Passwd(PathBuf, String),
}

/// Runs the program with these arguments, the program's name first.
pub fn run(args: impl IntoIterator<Item = std::ffi::OsString>, side: WorkerSide) -> ExitCode {
    let args: Vec<std::ffi::OsString> = args.into_iter().collect();
    let of_queue = args.iter().any(|arg| arg == "queue");
    let outcome = match parse(args) {
        Ok((wanted, verbose)) => perform(wanted, verbose, side),
        Err(why) if of_queue => {
            eprintln!("{}: {why}", red("Error"));
            eprintln!("How to use the queue tools: haraka queue --help");
            return ExitCode::from(2);
        }
        Err(why) => {
            eprintln!("{}: Undefined or erroneous arguments", red("Error"));
            eprintln!("{why}\n");
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    haraka_shared::log::finish();
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(why) => {
            for line in why.lines() {
                eprintln!("{}: {line}", red("error"));
            }
            ExitCode::FAILURE
        }
    }
}

fn perform(wanted: Wanted, verbose: bool, side: WorkerSide) -> Result<u8, String> {
    if verbose {
        // Tools say nothing but what they are asked for, unless told to (CLI-16).
        haraka_shared::log::init();
    }
    match wanted {
        Wanted::Version => {
            println!(
                "{} — Version: {}",
                green("Haraka"),
                env!("CARGO_PKG_VERSION")
            );
            Ok(0)
        }
        Wanted::Usage => {
            print!("{USAGE}");
            Ok(0)
        }
        Wanted::Manual(name, dir) => {
            if !manual::show(&name, dir.as_deref()).map_err(text)? {
                eprintln!("{}: No documentation found for: {name}", red("warning"));
            }
            Ok(0)
        }
        Wanted::Start(dir) => {
            let dir = install_dir(&dir)?;
            haraka_shared::log::init();
            boot::start(&dir, side).map_err(text)
        }
        Wanted::Install(dir, force) => {
            for kept in install(&dir, force).map_err(text)? {
                eprintln!(
                    "{}: EEXIST, File exists '{}'",
                    red("warning"),
                    kept.display()
                );
            }
            Ok(0)
        }
        Wanted::List(dir) => {
            list::list(dir.as_deref(), &mut stdout().lock()).map_err(text)?;
            Ok(0)
        }
        Wanted::NewPlugin(names, dir, force) => make_plugins(&names, &dir, force),
        Wanted::Trial(wanted, dir) => {
            let passed = trial::run(*wanted, &install_dir(&dir)?, &mut stdout())?;
            Ok(u8::from(!passed))
        }
        Wanted::Order(dir) => {
            let dir = install_dir(&dir)?;
            let config = boot::load(&dir, &side).map_err(text)?.config;
            print!("{}", (side.hook_order)(&config, &dir)?);
            Ok(0)
        }
        Wanted::Check(dir) => {
            let found = check::check(&install_dir(&dir)?, side.inspect);
            print!("{}", found.report());
            Ok(u8::from(!found.errors.is_empty()))
        }
        Wanted::Dump(dir) => {
            let dir = ConfigDir::open(&install_dir(&dir)?).map_err(text)?;
            print!("{}", dump::dump(&dir).map_err(text)?);
            Ok(0)
        }
        Wanted::QueueList(dir) => {
            let queue_dir = settings(&install_dir(&dir)?)?.queue_dir;
            let mut out = BufWriter::new(stdout().lock());
            let broken = queue_tools::list(&queue_dir, &mut out).map_err(text)?;
            match broken.is_empty() {
                true => Ok(0),
                false => Err(broken.join("\n")),
            }
        }
        Wanted::QueueStat(dir) => {
            let queue_dir = settings(&install_dir(&dir)?)?.queue_dir;
            queue_tools::stat(&queue_dir, &mut stdout().lock()).map_err(text)?;
            Ok(0)
        }
        Wanted::QueueEmpty(dir) => {
            let queue_dir = settings(&install_dir(&dir)?)?.queue_dir;
            Err(format!(
                "{} is not emptied by this option: what is in it was accepted, and nobody would hear \
                 that it is gone.\nTo drop it all, in a way that can be undone: haraka queue rm --all",
                queue_dir.display()
            ))
        }
        Wanted::Unstick(dir, domain) => {
            let command = domain.map_or("flush".to_owned(), |d| format!("flush {d}"));
            println!("{}", ask(&install_dir(&dir)?, &command).map_err(text)?);
            Ok(0)
        }
        Wanted::Graceful(dir) => {
            let dir = install_dir(&dir)?;
            if settings(&dir)?.smtp.nodes == Nodes::One {
                return Err(
                    "Graceful restart not possible without `nodes` value in smtp.ini".to_owned(),
                );
            }
            println!("{}", ask(&dir, "graceful").map_err(text)?);
            Ok(0)
        }
        Wanted::Queue(tool, _) if *tool == queue::args::Tool::Help => {
            print!("{}", queue::args::USAGE);
            Ok(0)
        }
        Wanted::Queue(tool, dir) => {
            let dir = install_dir(&dir)?;
            let config = settings(&dir)?;
            let place = queue::Place {
                install_dir: dir,
                queue_dir: config.queue_dir,
                trash_hours: config.outbound.trash_hours,
            };
            queue::run(&tool, &place).map_err(text)
        }
        Wanted::Passwd(dir, user) => set_password(&install_dir(&dir)?, &user),
    }
}

fn make_plugins(names: &[String], dir: &Path, force: bool) -> Result<u8, String> {
    for name in names {
        let made = new_plugin(name, dir, force).map_err(text)?;
        println!("Plugin {name} created");
        println!("Now edit javascript in:    {}", made.script.display());
        println!(
            "Add the plugin to config:  {}",
            dir.join("config/plugins").display()
        );
        println!("And edit documentation in: {}", made.page.display());
    }
    Ok(0)
}

fn set_password(dir: &Path, user: &str) -> Result<u8, String> {
    let done = passwd(dir, user).map_err(text)?;
    println!("Password of {user} set in {}", done.path.display());
    if done.methods_missing {
        eprintln!(
            "{}: `methods` of [core] has neither PLAIN nor LOGIN, which hashed passwords need",
            red("warning")
        );
    }
    Ok(0)
}

fn text(e: impl Display) -> String {
    e.to_string()
}

/// The settings alone, for tools that run no plugin. They set the log as well, which is heard only
/// with `--verbose`.
fn settings(dir: &Path) -> Result<Config, String> {
    let (config, warnings) = boot::settings(dir).map_err(text)?;
    boot::apply_log(&config);
    for warning in warnings {
        log_server!(Level::Warn, "{warning}");
    }
    Ok(config)
}

/// The directory, absolute, if it holds an installation (CLI-14).
fn install_dir(dir: &Path) -> Result<PathBuf, String> {
    let hint = format!(
        "Did you install a Haraka config? (haraka -i {})",
        dir.display()
    );
    let absolute = dir
        .canonicalize()
        .map_err(|_| format!("No such directory: {}\n{hint}", dir.display()))?;
    let config = absolute.join("config");
    let found = ["smtp.ini", "smtp.json", "smtp.yaml"]
        .iter()
        .any(|name| config.join(name).exists());
    if !found {
        let wanted = dir.join("config/smtp.ini");
        return Err(format!("No smtp.ini at: {}\n{hint}", wanted.display()));
    }
    Ok(absolute)
}

/// What is wanted, and whether tools are to show the log as well.
fn parse(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<(Wanted, bool), String> {
    let matches = command().try_get_matches_from(args).map_err(|e| {
        let text = e.to_string();
        let first = text.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first).to_owned()
    })?;
    Ok((wanted(&matches)?, matches.get_flag("verbose")))
}

fn wanted(m: &ArgMatches) -> Result<Wanted, String> {
    let path = |name| m.get_one::<PathBuf>(name).cloned();
    let configs = |option: &str| {
        path("configs").ok_or_else(|| format!("{option} option requires config path"))
    };
    let word = |name| m.get_one::<String>(name).cloned();
    if let Some(("passwd", passwd)) = m.subcommand() {
        let user = passwd.get_one::<String>("user").cloned();
        let dir = passwd.get_one::<PathBuf>("configs").cloned();
        let here = || PathBuf::from(".");
        return Ok(Wanted::Passwd(
            dir.or(path("configs")).unwrap_or_else(here),
            user.unwrap_or_default(),
        ));
    }
    if let Some(("queue", queue)) = m.subcommand() {
        let wanted = queue::args::wanted(queue, epoch_ms())?;
        let dir = wanted.dir.or(path("configs"));
        let dir = dir.unwrap_or_else(|| PathBuf::from("."));
        return Ok(Wanted::Queue(Box::new(wanted.tool), dir));
    }
    if m.get_flag("version") {
        return Ok(Wanted::Version);
    }
    if m.get_flag("list") {
        return Ok(Wanted::List(path("configs")));
    }
    if let Some(name) = word("help") {
        return Ok(match name.as_str() {
            "" => Wanted::Usage,
            _ => Wanted::Manual(name, path("configs")),
        });
    }
    if let Some(names) = m.get_many::<String>("plugin") {
        let names = names.cloned().collect();
        let force = m.get_flag("force");
        return Ok(Wanted::NewPlugin(names, configs("plugin")?, force));
    }
    if m.get_flag("qlist") {
        return configs("qlist").map(Wanted::QueueList);
    }
    if m.get_flag("qstat") {
        return configs("qstat").map(Wanted::QueueStat);
    }
    if let Some(domain) = word("qunstick") {
        let domain = Some(domain.to_lowercase()).filter(|d| !d.is_empty());
        return Ok(Wanted::Unstick(configs("qunstick")?, domain));
    }
    if m.get_flag("graceful") {
        return configs("graceful").map(Wanted::Graceful);
    }
    if m.get_flag("qempty") {
        return configs("qempty").map(Wanted::QueueEmpty);
    }
    if m.get_flag("check") {
        return configs("check").map(Wanted::Check);
    }
    if m.get_flag("dump") {
        return configs("dump").map(Wanted::Dump);
    }
    if m.get_flag("order") {
        return configs("order").map(Wanted::Order);
    }
    if let Some(wanted) = trial::wanted(m)? {
        return Ok(Wanted::Trial(Box::new(wanted), configs("test")?));
    }
    match (path("configs"), path("install")) {
        (Some(dir), _) => Ok(Wanted::Start(dir)),
        (None, Some(dir)) => Ok(Wanted::Install(dir, m.get_flag("force"))),
        (None, None) => match std::env::var_os("HARAKA").filter(|dir| !dir.is_empty()) {
            // As `haraka.js` is started by older scripts.
            Some(dir) => Ok(Wanted::Start(dir.into())),
            None => Err("nothing to do".to_owned()),
        },
    }
}

fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let path = |name: &'static str| {
        Arg::new(name)
            .long(name)
            .value_parser(clap::value_parser!(PathBuf))
    };
    let optional = |name: &'static str| {
        Arg::new(name)
            .long(name)
            .num_args(0..=1)
            .default_missing_value("")
    };
    Command::new("haraka")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .infer_long_args(true)
        .args_override_self(true)
        .args([
            flag("version").short('v'),
            optional("help").short('h'),
            path("configs").short('c'),
            path("install").short('i'),
            flag("force").short('f'),
            flag("order").short('o'),
            flag("list").short('l'),
            flag("verbose"),
            flag("qempty"),
            Arg::new("plugin")
                .long("plugin")
                .short('p')
                .action(ArgAction::Append),
            flag("check"),
            flag("dump"),
            flag("qlist"),
            flag("qstat"),
            optional("qunstick"),
            flag("graceful"),
        ])
        .args(trial::args())
        .subcommand(queue::args::command())
        .subcommand(
            Command::new("passwd")
                .disable_help_flag(true)
                .arg(path("configs").short('c'))
                .arg(Arg::new("user").required(true)),
        )
        .disable_help_subcommand(true)
}

fn green(text: &str) -> String {
    coloured(text, "32", stdout().is_terminal())
}

fn red(text: &str) -> String {
    coloured(text, "31", stderr().is_terminal())
}

fn coloured(text: &str, colour: &str, terminal: bool) -> String {
    if terminal {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

const USAGE: &str = "\
Haraka: a plugin-driven mail server
Usage: haraka [options]
    -c, --configs DIR         serve with the configuration in DIR
    -i, --install DIR         make a configuration in DIR
    -f, --force               with -i and -p: replace files that are there
    -l, --list [-c DIR]       list the plugins, also those of DIR
    -p, --plugin NAME -c DIR  begin a plugin and its page in DIR
    -o, --order -c DIR        show all plugins and the order in which they run
    --check -c DIR            tell what is wrong with the configuration
    --dump -c DIR             show all settings and where each comes from
    --qlist -c DIR            list the outbound queue
    --qstat -c DIR            count the outbound queue
    --qunstick [DOMAIN] -c DIR
                              try deferred mail now, all or that for DOMAIN
    --graceful -c DIR         replace the workers of the running server
    queue TOOL [-c DIR] ...   look at the outbound queue and change what is in it;
                              `haraka queue --help` tells the tools
    passwd [-c DIR] USER      set a password of auth/flat_file, asking for it; DIR is
                              the current directory if left out
    -h, --help [NAME]         show this, or the documentation of NAME
    -v, --version             show the version
    --verbose                 with -o and the queue tools: show the log as well

Trying plugins out: one message goes through them, without a network.
    -t, --test PLUGIN -c DIR  the plugin, or `all` of config/plugins; can be repeated
    --ip IP                   the client's address (1.2.3.4)
    --helo HOST, --ehlo HOST  how it introduces itself (EHLO test.example.com)
    --envfrom ADDRESS         the sender (test@example.com)
    --envrcpt ADDRESS         a recipient (test@example.com); can be repeated
    --message FILE            the message (an empty one)
    --dump-mime               show each part of the message and its text
    --dump-stream             show the message as the plugins leave it
    --skip-deny               go on after a denial
    --set-relay               the client may send anywhere
The exit status is 1 if a hook denied.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wanted, String> {
        let words = std::iter::once("haraka").chain(line.split_whitespace());
        parse(words.map(Into::into)).map(|(wanted, _)| wanted)
    }

    // covers CLI-01, CLI-02, CLI-03, CLI-05, CLI-06, CLI-08, CLI-09, CLI-11, CLI-14, CLI-15, PB-62
    #[test]
    fn options_mean_the_same_in_any_order_and_form() {
        let d = || PathBuf::from("d");
        for (lines, wanted) in [
            (
                &["-v", "--version", "--vers", "-v -c d"][..],
                Wanted::Version,
            ),
            (&["-h", "--help"], Wanted::Usage),
            (
                &["-h tls", "--help=tls"],
                Wanted::Manual("tls".into(), None),
            ),
            (
                &["-h tls -c d", "-c d -h tls"],
                Wanted::Manual("tls".into(), Some(d())),
            ),
            (
                &["-c d", "--configs d", "--configs=d", "--conf d"],
                Wanted::Start(d()),
            ),
            (&["-i d", "--install d"], Wanted::Install(d(), false)),
            (
                &["-i d -f", "-f -i d", "--force --inst d"],
                Wanted::Install(d(), true),
            ),
            (&["-o -c d", "-c d -o", "-c d --order"], Wanted::Order(d())),
            (&["--check -c d", "-c d --check"], Wanted::Check(d())),
            (&["--dump -c d", "-c d --dump"], Wanted::Dump(d())),
            (&["--qlist -c d", "-c d --qlist"], Wanted::QueueList(d())),
            (&["--qstat -c d"], Wanted::QueueStat(d())),
            (
                &["--qunstick -c d", "-c d --qunstick"],
                Wanted::Unstick(d(), None),
            ),
            (
                &["--qunstick Example.COM -c d", "-c d --qunstick example.com"],
                Wanted::Unstick(d(), Some("example.com".into())),
            ),
            (&["--graceful -c d", "-c d --grace"], Wanted::Graceful(d())),
            (&["-l", "--list", "--li"], Wanted::List(None)),
            (&["-l -c d", "-c d -l"], Wanted::List(Some(d()))),
            (
                &["-p x -c d", "-c d --plugin x", "--plug x --conf d"],
                Wanted::NewPlugin(vec!["x".into()], d(), false),
            ),
            (
                &["-f -p x -p y -c d"],
                Wanted::NewPlugin(vec!["x".into(), "y".into()], d(), true),
            ),
            (&["--qempty -c d"], Wanted::QueueEmpty(d())),
            (
                &["passwd -c d u", "passwd u -c d", "-c d passwd u"],
                Wanted::Passwd(d(), "u".into()),
            ),
            (&["passwd u"], Wanted::Passwd(".".into(), "u".into())),
            (
                &["queue stat -c d", "queue -c d stat", "-c d queue stat"],
                Wanted::Queue(Box::new(queue::args::Tool::Stat(false)), d()),
            ),
            (
                &["queue", "queue --help", "queue rm -h"],
                Wanted::Queue(Box::new(queue::args::Tool::Help), ".".into()),
            ),
        ] {
            for line in lines {
                assert_eq!(parsed(line), Ok(wanted.clone()), "{line}");
            }
        }
    }

    // covers CLI-06, CLI-17
    #[test]
    fn what_is_missing_or_unknown_is_said() {
        assert_eq!(
            parsed("--qlist"),
            Err("qlist option requires config path".to_owned())
        );
        assert!(parsed("").is_err());
        assert!(parsed("--nonsense").unwrap_err().contains("--nonsense"));
        assert!(parsed("-c").is_err());
        assert!(parsed("stray").is_err());
        assert!(parsed("passwd -c d").is_err());
    }

    // covers CLI-12, CLI-13
    #[test]
    fn a_trial_takes_its_options_in_any_order() {
        let trial = |line: &str| match parsed(line) {
            Ok(Wanted::Trial(wanted, dir)) => {
                assert_eq!(dir, PathBuf::from("d"));
                *wanted
            }
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(trial("-t relay -c d"), trial("-c d --test relay"));
        assert_ne!(trial("-t relay -c d"), trial("-t relay -t skeleton -c d"));
        assert_eq!(trial("-t all -c d"), trial("-t relay -t all -c d"));
        let long = "-c d -t x --ip 192.0.2.1 --helo h --envfrom a@b.c --envrcpt d@e.f \
                    --message m --dump-mime --dump-stream --skip-deny --set-relay";
        assert_ne!(trial(long), trial("-c d -t x"));
        assert_eq!(
            parsed("-t relay"),
            Err("test option requires config path".to_owned())
        );
        assert!(
            parsed("-t x -c d --ip nowhere")
                .unwrap_err()
                .contains("nowhere")
        );
    }

    // covers CLI-16
    #[test]
    fn tools_are_silent_unless_told_otherwise() {
        let verbose = |line: &str| {
            let words = std::iter::once("haraka").chain(line.split_whitespace());
            parse(words.map(Into::into)).unwrap().1
        };
        assert!(!verbose("--qlist -c d"));
        assert!(verbose("--qlist -c d --verbose"));
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(coloured("x", "31", false), "x");
        assert_eq!(coloured("x", "31", true), "\x1b[31mx\x1b[0m");
    }
}
