//! `shaping.toml`: how much destinations take, and which addresses mail goes out from. Ours; Haraka has no
//! such file.
//!
//! The rules that the program brings are in the same form (`shared/src/shaping/shipped.toml`); the operator's are laid over
//! them by name, key by key. Values are read into what they mean here, so that an error has its line.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Spanned;

use super::dir::ConfigDir;
use super::error::{At, ConfigError, Problems};
use crate::shaping::{
    Action, Mailbox, Pattern, Pool, Provider, ReplyPattern, ReplyRule, Rule, Selection, Shaping,
    Source, WarmUp,
};
use crate::traffic::{Rate, Slowing};

/// The file's name.
pub const SHAPING_TOML: &str = "shaping.toml";

/// What the program brings.
const SHIPPED: &str = include_str!("../shaping/shipped.toml");

/// A file as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    default: RuleText,
    provider: BTreeMap<String, RuleText>,
    domain: BTreeMap<String, RuleText>,
    source: BTreeMap<String, SourceText>,
    pool: BTreeMap<String, PoolText>,
    select: Vec<SelectText>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuleText {
    mx: Option<Vec<Parsed<Pattern>>>,
    connections: Option<Positive>,
    messages_per_connection: Option<Positive>,
    rate: Option<Parsed<Rate>>,
    slow_down: Option<SlowDownText>,
    reply: Option<Vec<ReplyText>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SlowDownText {
    keep: Share,
    pause: Parsed<Time>,
    back: Share,
}

impl Default for SlowDownText {
    fn default() -> SlowDownText {
        SlowDownText {
            keep: Share(500),
            pause: Parsed(Time(60)),
            back: Share(100),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyText {
    #[serde(rename = "match")]
    pattern: Spanned<String>,
    action: ActionText,
    #[serde(rename = "for")]
    time: Option<Parsed<Time>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActionText {
    SlowDown,
    Suspend,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceText {
    address: IpAddr,
    helo: Option<Parsed<HeloName>>,
    weight: Option<Positive>,
    connections: Option<Positive>,
    rate: Option<Parsed<Rate>>,
    warm_up: Option<WarmUpText>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WarmUpText {
    begins: toml::value::Datetime,
    messages: Positive,
    #[serde(default = "doubled")]
    growth: f64,
}

fn doubled() -> f64 {
    2.0
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolText {
    sources: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectText {
    #[serde(default)]
    sender: Vec<Parsed<Mailbox>>,
    #[serde(default)]
    recipient: Vec<Parsed<Pattern>>,
    pool: String,
}

/// A number from 1.
#[derive(Clone, Copy, Debug)]
struct Positive(u32);

/// A part of the whole, in thousandths.
#[derive(Clone, Copy, Debug)]
struct Share(u32);

/// Seconds.
#[derive(Clone, Copy, Debug)]
struct Time(u64);

/// A name for EHLO: it becomes part of a command.
#[derive(Clone, Debug)]
struct HeloName(String);

/// Anything that is read from a text.
#[derive(Clone, Copy, Debug)]
struct Parsed<T>(T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Parsed).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Positive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        let positive = u32::try_from(number).ok().filter(|n| *n > 0);
        let wrong = || D::Error::custom("a whole number from 1 on is expected");
        positive.map(Positive).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let part = f64::deserialize(deserializer)?;
        if !(0.01..=1.0).contains(&part) {
            return Err(D::Error::custom("a part from 0.01 to 1 is expected"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 10 and 1000"
        )]
        Ok(Share((part * 1000.0) as u32))
    }
}

/// Why a text is no value of its kind.
#[derive(Debug, thiserror::Error)]
enum BadText {
    #[error("a time such as 90s, 5m, 2h or 1d is expected")]
    Time,
    #[error("a rate such as 20/s, 100/min, 1000/h, 5000/d or 10/5min is expected")]
    Rate,
    #[error("an address, or a domain with @ in front, is expected")]
    Mailbox,
    #[error("a host name is expected")]
    Helo,
}

impl FromStr for Time {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Time, BadText> {
        let text = text.trim();
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: u64 = if number.is_empty() {
            1
        } else {
            number.parse().map_err(|_| BadText::Time)?
        };
        let seconds = match unit.trim() {
            "s" | "sec" | "" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(BadText::Time),
        };
        let time = number
            .checked_mul(seconds)
            .filter(|t| (1..=MOST_SECONDS).contains(t));
        time.map(Time).ok_or(BadText::Time)
    }
}

/// Ten years: more is a slip of the pen.
const MOST_SECONDS: u64 = 10 * 366 * 86_400;

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        let (count, period) = text.split_once('/').ok_or(RateError)?;
        let count = count
            .trim()
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .ok_or(RateError)?;
        // A bare number is no period: 20/5 says nothing.
        if period.trim().chars().all(|c| c.is_ascii_digit()) {
            return Err(RateError);
        }
        let Time(seconds) = period.parse().map_err(|_| RateError)?;
        Ok(Rate {
            count,
            period_ms: seconds.saturating_mul(1000),
        })
    }
}

/// Not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", BadText::Rate)]
pub struct RateError;

impl FromStr for Mailbox {
    type Err = MailboxError;

    fn from_str(text: &str) -> Result<Mailbox, MailboxError> {
        let text = text.trim().to_lowercase();
        match text.rsplit_once('@') {
            Some(("", domain)) => domain
                .parse()
                .map(Mailbox::Domain)
                .map_err(|_| MailboxError),
            Some((_, domain)) if !domain.is_empty() => Ok(Mailbox::Address(text)),
            _ => Err(MailboxError),
        }
    }
}

/// Neither address nor domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", BadText::Mailbox)]
pub struct MailboxError;

impl FromStr for HeloName {
    type Err = BadText;

    fn from_str(text: &str) -> Result<HeloName, BadText> {
        let plain = |c: char| c.is_alphanumeric() || "-._:[]".contains(c);
        if text.is_empty() || text.len() > 255 || !text.chars().all(plain) {
            return Err(BadText::Helo);
        }
        Ok(HeloName(text.to_owned()))
    }
}

impl Shaping {
    /// Reads the file over what the program brings; a missing one means that alone.
    pub fn load(dir: &ConfigDir, problems: &mut Problems) -> Option<Shaping> {
        let bytes = problems.note(dir.bytes(SHAPING_TOML))?;
        let own = match bytes {
            None => String::new(),
            Some(bytes) => match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(_) => {
                    problems.errors.push(ConfigError::Syntax {
                        at: At::file(SHAPING_TOML),
                        why: "not UTF-8".to_owned(),
                    });
                    return None;
                }
            },
        };
        problems.note(read(&own))
    }
}

fn read(own: &str) -> Result<Shaping, ConfigError> {
    let mut file = parse(SHIPPED)?;
    let own_text = own;
    let own = parse(own_text)?;
    check_patterns(&own, own_text)?;
    file.default.lay_over(own.default);
    for (names, rules) in [
        (&mut file.provider, own.provider),
        (&mut file.domain, own.domain),
    ] {
        for (name, rule) in rules {
            names.entry(name.to_lowercase()).or_default().lay_over(rule);
        }
    }
    file.source.extend(own.source);
    file.pool.extend(own.pool);
    file.select = own.select;
    shaping(file)
}

fn parse(text: &str) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|e| ConfigError::Syntax {
        at: at(text, e.span()),
        why: e.message().to_owned(),
    })
}

fn at(text: &str, span: Option<Range<usize>>) -> At {
    let before = span.and_then(|span| text.get(..span.start));
    let line = before.map_or(0, |b| b.matches('\n').count() + 1);
    At::line(SHAPING_TOML, u32::try_from(line).unwrap_or(0))
}

/// The operator's expressions are compiled once to see that they can be. Those that the program brings
/// are sound, as a test says: compiling them in each process would cost memory that stays.
fn check_patterns(own: &File, text: &str) -> Result<(), ConfigError> {
    let rules = own.provider.values().chain(own.domain.values());
    for reply in rules
        .chain([&own.default])
        .filter_map(|r| r.reply.as_ref())
        .flatten()
    {
        ReplyPattern::new(reply.pattern.get_ref())
            .check()
            .map_err(|e| ConfigError::Syntax {
                at: at(text, Some(reply.pattern.span())),
                why: e.to_string(),
            })?;
    }
    Ok(())
}

impl RuleText {
    fn lay_over(&mut self, over: RuleText) {
        self.mx = over.mx.or(self.mx.take());
        self.connections = over.connections.or(self.connections);
        self.messages_per_connection = over
            .messages_per_connection
            .or(self.messages_per_connection);
        self.rate = over.rate.or(self.rate);
        self.slow_down = over.slow_down.or(self.slow_down.take());
        self.reply = over.reply.or(self.reply.take());
    }

    fn rule(self) -> Rule {
        Rule {
            connections: self.connections.map(|n| n.0),
            messages_per_connection: self.messages_per_connection.map(|n| n.0),
            rate: self.rate.map(|r| r.0),
            slowing: self.slow_down.map(|s| Slowing {
                keep: s.keep.0,
                pause: s.pause.0.0.saturating_mul(1_000_000),
                back: s.back.0,
            }),
            replies: self
                .reply
                .unwrap_or_default()
                .into_iter()
                .map(|r| Arc::new(r.rule()))
                .collect(),
        }
    }
}

/// How long a destination is left alone that gives no time.
const SUSPENDED_FOR: u64 = 1800;

impl ReplyText {
    fn rule(self) -> ReplyRule {
        ReplyRule {
            pattern: ReplyPattern::new(self.pattern.get_ref()),
            action: match self.action {
                ActionText::SlowDown => Action::SlowDown,
                ActionText::Suspend => Action::Suspend(self.time.map_or(SUSPENDED_FOR, |t| t.0.0)),
            },
        }
    }
}

/// What a name stands for that has to be there.
fn wrong(key: &str, why: String) -> ConfigError {
    ConfigError::Value {
        at: At::file(SHAPING_TOML),
        key: key.to_owned(),
        why,
    }
}

fn shaping(file: File) -> Result<Shaping, ConfigError> {
    let bare = |rule: &RuleText| rule.mx.is_none();
    if !bare(&file.default) || !file.domain.values().all(bare) {
        let why = "only a provider is known by its mail hosts".to_owned();
        return Err(wrong("mx", why));
    }
    let mut providers = Vec::with_capacity(file.provider.len());
    for (name, mut rule) in file.provider {
        let Some(mx) = rule.mx.take() else {
            let why = "the names of its mail hosts are missing (mx)".to_owned();
            return Err(wrong(&format!("[provider.{name}]"), why));
        };
        providers.push(Provider {
            name: name.into(),
            mx: mx.into_iter().map(|m| m.0).collect(),
            rule: rule.rule(),
        });
    }
    let mut sources = Vec::with_capacity(file.source.len());
    for (name, text) in file.source {
        sources.push(Arc::new(text.source(name)?));
    }
    let mut pools = Vec::with_capacity(file.pool.len());
    for (name, text) in file.pool {
        let find = |wanted: &String| {
            let found = sources.iter().find(|s| *s.name == **wanted).cloned();
            found.ok_or_else(|| {
                wrong(
                    &format!("[pool.{name}] sources"),
                    format!("there is no [source.{wanted}]"),
                )
            })
        };
        let members = text
            .sources
            .iter()
            .map(find)
            .collect::<Result<Vec<_>, _>>()?;
        pools.push(Pool {
            name,
            sources: members,
        });
    }
    let mut selections = Vec::with_capacity(file.select.len());
    for select in file.select {
        if !pools.iter().any(|p| p.name == select.pool) {
            return Err(wrong(
                "[[select]] pool",
                format!("there is no [pool.{}]", select.pool),
            ));
        }
        selections.push(Selection {
            senders: select.sender.into_iter().map(|m| m.0).collect(),
            recipients: select.recipient.into_iter().map(|p| p.0).collect(),
            pool: select.pool,
        });
    }
    Ok(Shaping {
        default: file.default.rule(),
        providers,
        domains: file
            .domain
            .into_iter()
            .map(|(name, rule)| (name, rule.rule()))
            .collect(),
        sources,
        pools,
        selections,
    })
}

impl SourceText {
    fn source(self, name: String) -> Result<Source, ConfigError> {
        let warm_up = match self.warm_up {
            None => None,
            Some(warm_up) => Some(WarmUp {
                begins: day(&warm_up.begins).ok_or_else(|| {
                    wrong(
                        &format!("[source.{name}] warm_up"),
                        "begins: a date such as 2026-12-01 is expected".to_owned(),
                    )
                })?,
                messages: warm_up.messages.0,
                growth: warm_up.growth,
            }),
        };
        Ok(Source {
            name: name.into(),
            address: self.address,
            helo: self.helo.map(|h| h.0.0),
            weight: self.weight.map_or(1, |w| w.0),
            connections: self.connections.map(|n| n.0),
            rate: self.rate.map(|r| r.0),
            warm_up,
        })
    }
}

/// Days since 1970.
fn day(date: &toml::value::Datetime) -> Option<u64> {
    let date = date.date?;
    let date =
        chrono::NaiveDate::from_ymd_opt(date.year.into(), date.month.into(), date.day.into())?;
    let days = date
        .signed_duration_since(chrono::NaiveDate::default())
        .num_days();
    u64::try_from(days).ok()
}

#[cfg(test)]
#[path = "shaping_toml_tests.rs"]
mod tests;
