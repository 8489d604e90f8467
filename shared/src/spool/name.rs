//! Names in the queue directory: parsing, building, and which kind of file a name stands for.
//!
//! An item's name is its state (PA-39): when it arrived, when it is due, how often it was tried.
//! The other fields never change and are its identity. Pure functions, nothing is opened here.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Read as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Before the name of an item that is being written.
pub const TEMP_PREFIX: &str = "__tmp__.";
/// Before the name of a file that was found damaged; nothing touches it again.
pub const ASIDE_PREFIX: &str = "error.";
/// Before the identity of an item whose body is in a file of its own.
pub const BODY_PREFIX: &str = "body.";
/// Eighth field of an item without its own body. Haraka skips names with eight fields, so that a
/// return to it leaves such items lying instead of sending them empty.
const SPLIT_FIELD: &str = "b";

/// Six random letters and digits that stand for one worker process, for its whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation([u8; 6]);

impl Incarnation {
    /// A fresh one. Forked siblings share the state of every generator in memory, so the process id
    /// and the clock go in as well.
    #[must_use]
    pub fn random() -> Self {
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        let mut device = [0u8; 8];
        if let Ok(mut file) = File::open("/dev/urandom") {
            let _ = file.read_exact(&mut device);
        }
        let seed = u64::from_le_bytes(device)
            ^ nanos.rotate_left(20)
            ^ fastrand::u64(..)
            ^ u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = fastrand::Rng::with_seed(seed);
        Self(std::array::from_fn(|_| rng.alphanumeric() as u8))
    }

    /// From exactly six letters or digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 6] = text.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(u8::is_ascii_alphanumeric)
            .then_some(Self(bytes))
    }

    pub(super) fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// From what [`Incarnation::bytes`] gave.
    pub(super) fn from_bytes(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The six characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a name is made up, which also says where the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Seven fields: header and body in one file (OUT-08).
    Plain,
    /// Eight fields: header only, the body is in [`ParsedName::body_file`].
    Split,
    /// Four fields of Haraka before 2.8.16: like `Plain` (OUT-09).
    Old,
}

/// A parsed item name; `T` is the text it was parsed from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ParsedName<T> {
    text: T,
    /// Milliseconds since 1970 when the message came; 0 in the old form, which does not tell.
    pub arrival: u64,
    /// Milliseconds since 1970 when the next attempt is due.
    pub next_attempt: u64,
    /// Attempts that failed so far.
    pub attempts: u32,
    /// Process that wrote the item; says nothing about who owns it now (PB-33).
    pub pid: u32,
    /// Worker that wrote the item, where the field has the length that Haraka gives it.
    pub incarnation: Option<Incarnation>,
    /// Serial number within the process.
    pub counter: u32,
    /// How the name is made up.
    pub form: Form,
    /// Whether building a name from the fields gives this text again.
    pub(super) canonical: bool,
}

/// An item's name that borrows the directory entry it was read from.
pub type NameRef<'a> = ParsedName<&'a str>;

/// An item's name.
pub type QueueName = ParsedName<Box<str>>;

impl<'a> NameRef<'a> {
    /// Reads an item's name in any of the three forms. Like Haraka, a number is what its leading
    /// digits say; the two times must have some.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let fields = Fields::of(text)?;
        match fields.count {
            4 => Self::parse_old(text, &fields),
            7 => Self::parse_current(text, &fields, Form::Plain),
            8 if fields.get(7) == SPLIT_FIELD => Self::parse_current(text, &fields, Form::Split),
            _ => None,
        }
    }

    fn parse_current(text: &'a str, fields: &Fields<'a>, form: Form) -> Option<Self> {
        let (arrival, a) = number(fields.get(0));
        let (next, b) = number(fields.get(1));
        let (attempts, c) = number(fields.get(2));
        let (pid, d) = number(fields.get(3));
        let (counter, e) = number(fields.get(5));
        let incarnation = Incarnation::parse(fields.get(4));
        let fits = [attempts, pid, counter]
            .iter()
            .all(|n| n.is_none_or(|n| u32::try_from(n).is_ok()));
        Some(Self {
            text,
            arrival: arrival?,
            next_attempt: next?,
            attempts: narrow(attempts),
            pid: narrow(pid),
            incarnation,
            counter: narrow(counter),
            form,
            canonical: a && b && c && d && e && fits && incarnation.is_some(),
        })
    }

    fn parse_old(text: &'a str, fields: &Fields<'a>) -> Option<Self> {
        let (serial, _host) = fields.get(3).split_once('.')?;
        let all_digits = [fields.get(0), fields.get(1), fields.get(2), serial]
            .iter()
            .all(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()));
        if !all_digits {
            return None;
        }
        Some(Self {
            text,
            arrival: 0,
            next_attempt: number(fields.get(0)).0?,
            attempts: narrow(number(fields.get(1)).0),
            pid: narrow(number(fields.get(2)).0),
            incarnation: None,
            counter: narrow(number(serial).0),
            form: Form::Old,
            canonical: false,
        })
    }

    /// The same name with its own text.
    #[must_use]
    pub fn to_owned(&self) -> QueueName {
        ParsedName {
            text: self.text.into(),
            arrival: self.arrival,
            next_attempt: self.next_attempt,
            attempts: self.attempts,
            pid: self.pid,
            incarnation: self.incarnation,
            counter: self.counter,
            form: self.form,
            canonical: self.canonical,
        }
    }
}

impl QueueName {
    /// Reads an item's name, see [`NameRef::parse`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        NameRef::parse(text).map(|name| name.to_owned())
    }

    /// The name with another due time and number of attempts: what a deferral renames to. Every
    /// other field stays, and with them the owner.
    #[must_use]
    pub fn rescheduled(&self, next_attempt: u64, attempts: u32) -> Self {
        let form = self.form;
        let fields = Fields::of(&self.text).unwrap_or_default();
        let mut text = String::with_capacity(self.text.len() + 4);
        if form != Form::Old {
            let _ = write!(text, "{}_", fields.get(0));
        }
        let _ = write!(text, "{next_attempt}_{attempts}");
        let kept = if form == Form::Old { 2 } else { 3 };
        for field in kept..fields.count {
            let _ = write!(text, "_{}", fields.get(field));
        }
        // reading it back keeps `canonical` right; it cannot fail where `self` was read
        Self::parse(&text).unwrap_or_else(|| self.clone())
    }

    /// The name as an item whose body is apart. The old form has no identity to name a body by.
    #[must_use]
    pub(super) fn split(&self) -> Option<Self> {
        match self.form {
            Form::Split => Some(self.clone()),
            Form::Old => None,
            Form::Plain => Some(Self {
                text: format!("{}_{SPLIT_FIELD}", self.text).into(),
                form: Form::Split,
                ..self.clone()
            }),
        }
    }
}

impl<T: AsRef<str>> ParsedName<T> {
    /// The file name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.text.as_ref()
    }

    /// Host that wrote the item, escaped as in the name.
    #[must_use]
    pub fn host(&self) -> &str {
        let fields = Fields::of(self.as_str()).unwrap_or_default();
        match self.form {
            Form::Old => fields.get(3).split_once('.').map_or("", |(_, host)| host),
            Form::Plain | Form::Split => fields.get(6),
        }
    }

    /// The fields that never change, for a name of the current form.
    #[must_use]
    pub fn identity(&self) -> String {
        let fields = Fields::of(self.as_str()).unwrap_or_default();
        let mut out = String::with_capacity(self.as_str().len());
        match self.form {
            Form::Old => {
                let _ = write!(out, "{}_{}", fields.get(2), fields.get(3));
            }
            Form::Plain | Form::Split => {
                out.push_str(fields.get(0));
                for field in 3..7 {
                    let _ = write!(out, "_{}", fields.get(field));
                }
            }
        }
        out
    }

    /// Name of the file that holds the body of an item of [`Form::Split`].
    #[must_use]
    pub fn body_file(&self) -> String {
        format!("{BODY_PREFIX}{}", self.identity())
    }

    /// Name under which the item is written before it counts.
    #[must_use]
    pub fn temp_file(&self) -> String {
        format!("{TEMP_PREFIX}{}", self.as_str())
    }

    /// Hash of [`ParsedName::identity`], without building it.
    #[must_use]
    pub fn identity_hash(&self) -> u64 {
        let fields = Fields::of(self.as_str()).unwrap_or_default();
        let mut hash = Fnv::default();
        match self.form {
            Form::Old => {
                hash.add(fields.get(2));
                hash.add("_");
                hash.add(fields.get(3));
            }
            Form::Plain | Form::Split => {
                hash.add(fields.get(0));
                for field in 3..7 {
                    hash.add("_");
                    hash.add(fields.get(field));
                }
            }
        }
        hash.finish()
    }

    /// What ownership is decided by.
    #[must_use]
    pub fn owner_key(&self) -> OwnerKey {
        let fields = Fields::of(self.as_str()).unwrap_or_default();
        match self.form {
            Form::Old => OwnerKey::new(fields.get(2), fields.get(3)),
            Form::Plain | Form::Split => OwnerKey::of_message(fields.get(0), fields.get(4)),
        }
    }
}

impl<T: AsRef<str>> fmt::Display for ParsedName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The fields of a name that is being made.
#[derive(Debug, Clone, Copy)]
pub struct NewName<'a> {
    /// Milliseconds since 1970.
    pub arrival: u64,
    /// Milliseconds since 1970.
    pub next_attempt: u64,
    /// Attempts that failed so far.
    pub attempts: u32,
    /// The writing process.
    pub pid: u32,
    /// The writing worker.
    pub incarnation: Incarnation,
    /// Serial number within the process.
    pub counter: u32,
    /// Host, already escaped.
    pub host: &'a str,
    /// `Plain` or `Split`; `Old` is never made and taken as `Plain`.
    pub form: Form,
}

impl NewName<'_> {
    /// The name.
    #[must_use]
    pub fn build(&self) -> QueueName {
        let split = self.form == Form::Split;
        let tail = if split { "_b" } else { "" };
        let text = format!(
            "{}_{}_{}_{}_{}_{}_{}{tail}",
            self.arrival,
            self.next_attempt,
            self.attempts,
            self.pid,
            self.incarnation,
            self.counter,
            self.host
        );
        ParsedName {
            text: text.into(),
            arrival: self.arrival,
            next_attempt: self.next_attempt,
            attempts: self.attempts,
            pid: self.pid,
            incarnation: Some(self.incarnation),
            counter: self.counter,
            form: if split { Form::Split } else { Form::Plain },
            canonical: true,
        }
    }
}

/// The host name as Haraka writes it into file names (OUT-08).
#[must_use]
pub fn escape_host(host: &str) -> String {
    let mut out = String::with_capacity(host.len());
    for c in host.chars() {
        match c {
            '\\' => out.push_str("\\057"),
            ':' => out.push_str("\\072"),
            '_' => out.push_str("\\137"),
            // never in a host name, and would leave the directory
            '/' | '\0' => out.push('-'),
            c => out.push(c),
        }
    }
    out
}

/// What the owner of a file is found by: the same for all items of one message and their bodies,
/// and not changed by a deferral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerKey {
    /// The worker that wrote it.
    pub incarnation: Option<Incarnation>,
    /// Decides when that worker is unknown.
    pub hash: u64,
    /// When it wrote the file, in milliseconds since 1970, where the name tells.
    pub arrival: Option<u64>,
}

impl OwnerKey {
    /// From the two fields that are the same for a message's items and bodies.
    pub(super) fn of_message(arrival: &str, incarnation: &str) -> Self {
        Self {
            arrival: arrival.parse().ok(),
            ..Self::new(arrival, incarnation)
        }
    }

    pub(super) fn new(first: &str, second: &str) -> Self {
        let mut hash = Fnv::default();
        hash.add(first);
        hash.add("_");
        hash.add(second);
        Self {
            incarnation: Incarnation::parse(second),
            hash: hash.finish(),
            arrival: None,
        }
    }
}

/// A name cut at its underscores.
#[derive(Default)]
pub(super) struct Fields<'a> {
    parts: [&'a str; 8],
    pub(super) count: usize,
}

impl<'a> Fields<'a> {
    /// None when there are more than eight.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let mut fields = Self::default();
        for part in text.split('_') {
            *fields.parts.get_mut(fields.count)? = part;
            fields.count += 1;
        }
        Some(fields)
    }

    pub(super) fn get(&self, index: usize) -> &'a str {
        self.parts.get(index).copied().unwrap_or_default()
    }
}

/// The leading digits as a number, and whether it would be written exactly so.
fn number(text: &str) -> (Option<u64>, bool) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let value = text.get(..digits).and_then(|t| t.parse().ok());
    let canonical =
        value.is_some() && digits == text.len() && (digits == 1 || !text.starts_with('0'));
    (value, canonical)
}

fn narrow(value: Option<u64>) -> u32 {
    value.map_or(0, |v| u32::try_from(v).unwrap_or(u32::MAX))
}

/// FNV-1a with a final mix. Written out because it must never change between builds.
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(super) fn add(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "1507509981169_1507509981200_3_61403_e0Y0Ym_12_mx\\1371.example.com";

    // covers OUT-08, PA-39
    #[test]
    fn seven_fields_are_read() {
        let name = QueueName::parse(PLAIN).unwrap();
        assert_eq!(name.arrival, 1_507_509_981_169);
        assert_eq!(name.next_attempt, 1_507_509_981_200);
        assert_eq!((name.attempts, name.pid, name.counter), (3, 61403, 12));
        assert_eq!(name.incarnation.unwrap().as_str(), "e0Y0Ym");
        assert_eq!(name.host(), "mx\\1371.example.com");
        assert_eq!(name.form, Form::Plain);
        assert_eq!(name.as_str(), PLAIN);
    }

    // covers OUT-09
    #[test]
    fn four_fields_of_old_releases_are_read_and_deferred_in_their_form() {
        let name = QueueName::parse("1484878079415_2_12345_8888.mta1.example.com").unwrap();
        assert_eq!(name.next_attempt, 1_484_878_079_415);
        assert_eq!((name.attempts, name.pid), (2, 12345));
        assert_eq!(name.host(), "mta1.example.com");
        let later = name.rescheduled(1_484_878_999_999, 3);
        assert_eq!(
            later.as_str(),
            "1484878999999_3_12345_8888.mta1.example.com"
        );
        assert_eq!(later.owner_key(), name.owner_key());
        assert_eq!(QueueName::parse(later.as_str()).unwrap(), later);
    }

    #[test]
    fn names_haraka_reads_leniently_keep_their_text() {
        for text in ["0017_19.5_1_77x_abc_5_h", "1_2_x_y_z__"] {
            let name = QueueName::parse(text).unwrap();
            assert_eq!(name.as_str(), text);
            assert!(!name.canonical);
        }
    }

    #[test]
    fn identity_and_owner_survive_a_deferral_and_a_split() {
        let name = QueueName::parse(PLAIN).unwrap();
        let later = name.rescheduled(1_700_000_000_000, 9);
        let split = later.split().unwrap();
        assert_eq!(split.form, Form::Split);
        assert_eq!(QueueName::parse(split.as_str()).unwrap(), split);
        for other in [&later, &split] {
            assert_eq!(other.identity(), name.identity());
            assert_eq!(other.identity_hash(), name.identity_hash());
            assert_eq!(other.owner_key(), name.owner_key());
        }
    }

    // The value is part of the contract between workers of different builds.
    #[test]
    fn the_stable_hash_never_changes() {
        let key = QueueName::parse(PLAIN).unwrap().owner_key();
        assert_eq!(key.hash, STABLE);
    }
    const STABLE: u64 = 2_211_024_558_144_120_017;

    // covers OUT-08, PA-37
    #[test]
    fn host_is_escaped_as_haraka_does() {
        assert_eq!(escape_host("a_b:c\\d"), "a\\137b\\072c\\057d");
        assert_eq!(escape_host("../x/y"), "..-x-y");
    }
}
