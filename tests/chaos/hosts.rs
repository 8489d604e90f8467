//! The fifty hosts: every second one makes trouble by a script. What a script does to whom is known
//! beforehand, so that each recipient has a fate that the server must bring about.

use std::time::Duration;

use crate::harness::sink_rules::Action;
use crate::harness::{Authority, Rule, Sink, Stage};

/// Domains `d0.test` and so on, each with a host of its own.
pub const DOMAINS: usize = 50;

/// What a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    Friendly,
    /// LMTP; a reply of its own for each recipient.
    LmtpMixed,
    /// LMTP; now and then it is gone before the last recipient's reply.
    LmtpCut,
    MailLater,
    RcptLater,
    DataLater,
    DotLater,
    RcptMixed,
    MailNever,
    DataNever,
    DotNever,
    GreetingNo,
    GreetingCut,
    MailCut,
    RcptCut,
    DataCut,
    DotCut,
    Slow,
    Silent,
    /// 421 at RCPT and at the dot, and gone.
    Closing,
    TlsNotNow,
    TlsBroken,
    /// Nothing goes there without TLS and its certificate; often it has none.
    TlsForced,
    /// It offers nothing at all, and is mixed.
    Plain,
    /// It offers DSN, and is mixed.
    Dsn,
    /// All kinds of trouble, one after the other.
    Moody,
}

use Script::*;

const SCRIPTS: [Script; 25] = [
    LmtpMixed,
    MailLater,
    RcptLater,
    DataLater,
    DotLater,
    RcptMixed,
    DataCut,
    DotCut,
    Slow,
    TlsNotNow,
    GreetingCut,
    RcptCut,
    MailNever,
    DataNever,
    DotNever,
    GreetingNo,
    TlsForced,
    TlsBroken,
    LmtpCut,
    Plain,
    Dsn,
    MailCut,
    Closing,
    Silent,
    Moody,
];

/// What is to become of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its host takes the message, once.
    Delivered,
    /// The sender is told this.
    Refused(&'static str),
}

/// Not by the host: it does not offer what such an address needs (RFC 6531 §3.6).
pub const NO_SMTPUTF8: &str = "5.6.7";
const NOBODY: &str = "550 5.1.1 nobody";
const NEVER: &str = "554 5.7.1 never";
const LATER: &str = "451 4.3.0 later";

impl Script {
    /// Of a domain.
    pub fn of(domain: usize) -> Script {
        match domain % 2 {
            0 => Friendly,
            _ => SCRIPTS[domain / 2 % SCRIPTS.len()],
        }
    }

    pub fn is_lmtp(self) -> bool {
        matches!(self, LmtpMixed | LmtpCut)
    }

    pub fn offers_dsn(self) -> bool {
        self == Dsn
    }

    /// How the recipients of a message there are called, a serial number left out.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            LmtpMixed | LmtpCut | RcptMixed | Plain | Dsn | Closing => &["good", "bad", "late"],
            Friendly | Slow | DotLater | DotNever | Moody => &["good", "other"],
            _ => &["good"],
        }
    }

    /// The fate of a recipient with this name.
    pub fn fate(self, name: &str) -> Fate {
        match (self, name) {
            (MailNever | DataNever | DotNever, _) => Fate::Refused(NEVER),
            (Plain, name) if !name.is_ascii() => Fate::Refused(NO_SMTPUTF8),
            (_, "bad") => Fate::Refused(NOBODY),
            _ => Fate::Delivered,
        }
    }

    /// A host that does this; `many`: how often what passes happens.
    fn rules(self, many: usize) -> Vec<Rule> {
        let ms = Duration::from_millis;
        let later = |stage| Rule::reply(stage, LATER).times(many);
        let cut = |stage| Rule::drop(stage).times(many);
        let closing = |stage| Rule::reply_then_drop(stage, "421 4.3.2 closing").times(many);
        let bad = |stage| Rule::reply(stage, NOBODY).containing("bad");
        match self {
            Friendly => vec![],
            LmtpMixed => vec![bad(Stage::Dot), later(Stage::Dot).containing("late")],
            LmtpCut => vec![bad(Stage::Dot), cut(Stage::Dot).containing("late").times(2)],
            MailLater => vec![later(Stage::Mail)],
            RcptLater => vec![later(Stage::Rcpt)],
            DataLater => vec![later(Stage::Data)],
            DotLater => vec![later(Stage::Dot)],
            RcptMixed | Plain | Dsn => {
                vec![bad(Stage::Rcpt), later(Stage::Rcpt).containing("late")]
            }
            MailNever => vec![Rule::reply(Stage::Mail, NEVER)],
            DataNever => vec![Rule::reply(Stage::Data, NEVER)],
            DotNever => vec![Rule::reply(Stage::Dot, NEVER)],
            GreetingNo => vec![
                Rule::reply(Stage::Greeting, "554 5.3.2 not here").times(many),
                closing(Stage::Greeting),
                closing(Stage::Ehlo),
            ],
            GreetingCut => vec![cut(Stage::Greeting), cut(Stage::Ehlo)],
            MailCut => vec![cut(Stage::Mail)],
            RcptCut => vec![cut(Stage::Rcpt)],
            DataCut => vec![cut(Stage::Data)],
            DotCut => vec![cut(Stage::Dot).times(2)],
            Slow => vec![
                Rule::delay(Stage::Greeting, ms(30)),
                Rule::delay(Stage::Mail, ms(40)),
                Rule::delay(Stage::Rcpt, ms(20)),
                Rule::delay(Stage::Data, ms(30)),
                Rule::delay(Stage::Dot, ms(100)),
            ],
            Silent => vec![Rule::stall(Stage::Rcpt).times(2)],
            Closing => vec![
                bad(Stage::Rcpt),
                closing(Stage::Rcpt),
                closing(Stage::Dot).containing("late"),
            ],
            // These get their mail in the clear next, and how often they are asked for TLS depends on how many
            // messages a connection carries: what is rare comes first.
            TlsNotNow => vec![
                cut(Stage::StartTls).times(2),
                Rule::reply(Stage::StartTls, "454 4.7.0 not now").times(many),
            ],
            TlsBroken => vec![
                Rule::act(
                    Stage::StartTls,
                    Action::Raw(b"220 go\r\nthis is no TLS\r\n".to_vec()),
                )
                .times(2),
                Rule::reply_then_drop(Stage::StartTls, "220 go").times(many),
            ],
            TlsForced => vec![
                Rule::reply(Stage::StartTls, "454 4.7.0 not now").times(many),
                cut(Stage::StartTls).times(2),
            ],
            Moody => vec![
                later(Stage::Mail),
                cut(Stage::Rcpt).times(2),
                later(Stage::Rcpt).containing("other"),
                later(Stage::Data),
                closing(Stage::Data),
                later(Stage::Dot),
                cut(Stage::Dot).times(1),
            ],
        }
    }
}

/// Hosts for all domains.
pub struct Hosts {
    pub sinks: Vec<Sink>,
    /// Where the senders have their mail.
    pub home: Sink,
    authority: Authority,
}

impl Hosts {
    /// For this many messages.
    pub fn for_messages(messages: usize) -> Hosts {
        let authority = Authority::new();
        let many = 3 + messages / 250;
        let sink = |n| {
            let script = Script::of(n);
            let sink = match script.is_lmtp() {
                true => Sink::lmtp_on("127.0.0.1:0"),
                false => Sink::start(),
            };
            for rule in script.rules(many) {
                sink.rule(rule);
            }
            match script {
                TlsNotNow | TlsBroken => {
                    let _ = sink.secure(Authority::new().issue("elsewhere.test").server_config());
                }
                TlsForced => drop(sink.secure(authority.issue("127.0.0.1").server_config())),
                Plain => drop(sink.capabilities(&[])),
                Dsn => drop(sink.capabilities(&["PIPELINING", "8BITMIME", "SMTPUTF8", "DSN"])),
                _ => {}
            }
            sink
        };
        Hosts {
            sinks: (0..DOMAINS).map(sink).collect(),
            home: Sink::start(),
            authority,
        }
    }

    /// Where each domain's mail goes, for the plugin `relay`.
    pub fn routes(&self) -> Vec<(String, String)> {
        let of = |(n, sink): (usize, &Sink)| {
            let scheme = if Script::of(n).is_lmtp() {
                "lmtp://"
            } else {
                ""
            };
            (format!("d{n}.test"), format!("{scheme}{}", sink.addr()))
        };
        let mut routes: Vec<_> = self.sinks.iter().enumerate().map(of).collect();
        routes.push(("client.test".to_owned(), self.home.addr().to_string()));
        routes
    }

    /// The authority that the certificate of `TlsForced` is of, as PEM.
    pub fn authority(&self) -> String {
        self.authority.pem()
    }

    /// The domains to which nothing may go in the clear.
    pub fn forced() -> impl Iterator<Item = usize> {
        (0..DOMAINS).filter(|n| Script::of(*n) == TlsForced)
    }

    /// Lines that say how often each rule of each script has acted.
    ///
    /// # Panics
    /// One has not, or none of a script if there were `few` messages: then something was not tested.
    pub fn assert_every_rule_acted(&self, few: bool) {
        for (n, sink) in self.sinks.iter().enumerate() {
            let used: Vec<usize> = sink.rules().iter().map(Rule::used).collect();
            let script = Script::of(n);
            let idle = used.iter().filter(|times| **times == 0).count();
            assert!(
                idle == 0 || (few && idle < used.len()),
                "d{n}.test {script:?}: rules were used {used:?} times"
            );
            if script != Friendly {
                println!(
                    "  d{n}.test {script:?}: {used:?}, {} connections",
                    sink.connections()
                );
            }
        }
    }
}
