//! The arguments of `haraka queue`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use haraka_shared::queue_order::Verb;
use haraka_shared::spool::Suspended;

use super::filter::{Filter, Wait, span};

/// What is wanted, and of which install directory, if one was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The tool.
    pub tool: Tool,
    /// After `-c`.
    pub dir: Option<PathBuf>,
}

/// A tool with its arguments; the last `bool` of most is whether to write JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `list`
    List(Select, bool),
    /// `show`
    Show(Select, Show),
    /// `why`
    Why(Select, bool),
    /// What changes items.
    Act(Verb, Select, bool),
    /// `suspend`; without anything to suspend it lists what is.
    Suspend(Option<NewSuspension>, bool),
    /// `resume`
    Resume(Resume),
    /// `export`, to a file or standard output
    Export(Select, Option<PathBuf>),
    /// `import`, and whether what comes is to be held
    Import(PathBuf, bool),
    /// `stat`
    Stat(bool),
    /// How to use them.
    Help,
}

/// Which items are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// Names, or parts of them.
    pub names: Vec<String>,
    /// More names come on standard input.
    pub stdin: bool,
    /// All that make sense.
    pub all: bool,
    /// Those that meet conditions.
    pub filter: Filter,
}

/// How an item is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// For people.
    Text,
    /// Its envelope as JSON.
    Json,
    /// The message, as it was accepted.
    Message,
}

/// What to suspend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSuspension {
    /// Of which kind, and which.
    pub subjects: Vec<(Suspended, String)>,
    /// For how long, in milliseconds.
    pub time: Option<u64>,
    /// Why.
    pub reason: String,
}

/// What to resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Of which kind, and which.
    pub subjects: Vec<(Suspended, String)>,
    /// Everything.
    pub all: bool,
}

/// How to use the tools.
pub const USAGE: &str = "\
haraka queue TOOL [-c DIR] ...; DIR is the current directory if left out

Looking:
    list [ITEMS] [--json]     what waits, oldest first; with --all the trash as well
    show ITEMS [--json | --message]
                              all about items, or their messages
    why ITEMS [--json]        what they wait for
    stat [--json]             how much waits, by state and domain

Acting; where no server runs, on the files:
    retry ITEMS               try them now
    hold ITEMS                keep them back
    release ITEMS             let held ones go on
    bounce ITEMS [--reason TEXT]
                              return them to their senders
    rm ITEMS                  throw them away, into a trash
    undo ITEMS                bring them back from there
    suspend [--domain NAME | --provider NAME | --sender ADDRESS]... [--for TIME] [--reason TEXT]
                              start no deliveries for these; alone: list what is suspended
    resume --domain NAME ... | --all
    export ITEMS [-o FILE]    a tar of queue files, to standard output or a new file
    import FILE | DIR | - [--hold]
                              take in such a tar, or the queue directory of a stopped server

ITEMS are names, `-` for names on standard input, or conditions, or --all.
A name is that of a file, a part of it that only one has (the ID of `list`), the uuid of a
transaction or an item, or for undo the number that rm has printed.
    --domain NAME             where it goes; .NAME for the domains below that as well
    --sender ADDRESS          or a domain, or <>
    --recipient ADDRESS       or a domain
    --older TIME, --younger TIME
                              by arrival: 90s, 30m, 2h, 1d12h
    --error TEXT              in what was last said about a recipient
    --state new | deferred | suspended | held | trash | any
The exit status is 1 if something could not be done, with the reasons on standard error.
";

/// The subcommand.
pub fn command() -> Command {
    let names = || {
        Arg::new("names")
            .num_args(0..)
            .help("names of items, parts of names, or `-`")
    };
    let select = |name: &'static str| tool(name).args(conditions()).arg(flag("all")).arg(names());
    let reason = || Arg::new("reason").long("reason");
    let output = Arg::new("output")
        .long("output")
        .short('o')
        .value_parser(clap::value_parser!(PathBuf));
    let from = Arg::new("from")
        .required(true)
        .value_parser(clap::value_parser!(PathBuf));
    Command::new("queue")
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .arg(configs())
        .arg(help())
        .subcommands([
            select("list").arg(flag("json")),
            select("show").arg(flag("json")).arg(flag("message")),
            select("why").arg(flag("json")),
            select("retry").arg(flag("json")),
            select("hold").arg(flag("json")),
            select("release").arg(flag("json")),
            select("bounce").arg(flag("json")).arg(reason()),
            select("rm").arg(flag("json")),
            select("undo").arg(flag("json")),
            select("export").arg(output),
            tool("import").arg(from).arg(flag("hold")),
            tool("stat").arg(flag("json")),
            tool("suspend")
                .args(subjects())
                .arg(Arg::new("for").long("for").value_parser(span))
                .arg(reason())
                .arg(flag("json")),
            tool("resume").args(subjects()).arg(flag("all")),
        ])
}

fn tool(name: &'static str) -> Command {
    Command::new(name)
        .disable_help_flag(true)
        .infer_long_args(true)
        .args_override_self(true)
        .arg(configs())
        .arg(help())
}

fn help() -> Arg {
    flag("help").short('h')
}

fn configs() -> Arg {
    Arg::new("configs")
        .long("configs")
        .short('c')
        .value_parser(clap::value_parser!(PathBuf))
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

fn conditions() -> [Arg; 7] {
    let age = |name: &'static str| Arg::new(name).long(name).value_parser(span);
    let words = clap::builder::PossibleValuesParser::new(Wait::WORDS.map(|(word, _)| word));
    [
        Arg::new("domain").long("domain"),
        Arg::new("sender").long("sender"),
        Arg::new("recipient").long("recipient"),
        age("older"),
        age("younger"),
        Arg::new("error").long("error"),
        Arg::new("state").long("state").value_parser(words),
    ]
}

const SUBJECTS: [(&str, Suspended); 3] = [
    ("domain", Suspended::Domain),
    ("provider", Suspended::Provider),
    ("sender", Suspended::Sender),
];

fn subjects() -> [Arg; 3] {
    SUBJECTS.map(|(name, _)| Arg::new(name).long(name).action(ArgAction::Append))
}

/// Reads what clap found. `now` in milliseconds since 1970.
pub fn wanted(m: &ArgMatches, now: u64) -> Result<Wanted, String> {
    let Some((name, inner)) = m.subcommand() else {
        return Ok(Wanted {
            tool: Tool::Help,
            dir: None,
        });
    };
    let dir = |m: &ArgMatches| m.get_one::<PathBuf>("configs").cloned();
    Ok(Wanted {
        tool: read(name, inner, now)?,
        dir: dir(inner).or_else(|| dir(m)),
    })
}

fn read(name: &str, m: &ArgMatches, now: u64) -> Result<Tool, String> {
    let json = || m.get_flag("json");
    let reason = || m.get_one::<String>("reason").cloned().unwrap_or_default();
    if m.get_flag("help") {
        return Ok(Tool::Help);
    }
    let act = |verb: Verb| Ok(Tool::Act(verb, named(name, m)?, json()));
    match name {
        "list" => Ok(Tool::List(select(m), json())),
        "show" => {
            let how = match (json(), m.get_flag("message")) {
                (true, true) => return Err("show: --json or --message, not both".to_owned()),
                (true, false) => Show::Json,
                (false, true) => Show::Message,
                (false, false) => Show::Text,
            };
            Ok(Tool::Show(named(name, m)?, how))
        }
        "why" => Ok(Tool::Why(named(name, m)?, json())),
        "retry" => act(Verb::Retry),
        "hold" => act(Verb::Hold),
        "release" => act(Verb::Release),
        "bounce" => act(Verb::Bounce { reason: reason() }),
        "rm" => act(Verb::Remove { at: now }),
        "undo" => act(Verb::Undo),
        "export" => Ok(Tool::Export(
            named(name, m)?,
            m.get_one::<PathBuf>("output").cloned(),
        )),
        "import" => {
            let from = m.get_one::<PathBuf>("from").cloned().unwrap_or_default();
            Ok(Tool::Import(from, m.get_flag("hold")))
        }
        "stat" => Ok(Tool::Stat(json())),
        "suspend" => {
            let subjects = suspended(m)?;
            let time = m.get_one::<u64>("for").copied();
            if subjects.is_empty() && (time.is_some() || m.contains_id("reason")) {
                return Err("suspend: what? --domain, --provider or --sender".to_owned());
            }
            let new = (!subjects.is_empty()).then(|| NewSuspension {
                subjects,
                time,
                reason: reason(),
            });
            Ok(Tool::Suspend(new, json()))
        }
        "resume" => {
            let (subjects, all) = (suspended(m)?, m.get_flag("all"));
            match subjects.is_empty() != all {
                true => {
                    Err("resume: what? --domain, --provider or --sender, or else --all".to_owned())
                }
                false => Ok(Tool::Resume(Resume { subjects, all })),
            }
        }
        other => Err(format!("queue: no tool {other}")),
    }
}

fn suspended(m: &ArgMatches) -> Result<Vec<(Suspended, String)>, String> {
    let mut subjects = Vec::new();
    for (name, what) in SUBJECTS {
        for value in m.get_many::<String>(name).into_iter().flatten() {
            let value = value.trim().to_lowercase();
            let value = match (what, value.as_str()) {
                (_, "") => return Err(format!("--{name} needs a value")),
                (Suspended::Sender, "<>") => value,
                _ => value.trim_matches(['<', '>']).to_owned(),
            };
            let odd = value.chars().any(|c| c.is_whitespace() || c.is_control());
            if odd || what != Suspended::Sender && value.contains('@') {
                return Err(format!("--{name}: {value:?} cannot be one"));
            }
            subjects.push((what, value));
        }
    }
    Ok(subjects)
}

fn select(m: &ArgMatches) -> Select {
    let word = |name| m.get_one::<String>(name).cloned();
    let state = word("state").and_then(|word| {
        let mut words = Wait::WORDS.iter();
        words.find(|(w, _)| *w == word).map(|(_, wait)| *wait)
    });
    let given = m.get_many::<String>("names").into_iter().flatten();
    let (stdin, names): (Vec<_>, Vec<_>) = given.cloned().partition(|name| name == "-");
    Select {
        names,
        stdin: !stdin.is_empty(),
        all: m.get_flag("all"),
        filter: Filter {
            domain: word("domain"),
            sender: word("sender"),
            recipient: word("recipient"),
            older: m.get_one("older").copied(),
            younger: m.get_one("younger").copied(),
            error: word("error"),
            state,
        },
    }
}

/// For tools that do not mean everything when nothing is said.
fn named(tool: &str, m: &ArgMatches) -> Result<Select, String> {
    let select = select(m);
    let by_name = !select.names.is_empty() || select.stdin;
    match (by_name, select.filter.is_empty(), select.all) {
        (false, true, false) => Err(format!(
            "{tool}: which items? Names, or conditions such as --domain, or --all"
        )),
        (true, _, true) => Err(format!("{tool}: names or --all, not both")),
        _ => Ok(select),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wanted, String> {
        let words = std::iter::once("queue").chain(line.split_whitespace());
        let m = command()
            .try_get_matches_from(words)
            .map_err(|e| e.to_string())?;
        wanted(&m, 77)
    }

    #[test]
    fn tools_take_their_options_in_any_order() {
        let list = parsed("list -c d --json --domain x --older 2h").unwrap();
        assert_eq!(
            list,
            parsed("-c d list --older 2h --domain x --json").unwrap()
        );
        assert_eq!(list.dir, Some(PathBuf::from("d")));
        let Tool::List(select, true) = list.tool else {
            panic!("{list:?}");
        };
        assert_eq!(select.filter.older, Some(7_200_000));
        let rm = parsed("rm a - b").unwrap().tool;
        let Tool::Act(Verb::Remove { at: 77 }, select, false) = rm else {
            panic!("{rm:?}");
        };
        assert_eq!(
            (select.names, select.stdin),
            (vec!["a".into(), "b".into()], true)
        );
        assert_eq!(parsed("suspend").unwrap().tool, Tool::Suspend(None, false));
        let suspend = parsed("suspend --domain A.test --sender <> --for 2h --reason x");
        let Ok(Tool::Suspend(Some(new), false)) = suspend.map(|w| w.tool) else {
            panic!();
        };
        assert_eq!(new.subjects.len(), 2);
        assert_eq!(new.subjects[0].1, "a.test");
    }

    #[test]
    fn what_is_missing_or_senseless_is_refused() {
        for line in [
            "frobnicate",
            "rm",
            "rm --json",
            "rm a --all",
            "list --state gone",
            "list --older 5",
            "show a --json --message",
            "suspend --for 2h",
            "suspend --domain a@b",
            "resume",
            "resume --all --domain x",
            "import",
        ] {
            assert!(parsed(line).is_err(), "{line:?}");
        }
    }
}
