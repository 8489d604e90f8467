//! `haraka queue stat`: how much there is, by state and by domain.

use std::collections::HashMap;
use std::io::Write;

use haraka_shared::waiting::span;
use serde_json::{Value, json};

use super::args::Select;
use super::filter::{Filter, Wait};
use super::select::{Finder, Found, Means};
use super::text::{plain, size};
use super::{Complete, Place, Progress, ToolError, items, suspend, usage};
use crate::control::{AskError, ask};

/// Domains that are counted one by one; the rest is counted together.
const DOMAINS: usize = 100_000;

/// Domains that are shown to people.
const SHOWN: usize = 20;

#[derive(Clone, Default)]
struct Count {
    items: [u64; Wait::WORDS.len()],
    bytes: u64,
    oldest: Option<u64>,
}

impl Count {
    fn add(&mut self, wait: Wait, bytes: u64, arrival: u64) {
        let place = Wait::WORDS.iter().position(|(_, w)| *w == wait);
        if let Some(n) = place.and_then(|p| self.items.get_mut(p)) {
            *n += 1;
        }
        self.bytes += bytes;
        if wait != Wait::Trash {
            self.oldest = Some(self.oldest.map_or(arrival, |o| o.min(arrival)));
        }
    }

    /// Everything but the trash.
    fn waiting(&self) -> u64 {
        let counts = self.items.iter().zip(Wait::WORDS);
        counts
            .filter(|(_, (_, wait))| *wait != Wait::Trash)
            .map(|(n, _)| n)
            .sum()
    }

    fn of(&self, wanted: Wait) -> u64 {
        let mut counts = self.items.iter().zip(Wait::WORDS);
        let found = counts.find(|(_, (_, wait))| *wait == wanted);
        found.map_or(0, |(n, _)| *n)
    }
}

/// Counts.
pub(super) fn run(place: &Place, json: bool, out: &mut impl Write) -> Result<Complete, ToolError> {
    let mut finder = Finder::open(place)?;
    let mut total = Count::default();
    let mut domains: HashMap<String, Count> = HashMap::new();
    let mut progress = Progress::new();
    let everything = Select {
        all: true,
        filter: Filter {
            state: Some(Wait::Any),
            ..Filter::default()
        },
        ..Select::default()
    };
    finder.each(
        &everything,
        Means::Alive,
        true,
        &mut |finder, found: Found| {
            let Some((todo, length)) = found.envelope else {
                return Ok(());
            };
            let wait = finder.wait(&found.item, &todo);
            let arrival = match found.item.name.arrival {
                0 => todo.queue_time,
                at => at,
            };
            let length = length.unwrap_or(0);
            total.add(wait, length, arrival);
            let domain = todo.domain.to_lowercase();
            let known = domains.len() < DOMAINS || domains.contains_key(&domain);
            let domain = if known { domain } else { OTHERS.to_owned() };
            domains
                .entry(domain)
                .or_default()
                .add(wait, length, arrival);
            progress.tell(|| format!("{} counted", items(total.items.iter().sum())));
            Ok(())
        },
    )?;
    progress.clear();
    let server = match ask(&place.install_dir, "stat") {
        Ok(line) => Some(line),
        Err(AskError::NotRunning(_)) => None,
        Err(e) => return Err(e.into()),
    };
    let told = match &server {
        Some(_) => Some(Told {
            ledger: told(place, "ledger")?,
            usage: told(place, "usage")?,
        }),
        None => None,
    };
    let mut domains: Vec<(String, Count)> = domains.into_iter().collect();
    domains.sort_by(|(a, x), (b, y)| (y.waiting(), a).cmp(&(x.waiting(), b)));
    match json {
        true => as_json(&finder, &total, &domains, (server.as_deref(), &told), out)?,
        false => as_text(&finder, &total, &domains, server.as_deref(), out)?,
    }
    if let (false, Some(told)) = (json, &told) {
        usage::as_text(&told.usage, out)?;
        ledger_text(&told.ledger, out)?;
    }
    if !json && finder.suspensions.active(finder.now).next().is_some() {
        suspend::list(place, false, out)?;
    }
    out.flush()?;
    Ok(finder.tell_problems())
}

/// What the server tells: counts since it started, and the limits that are in use.
struct Told {
    ledger: Value,
    usage: Value,
}

fn told(place: &Place, what: &str) -> Result<Value, ToolError> {
    let line = ask(&place.install_dir, what)?;
    serde_json::from_str(&line).map_err(|e| AskError::Refused(e.to_string()).into())
}

/// The ledger for people: items since the server started, and the busiest providers and domains.
fn ledger_text(ledger: &Value, out: &mut impl Write) -> Result<(), ToolError> {
    let counts = |of: &Value| -> String {
        let pairs = of.as_object().into_iter().flatten();
        let shown = pairs.filter(|(_, n)| n.as_u64() != Some(0));
        let shown: Vec<String> = shown.map(|(word, n)| format!("{word} {n}")).collect();
        if shown.is_empty() {
            "none".to_owned()
        } else {
            shown.join(", ")
        }
    };
    let (came, went) = (counts(&ledger["in"]), counts(&ledger["out"]));
    writeln!(
        out,
        "since the start: came {came}; went {went}; queued {}; drift {}",
        ledger["queued"], ledger["drift"]
    )?;
    for what in ["providers", "domains"] {
        let rows = ledger[what]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if rows.is_empty() {
            continue;
        }
        writeln!(
            out,
            "{:>9} {:>9} {:>9} {:>9} {:>9}  RECIPIENTS OF {}",
            "ACCEPTED",
            "DELIVERED",
            "DEFERRED",
            "BOUNCED",
            "DISCARDED",
            what.to_uppercase()
        )?;
        for row in rows.iter().take(SHOWN) {
            writeln!(
                out,
                "{:>9} {:>9} {:>9} {:>9} {:>9}  {}",
                row["accepted"].as_u64().unwrap_or(0),
                row["delivered"].as_u64().unwrap_or(0),
                row["deferred"].as_u64().unwrap_or(0),
                row["bounced"].as_u64().unwrap_or(0),
                row["discarded"].as_u64().unwrap_or(0),
                plain(row["name"].as_str().unwrap_or_default())
            )?;
        }
    }
    Ok(())
}

/// Stands for the domains beyond [`DOMAINS`]; no domain is called like that.
const OTHERS: &str = "(others)";

/// What the server says about its deliveries. What waits is counted by files, which is exact.
fn served(line: &str) -> String {
    let value = |key: &str| {
        let mut pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.find(|(k, _)| *k == key).map_or("?", |(_, v)| v)
    };
    format!(
        "{} under way, {} due and waiting for a place, in {} workers",
        value("in_progress"),
        value("pending"),
        value("workers")
    )
}

fn as_text(
    finder: &Finder,
    total: &Count,
    domains: &[(String, Count)],
    server: Option<&str>,
    out: &mut impl Write,
) -> Result<(), ToolError> {
    let states: Vec<String> = Wait::WORDS
        .iter()
        .filter(|(_, wait)| *wait != Wait::Any)
        .map(|(word, wait)| format!("{word} {}", total.of(*wait)))
        .collect();
    writeln!(
        out,
        "{} waiting ({}), {} bytes",
        items(total.waiting()),
        states.join(", "),
        size(total.bytes)
    )?;
    match server {
        Some(line) => writeln!(out, "{}", served(line))?,
        None => writeln!(out, "no server runs")?,
    }
    let listed: Vec<_> = domains.iter().filter(|(_, c)| c.waiting() > 0).collect();
    if !listed.is_empty() {
        writeln!(
            out,
            "{:>7} {:>7} {:>9} {:>7} {:>7}  DOMAIN",
            "NEW", "DEFER", "SUSPENDED", "HELD", "OLDEST"
        )?;
    }
    for (domain, count) in listed.iter().take(SHOWN) {
        let oldest = count.oldest.map(|at| span(finder.now.saturating_sub(at)));
        writeln!(
            out,
            "{:>7} {:>7} {:>9} {:>7} {:>7}  {}",
            count.of(Wait::New),
            count.of(Wait::Deferred),
            count.of(Wait::Suspended),
            count.of(Wait::Held),
            oldest.unwrap_or_default(),
            plain(domain)
        )?;
    }
    if listed.len() > SHOWN {
        writeln!(out, "… and {} more domains", listed.len() - SHOWN)?;
    }
    Ok(())
}

fn as_json(
    finder: &Finder,
    total: &Count,
    domains: &[(String, Count)],
    (server, told): (Option<&str>, &Option<Told>),
    out: &mut impl Write,
) -> Result<(), ToolError> {
    let object = |count: &Count| {
        let mut object = serde_json::Map::new();
        for (word, wait) in Wait::WORDS.iter().filter(|(_, w)| *w != Wait::Any) {
            object.insert((*word).to_owned(), count.of(*wait).into());
        }
        object.insert("bytes".to_owned(), count.bytes.into());
        object.insert("oldest".to_owned(), json!(count.oldest));
        object
    };
    let mut all = object(total);
    all.insert("server".to_owned(), json!(server));
    let ledger = told.as_ref().map(|t| &t.ledger);
    all.insert("ledger".to_owned(), json!(ledger));
    let usage = told.as_ref().map(|t| &t.usage);
    all.insert("limits".to_owned(), json!(usage));
    let suspended: Vec<_> = finder.suspensions.active(finder.now).collect();
    all.insert("suspensions".to_owned(), json!(suspended));
    writeln!(out, "{}", json!(all))?;
    for (domain, count) in domains {
        let mut line = serde_json::Map::new();
        line.insert("domain".to_owned(), domain.as_str().into());
        line.extend(object(count));
        writeln!(out, "{}", json!(line))?;
    }
    Ok(())
}
