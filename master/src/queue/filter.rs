//! Which items are meant by what is in them. Pure.

use haraka_shared::address::Address;
use haraka_shared::spool::{State, StoredName, Suspensions, Todo};
use haraka_shared::waiting::last_error;

/// Conditions that an item has to meet, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Where it goes; `.example.com` means the domains below that as well.
    pub domain: Option<String>,
    /// Its sender: an address, a domain, or `<>`.
    pub sender: Option<String>,
    /// One of its recipients: an address or a domain.
    pub recipient: Option<String>,
    /// It arrived longer ago than this, in milliseconds.
    pub older: Option<u64>,
    /// It arrived less long ago than this, in milliseconds.
    pub younger: Option<u64>,
    /// In the last error of a recipient; upper and lower case are the same.
    pub error: Option<String>,
    /// Where it stands.
    pub state: Option<Wait>,
}

/// What `--state` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not tried yet.
    New,
    /// Tried and put off.
    Deferred,
    /// For a domain or from a sender that is suspended.
    Suspended,
    /// Held.
    Held,
    /// In the trash.
    Trash,
    /// Anything.
    Any,
}

impl Wait {
    /// The words, in the order in which they are shown.
    pub const WORDS: [(&'static str, Wait); 6] = [
        ("new", Wait::New),
        ("deferred", Wait::Deferred),
        ("suspended", Wait::Suspended),
        ("held", Wait::Held),
        ("trash", Wait::Trash),
        ("any", Wait::Any),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        let found = Wait::WORDS.iter().find(|(_, wait)| *wait == self);
        found.map_or("", |(word, _)| word)
    }
}

/// How an item waits, as far as its file tells.
pub fn wait(item: &StoredName, todo: &Todo, suspensions: &Suspensions, now: u64) -> Wait {
    match item.state {
        State::Held => Wait::Held,
        State::Trashed { .. } => Wait::Trash,
        State::Queued => {
            let met = suspensions.of_mail(&todo.domain, &todo.mail_from, now);
            match (met, item.name.attempts) {
                (Some(_), _) => Wait::Suspended,
                (None, 0) => Wait::New,
                (None, _) => Wait::Deferred,
            }
        }
    }
}

impl Filter {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    /// Whether an item can be meant, by its name alone.
    pub fn may_take(&self, item: &StoredName, now: u64) -> bool {
        let age = now.saturating_sub(item.name.arrival);
        let old_enough = self.older.is_none_or(|older| age > older);
        let young_enough = self.younger.is_none_or(|younger| age < younger);
        let tried = item.name.attempts > 0;
        let stands = match (self.state, item.state) {
            (None | Some(Wait::Any), _) => true,
            (Some(Wait::New), State::Queued) => !tried,
            (Some(Wait::Deferred), State::Queued) => tried,
            (Some(Wait::Suspended), State::Queued) => true,
            (Some(Wait::Held), State::Held) => true,
            (Some(Wait::Trash), State::Trashed { .. }) => true,
            _ => false,
        };
        old_enough && young_enough && stands
    }

    /// Whether the envelope has to be read to know.
    pub fn needs_envelope(&self) -> bool {
        self.domain.is_some()
            || self.sender.is_some()
            || self.recipient.is_some()
            || self.error.is_some()
            || self.state == Some(Wait::Suspended)
    }

    /// Whether an item is meant.
    pub fn takes(
        &self,
        item: &StoredName,
        todo: &Todo,
        suspensions: &Suspensions,
        now: u64,
    ) -> bool {
        let suspended = || wait(item, todo, suspensions, now) == Wait::Suspended;
        let domain = |wanted: &str| is_domain(wanted, &todo.domain);
        let sender = |wanted: &str| is_address(wanted, &todo.mail_from);
        let recipient = |wanted: &str| todo.rcpt_to.iter().any(|r| is_address(wanted, &r.address));
        let error = |wanted: &str| {
            let wanted = wanted.to_lowercase();
            let errors = todo.rcpt_to.iter().filter_map(last_error);
            errors.map(str::to_lowercase).any(|e| e.contains(&wanted))
        };
        let meets = |wanted: &Option<String>, test: &dyn Fn(&str) -> bool| {
            wanted.as_deref().is_none_or(test)
        };
        self.may_take(item, now)
            && meets(&self.domain, &domain)
            && meets(&self.sender, &sender)
            && meets(&self.recipient, &recipient)
            && meets(&self.error, &error)
            && (self.state != Some(Wait::Suspended) || suspended())
    }
}

fn is_domain(wanted: &str, domain: &str) -> bool {
    match wanted.strip_prefix('.') {
        None => domain.eq_ignore_ascii_case(wanted),
        Some(parent) => {
            let (domain, parent) = (domain.to_ascii_lowercase(), parent.to_ascii_lowercase());
            domain == parent || domain.ends_with(&format!(".{parent}"))
        }
    }
}

fn is_address(wanted: &str, address: &Address) -> bool {
    if wanted == "<>" || address.is_null() {
        return wanted == "<>" && address.is_null();
    }
    let wanted = wanted.strip_prefix('<').unwrap_or(wanted);
    let wanted = wanted.strip_suffix('>').unwrap_or(wanted);
    match wanted.rsplit_once('@') {
        Some(("", domain)) => is_domain(domain, address.host()),
        Some(_) => address.address().eq_ignore_ascii_case(wanted),
        None => is_domain(wanted, address.host()),
    }
}

/// A span such as `90s`, `30m`, `2h`, `1d12h`, `2w`, in milliseconds.
pub fn span(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no span of time such as 30m, 2h or 1d12h");
    let mut total = 0u64;
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit: u64 = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(wrong()),
        };
        let count: u64 = number.parse().map_err(|_| wrong())?;
        number.clear();
        let part = count.checked_mul(unit * 1000);
        total = part.and_then(|p| total.checked_add(p)).ok_or_else(wrong)?;
    }
    match number.is_empty() && !text.is_empty() {
        true => Ok(total),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use haraka_shared::spool::{RecipientState, Suspended, Suspension};

    const NOW: u64 = 1_000_000;

    fn item(prefix: &str, attempts: u32) -> StoredName {
        let name = format!("{prefix}{}_{NOW}_{attempts}_7_AbCdEf_1_mx", NOW - 60_000);
        StoredName::parse(&name).unwrap()
    }

    fn todo() -> Todo {
        let address = |text: &str| {
            let (user, host) = text.split_once('@').unwrap();
            Address::from_parts(user, host).unwrap()
        };
        let mut late: haraka_shared::spool::Recipient = address("b@sub.far.test").into();
        late.state = Some(Box::new(RecipientState {
            reason: Some("450 Mailbox Busy".into()),
            ..RecipientState::default()
        }));
        let mut todo = Todo::default();
        todo.domain = "sub.far.test".into();
        todo.rcpt_to = vec![address("a@sub.far.test").into(), late];
        todo.mail_from = address("me@here.test");
        todo
    }

    fn takes(change: impl Fn(&mut Filter), item: &StoredName) -> bool {
        let mut filter = Filter::default();
        change(&mut filter);
        let mut suspensions = Suspensions::default();
        suspensions.add(Suspension {
            what: Suspended::Sender,
            value: "here.test".into(),
            since: 0,
            until: Some(NOW + 5),
            reason: String::new(),
        });
        filter.takes(item, &todo(), &suspensions, NOW)
    }

    #[test]
    fn each_condition_takes_what_it_means_and_leaves_the_rest() {
        let deferred = item("", 1);
        let text = |t: &str| Some(t.to_owned());
        for (wanted, yes) in [
            ("sub.far.test", true),
            ("SUB.far.test", true),
            ("far.test", false),
            (".far.test", true),
            (".ar.test", false),
        ] {
            assert_eq!(
                takes(|f| f.domain = text(wanted), &deferred),
                yes,
                "{wanted}"
            );
        }
        for (wanted, yes) in [
            ("me@here.test", true),
            ("<ME@here.test>", true),
            ("here.test", true),
            ("@here.test", true),
            ("e@here.test", false),
            ("<>", false),
        ] {
            assert_eq!(
                takes(|f| f.sender = text(wanted), &deferred),
                yes,
                "{wanted}"
            );
        }
        assert!(takes(|f| f.recipient = text("b@sub.far.test"), &deferred));
        assert!(!takes(|f| f.recipient = text("c@sub.far.test"), &deferred));
        assert!(takes(|f| f.error = text("mailbox busy"), &deferred));
        assert!(!takes(|f| f.error = text("full"), &deferred));
        assert!(takes(|f| f.older = Some(59_000), &deferred));
        assert!(!takes(|f| f.older = Some(60_000), &deferred));
        assert!(takes(|f| f.younger = Some(61_000), &deferred));
        assert!(!takes(|f| f.younger = Some(60_000), &deferred));
        let state = |wait: Wait, item: &StoredName| takes(|f| f.state = Some(wait), item);
        assert!(state(Wait::Deferred, &deferred) && !state(Wait::New, &deferred));
        assert!(state(Wait::New, &item("", 0)) && state(Wait::Suspended, &deferred));
        let held = item("hold_", 1);
        assert!(state(Wait::Held, &held) && !state(Wait::Deferred, &held));
        assert!(!state(Wait::Suspended, &held) && state(Wait::Any, &held));
        assert!(state(Wait::Trash, &item("trash_5.", 1)));
    }

    #[test]
    fn spans_need_units_and_sense() {
        assert_eq!(span("90s"), Ok(90_000));
        assert_eq!(span("1d12h"), Ok(129_600_000));
        for bad in [
            "",
            "5",
            "h",
            "-1h",
            "1.5h",
            "1y",
            "99999999999999999999h",
            "30m5",
        ] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
