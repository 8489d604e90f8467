//! Deliveries that an operator has suspended: by domain, provider or sender, for a time or until
//! resumed.
//!
//! One file in the queue directory, a line of JSON for each. The tool writes it, workers read it.
//! Items do not change by it.

use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::SUSPENDED_FILE;
use super::directory::{Directory, Step};
use super::error::SpoolError;
use super::store::Spool;
use crate::address::Address;

/// What a suspension is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suspended {
    /// Mail to a domain.
    Domain,
    /// Mail to a provider: the organisation that runs the mail hosts of a domain.
    Provider,
    /// Mail from an address, or from all addresses of a domain.
    Sender,
}

/// One suspension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// What it is about.
    pub what: Suspended,
    /// Which; lower case. `<>` is the null sender.
    pub value: String,
    /// When it began, in milliseconds since 1970.
    pub since: u64,
    /// When it ends, in milliseconds since 1970; none: when somebody ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Why, for those who ask.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Suspension {
    /// `domain example.com`.
    #[must_use]
    pub fn subject(&self) -> String {
        let what = match self.what {
            Suspended::Domain => "domain",
            Suspended::Provider => "provider",
            Suspended::Sender => "sender",
        };
        format!("{what} {}", self.value)
    }

    fn is_over(&self, now: u64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// All suspensions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspensions(Vec<Suspension>);

/// Longest file, in bytes; one that is longer was not written by us.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Most suspensions at a time: each delivery is held against all of them.
const MOST: usize = 1000;

/// Why suspensions cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum SuspensionsError {
    /// The file.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Its content.
    #[error("{SUSPENDED_FILE}:{line}: {cause}")]
    Malformed {
        /// From 1.
        line: usize,
        /// What is wrong.
        cause: String,
    },
    /// It is full.
    #[error("there are {MOST} suspensions already")]
    TooMany,
}

impl Suspensions {
    /// Reads the file of a queue directory; none is as good as an empty one.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn load(queue_dir: &Path) -> Result<Suspensions, SuspensionsError> {
        let dir = Directory::open(queue_dir, None).map_err(|source| SpoolError::Directory {
            path: queue_dir.display().to_string(),
            source,
        })?;
        Self::read(&dir)
    }

    fn read(dir: &Directory) -> Result<Suspensions, SuspensionsError> {
        let file = match dir.open_regular(SUSPENDED_FILE) {
            Err(e) if e.is_gone() => return Ok(Suspensions::default()),
            other => other?,
        };
        let mut text = String::new();
        if let Some((file, _)) = file {
            let read = file.take(LONGEST).read_to_string(&mut text);
            read.map_err(|e| SpoolError::io(Step::Read, SUSPENDED_FILE, e))?;
        }
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Suspensions, SuspensionsError> {
        let lines = text.lines().enumerate();
        let read = lines
            .filter(|(_, l)| !l.trim().is_empty())
            .map(|(n, line)| {
                serde_json::from_str(line).map_err(|e| SuspensionsError::Malformed {
                    line: n + 1,
                    cause: e.to_string(),
                })
            });
        read.collect::<Result<_, _>>().map(Suspensions)
    }

    fn to_text(&self) -> String {
        let lines = self.0.iter().filter_map(|s| serde_json::to_string(s).ok());
        lines.map(|line| line + "\n").collect()
    }

    /// Those that count at `now`, in milliseconds since 1970.
    pub fn active(&self, now: u64) -> impl Iterator<Item = &Suspension> {
        self.0.iter().filter(move |s| !s.is_over(now))
    }

    /// The first that a message of this sender to this domain meets.
    #[must_use]
    pub fn of_mail(&self, domain: &str, sender: &Address, now: u64) -> Option<&Suspension> {
        self.active(now).find(|s| match s.what {
            Suspended::Domain => s.value.eq_ignore_ascii_case(domain),
            Suspended::Sender => is_sender(&s.value, sender),
            Suspended::Provider => false,
        })
    }

    /// Whether there are any by provider, which takes a look at the DNS to know.
    #[must_use]
    pub fn of_providers(&self, now: u64) -> bool {
        self.active(now).any(|s| s.what == Suspended::Provider)
    }

    /// The first that this provider meets.
    #[must_use]
    pub fn of_provider(&self, provider: &str, now: u64) -> Option<&Suspension> {
        self.active(now)
            .find(|s| s.what == Suspended::Provider && s.value.eq_ignore_ascii_case(provider))
    }

    /// When the next of them ends by itself.
    #[must_use]
    pub fn next_end(&self, now: u64) -> Option<u64> {
        self.active(now).filter_map(|s| s.until).min()
    }

    /// Adds one, in place of one about the same.
    pub fn add(&mut self, new: Suspension) {
        self.0
            .retain(|s| (s.what, &s.value) != (new.what, &new.value));
        self.0.push(new);
    }

    /// Ends those that `which` picks; gives them.
    pub fn end(&mut self, which: impl Fn(&Suspension) -> bool) -> Vec<Suspension> {
        self.0.extract_if(.., |s| which(s)).collect()
    }
}

/// Whether a sender is meant by an address or a domain.
fn is_sender(value: &str, sender: &Address) -> bool {
    if value == "<>" || sender.is_null() {
        return value == "<>" && sender.is_null();
    }
    match value.rsplit_once('@') {
        Some(("", domain)) => sender.host().eq_ignore_ascii_case(domain),
        Some(_) => sender.address().eq_ignore_ascii_case(value),
        None => sender.host().eq_ignore_ascii_case(value),
    }
}

impl Spool {
    /// Changes the suspensions; on disk when it returns. Those that have ended are forgotten.
    ///
    /// # Errors
    /// [`SpoolError::InUse`] if somebody else does so at this moment, or the file cannot be read or written. As it was.
    pub fn change_suspensions<T>(
        &self,
        now: u64,
        change: impl FnOnce(&mut Suspensions) -> T,
    ) -> Result<T, SuspensionsError> {
        let lock = format!("{SUSPENDED_FILE}.lock");
        let locked = self.lock_kept(&lock, "another tool")?;
        let mut all = Suspensions::read(&self.dir)?;
        all.0.retain(|s| !s.is_over(now));
        let changed = change(&mut all);
        if all.0.len() > MOST {
            return Err(SuspensionsError::TooMany);
        }
        self.replace_kept(SUSPENDED_FILE, all.to_text().as_bytes())?;
        drop(locked);
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspension(what: Suspended, value: &str, until: Option<u64>) -> Suspension {
        Suspension {
            what,
            value: value.into(),
            since: 1,
            until,
            reason: "a \"reason\"\n".into(),
        }
    }

    fn address(text: &str) -> Address {
        let (user, host) = text.split_once('@').unwrap();
        Address::from_parts(user, host).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again_and_a_bad_line_is_named() {
        let mut all = Suspensions::default();
        all.add(suspension(Suspended::Domain, "a.example", None));
        all.add(suspension(Suspended::Sender, "x@b.example", Some(7)));
        all.add(suspension(Suspended::Domain, "a.example", Some(9)));
        let text = all.to_text();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!(Suspensions::parse(&text).unwrap(), all);
        let bad = format!("{text}nonsense\n");
        let error = Suspensions::parse(&bad).unwrap_err().to_string();
        assert!(error.starts_with(".suspended:3: "), "{error}");
    }

    #[test]
    fn mail_meets_suspensions_of_its_domain_and_its_sender_until_they_end() {
        let mut all = Suspensions::default();
        all.add(suspension(Suspended::Domain, "a.example", Some(100)));
        all.add(suspension(Suspended::Sender, "x@b.example", None));
        all.add(suspension(Suspended::Sender, "@c.example", None));
        all.add(suspension(Suspended::Sender, "<>", None));
        let met = |domain: &str, sender: &Address, now| {
            all.of_mail(domain, sender, now).map(Suspension::subject)
        };
        let anybody = address("y@b.example");
        assert_eq!(met("A.example", &anybody, 99).unwrap(), "domain a.example");
        assert_eq!(met("a.example", &anybody, 100), None);
        assert_eq!(met("sub.a.example", &anybody, 0), None);
        assert!(met("d.example", &address("X@b.example"), 0).is_some());
        assert!(met("d.example", &address("any@C.example"), 0).is_some());
        assert_eq!(met("d.example", &Address::null(), 0).unwrap(), "sender <>");
        assert_eq!(met("d.example", &anybody, 0), None);
        assert_eq!(all.next_end(0), Some(100));
        assert_eq!(all.next_end(100), None);
    }
}
