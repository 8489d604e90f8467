//! What an item waits for, in one sentence: the words, for workers and for the command line. Pure.

use crate::date;
use crate::spool::{Recipient, State, StoredName, Suspension, Todo};

/// What keeps an item that is in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// It is being delivered.
    Delivery,
    /// The result of its last attempt cannot be written down.
    Unwritten,
    /// Deliveries are switched off.
    Disabled,
    /// This suspension.
    Suspended(Suspension),
    /// The server has only started.
    Start,
    /// Its worker ends and starts no more deliveries.
    Restart,
    /// The limit of its domain.
    Lane {
        /// Deliveries to it under way.
        active: usize,
        /// Items before this one.
        before: usize,
        /// Most deliveries to one domain.
        most: usize,
    },
    /// What its destination takes (`shaping.toml`).
    Destination {
        /// Which limit, in words.
        why: String,
        /// Items before this one.
        before: usize,
        /// When there may be room, if that is known.
        until: Option<u64>,
    },
    /// The limit on all deliveries.
    Full {
        /// Deliveries under way.
        active: usize,
    },
    /// Its time.
    Time,
    /// A server: none runs.
    Server,
}

/// Tells it. `now` in milliseconds since 1970.
#[must_use]
pub fn sentence(
    item: &StoredName,
    todo: &Todo,
    waiting: &Waiting,
    trash_hours: u32,
    now: u64,
) -> String {
    match item.state {
        State::Trashed { at, .. } => {
            let end = at.saturating_add(u64::from(trash_hours) * 3_600_000);
            return format!(
                "It was thrown away {} ago and is deleted {}; `haraka queue undo` brings it back.",
                span(now.saturating_sub(at)),
                when(end, now)
            );
        }
        State::Held => {
            return "It is held until `haraka queue release`.".to_owned();
        }
        State::Queued => {}
    }
    match waiting {
        Waiting::Delivery => format!(
            "It is being delivered to {} just now, attempt {}.",
            todo.domain,
            item.name.attempts.saturating_add(1)
        ),
        Waiting::Unwritten => "It was attempted, and the result cannot be written to the queue \
                               directory; that is tried again every minute."
            .to_owned(),
        Waiting::Disabled => "Nothing is delivered: `disabled` is set in outbound.ini.".to_owned(),
        Waiting::Suspended(s) => suspended(s, now),
        Waiting::Start => "The server has just started and still reads the queue.".to_owned(),
        Waiting::Restart => {
            "Its worker is ending; the next one takes it over as soon as that is done.".to_owned()
        }
        Waiting::Lane {
            active,
            before,
            most,
        } => format!(
            "It is due and waits for a free place: {active} deliveries to {} are under way of at \
             most {most}, and {before} items are before it.",
            todo.domain
        ),
        Waiting::Destination { why, before, until } => {
            let until =
                until.map(|at| format!("; its turn comes {} at the earliest", when(at, now)));
            let until = until.unwrap_or_default();
            format!("It is due and waits: {why}; {before} items are before it{until}.")
        }
        Waiting::Full { active } if item.name.next_attempt <= now => format!(
            "It is due and waits for a free place: all {active} deliveries that this worker may \
             make at a time (concurrency_max) are under way."
        ),
        Waiting::Full { .. } | Waiting::Time => time(item, todo, now),
        Waiting::Server => format!("No server runs. {}", time(item, todo, now)),
    }
}

fn suspended(s: &Suspension, now: u64) -> String {
    let until = match s.until {
        Some(until) => format!(", to be resumed {}", when(until, now)),
        None => ", until `haraka queue resume`".to_owned(),
    };
    let reason = match s.reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    format!(
        "Deliveries for {} are suspended since {}{until}{reason}.",
        s.subject(),
        when(s.since, now)
    )
}

fn time(item: &StoredName, todo: &Todo, now: u64) -> String {
    let next = item.name.next_attempt;
    let turn = match next <= now {
        true => "it is due and about to be tried".to_owned(),
        false => format!("the next attempt is {}", when(next, now)),
    };
    let tried = match item.name.attempts {
        0 => return format!("It was not tried yet; {turn}."),
        1 => "once".to_owned(),
        n => format!("{n} times"),
    };
    match todo.rcpt_to.iter().find_map(last_error) {
        Some(error) => format!("It was tried {tried}, the last time with {error:?}; {turn}."),
        None => format!("It was tried {tried}; {turn}."),
    }
}

/// What the last attempt said about a recipient.
#[must_use]
pub fn last_error(recipient: &Recipient) -> Option<&str> {
    let state = recipient.state.as_deref()?;
    let said = state.dsn_smtp_response.as_deref();
    let reason = state.reason.as_deref();
    reason.or(said).filter(|text| !text.is_empty())
}

/// `in 5m (2026-11-21T08:00:00Z)`, or the time alone for what is past.
#[must_use]
pub fn when(at: u64, now: u64) -> String {
    let text = date::iso8601(i64::try_from(at).unwrap_or(i64::MAX));
    let text = text.get(..19).unwrap_or_default();
    match at.checked_sub(now) {
        Some(ahead) if ahead > 0 => format!("in {} ({text}Z)", span(ahead)),
        _ => format!("{text}Z"),
    }
}

/// A span of milliseconds in its two largest units: `45s`, `5m 3s`, `2d 4h`.
#[must_use]
pub fn span(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let seconds = ms / 1000;
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        let count = left / unit;
        left %= unit;
        match (count, parts.is_empty()) {
            (0, true) => {}
            (0, false) => break,
            _ => parts.push(format!("{count}{name}")),
        }
        if parts.len() == 2 {
            break;
        }
    }
    match parts.is_empty() {
        true => "0s".to_owned(),
        false => parts.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{RecipientState, Suspended};

    const NOW: u64 = 1_795_000_000_000;

    fn item(prefix: &str, next: u64, attempts: u32) -> StoredName {
        StoredName::parse(&format!("{prefix}1_{next}_{attempts}_7_AbCdEf_1_mx")).unwrap()
    }

    fn todo(error: Option<&str>) -> Todo {
        let mut rcpt: Recipient = crate::address::Address::from_parts("a", "far.test")
            .unwrap()
            .into();
        rcpt.state = error.map(|e| {
            Box::new(RecipientState {
                reason: Some(e.to_owned()),
                ..RecipientState::default()
            })
        });
        let mut todo = Todo::default();
        todo.domain = "far.test".into();
        todo.rcpt_to = vec![rcpt];
        todo
    }

    fn told(item: &StoredName, error: Option<&str>, waiting: &Waiting) -> String {
        sentence(item, &todo(error), waiting, 24, NOW)
    }

    #[test]
    fn each_reason_is_one_sentence() {
        let due = item("", NOW - 1, 0);
        let later = item("", NOW + 64_000, 2);
        assert_eq!(
            told(&later, Some("450 busy"), &Waiting::Time),
            "It was tried 2 times, the last time with \"450 busy\"; the next attempt is in 1m 4s \
             (2026-11-18T11:07:44Z)."
        );
        assert_eq!(
            told(&due, None, &Waiting::Time),
            "It was not tried yet; it is due and about to be tried."
        );
        assert!(told(&due, None, &Waiting::Full { active: 9 }).contains("all 9 deliveries"));
        assert!(told(&later, None, &Waiting::Full { active: 9 }).contains("next attempt"));
        assert!(told(&due, None, &Waiting::Server).starts_with("No server runs. "));
        let held = item("hold_", NOW, 0);
        assert!(told(&held, None, &Waiting::Time).starts_with("It is held"));
        let trashed = item(&format!("trash_{}.", NOW - 3_600_000), NOW, 0);
        let told_of_trash = told(&trashed, None, &Waiting::Time);
        assert!(told_of_trash.contains(" 1h ago") && told_of_trash.contains("in 23h"));
        let suspension = Suspension {
            what: Suspended::Domain,
            value: "far.test".into(),
            since: NOW - 1000,
            until: Some(NOW + 7_200_000),
            reason: "moving".into(),
        };
        let text = told(&due, None, &Waiting::Suspended(suspension));
        assert!(text.contains("domain far.test are suspended"), "{text}");
        assert!(
            text.contains("resumed in 2h (") && text.ends_with("(moving)."),
            "{text}"
        );
    }

    #[test]
    fn spans_have_two_units_at_most() {
        for (ms, text) in [
            (0, "0s"),
            (999, "0s"),
            (45_000, "45s"),
            (303_000, "5m 3s"),
            (3_600_000, "1h"),
            (3_601_000, "1h"),
            (187_200_000, "2d 4h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
