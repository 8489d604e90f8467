//! The two texts of MTA-STS (RFC 8461 §3): the TXT record that announces a policy, and the policy.
//!
//! Pure functions from text to values; whether a policy is believed, kept or asked for again is
//! decided in `sts.rs`. Must never accept a policy that the RFC calls invalid: an invalid one counts
//! as none, which senders have to be able to tell from an empty one.

use std::fmt;
use std::time::Duration;

/// Largest policy that is read (RFC 8461 §3.3 suggests this limit).
pub const MAX_POLICY: usize = 64 * 1024;

/// Longest time that a policy may ask to be kept (RFC 8461 §3.2): about a year.
const LONGEST: u64 = 31_557_600;

/// The id of the policy that a domain announces, from all TXT records of `_mta-sts.DOMAIN`.
///
/// `None` if there is no such record, more than one, or one that is malformed: then the domain has
/// no policy as far as senders are concerned (RFC 8461 §3.1).
pub fn announced<T: AsRef<str>>(records: &[T]) -> Option<&str> {
    let mut ours = records
        .iter()
        .map(AsRef::as_ref)
        .filter(|text| version(text).is_some());
    let only = ours.next()?;
    if ours.next().is_some() {
        return None;
    }
    let mut id = None;
    let mut fields = version(only)?.split(';').map(trim).peekable();
    while let Some(field) = fields.next() {
        if field.is_empty() && fields.peek().is_none() {
            break;
        }
        let (name, value) = field.split_once('=')?;
        if !is_field_name(name) || value.is_empty() || !value.bytes().all(is_value_octet) {
            return None;
        }
        // A record says it once; of several the first counts, as in the policy.
        if name == "id" && id.is_none() {
            let fits = value.len() <= 32 && value.bytes().all(|b| b.is_ascii_alphanumeric());
            id = Some(fits.then_some(value)?);
        }
    }
    id
}

/// What follows `v=STSv1;`.
fn version(text: &str) -> Option<&str> {
    trim_start(text.strip_prefix("v=STSv1")?).strip_prefix(';')
}

/// What a domain wants to happen to mail for hosts that do not fit its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No such host may be used.
    Enforce,
    /// It may; the domain wants to hear of it (RFC 8460).
    Testing,
    /// The domain has no policy any more.
    None,
}

impl Mode {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        }
    }
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsPolicy {
    /// What it demands.
    pub mode: Mode,
    /// How long it may be kept.
    pub max_age: Duration,
    /// Names of mail hosts in lower case; `*.` stands for one label.
    pub mx: Vec<String>,
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StsError {
    /// It is longer than any policy.
    #[error("policy is longer than {MAX_POLICY} bytes")]
    TooLong,
    /// It is no text.
    #[error("policy is not UTF-8 text")]
    NotText,
    /// A line without name and value.
    #[error("line {0} of the policy is not \"name: value\"")]
    Line(usize),
    /// A field that each policy has.
    #[error("policy has no valid {0}")]
    Missing(&'static str),
    /// A host pattern that names no host.
    #[error("policy names no host by {0:?}")]
    Host(String),
}

impl StsPolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`StsError`]: the domain is treated as if the policy could not be fetched.
    pub fn parse(body: &[u8]) -> Result<StsPolicy, StsError> {
        if body.len() > MAX_POLICY {
            return Err(StsError::TooLong);
        }
        let text = std::str::from_utf8(body).map_err(|_| StsError::NotText)?;
        let (mut version, mut mode, mut max_age) = (None, None, None);
        let mut mx = Vec::new();
        for (at, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let bad = || StsError::Line(at + 1);
            let (name, value) = line.split_once(':').ok_or_else(bad)?;
            let (name, value) = (trim(name), trim(value));
            if !is_field_name(name) || value.is_empty() {
                return Err(bad());
            }
            // Of a field that occurs again the first counts; hosts add up (RFC 8461 §3.2).
            match name {
                "version" => drop(version.get_or_insert(value)),
                "mode" => drop(mode.get_or_insert(value)),
                "max_age" => drop(max_age.get_or_insert(value)),
                "mx" => mx.push(pattern(value)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(StsError::Missing("version"));
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(StsError::Missing("mode")),
        };
        let max_age = max_age
            .filter(|digits| digits.len() <= 10 && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse::<u64>().ok())
            .ok_or(StsError::Missing("max_age"))?;
        if mx.is_empty() && mode != Mode::None {
            return Err(StsError::Missing("mx"));
        }
        Ok(StsPolicy {
            mode,
            max_age: Duration::from_secs(max_age.min(LONGEST)),
            mx,
        })
    }

    /// Whether a mail host, by the name in the MX record, is one of the policy's (RFC 8461 §4.1).
    pub fn lists(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.mx.iter().any(|pattern| matches(pattern, host))
    }
}

impl fmt::Display for StsPolicy {
    /// The policy in its own syntax.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "version: STSv1\nmode: {}", self.mode.name())?;
        for pattern in &self.mx {
            writeln!(f, "mx: {pattern}")?;
        }
        writeln!(f, "max_age: {}", self.max_age.as_secs())
    }
}

/// The wildcard takes the place of the whole left-most label, and of one only (RFC 6125 §6.4.3).
fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(host),
        Some(parent) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
    }
}

fn pattern(value: &str) -> Result<String, StsError> {
    let name = value.strip_prefix("*.").unwrap_or(value);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(StsError::Host(value.chars().take(80).collect()));
    }
    let whole = value.strip_suffix('.').unwrap_or(value);
    Ok(whole.to_ascii_lowercase())
}

/// RFC 8461 §3.1: a letter or digit, then up to 31 of those, `_`, `-` and `.`.
fn is_field_name(name: &str) -> bool {
    name.len() <= 32
        && name
            .bytes()
            .enumerate()
            .all(|(at, b)| b.is_ascii_alphanumeric() || (at > 0 && matches!(b, b'_' | b'-' | b'.')))
        && !name.is_empty()
}

/// Visible octets without `;` and `=`.
fn is_value_octet(b: u8) -> bool {
    b.is_ascii_graphic() && b != b';' && b != b'='
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn trim_start(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcement_is_the_only_record_of_its_version() {
        for (records, id) in [
            // RFC 8461 §3.1
            (
                &["v=STSv1; id=20160831085700Z;"][..],
                Some("20160831085700Z"),
            ),
            (&["v=STSv1;id=1"], Some("1")),
            (&["v=STSv1 ; id=1 ; "], Some("1")),
            (&["v=STSv1; x-y=%; id=a1"], Some("a1")),
            (&["v=STSv1; id=1; id=2"], Some("1")),
            (&["v=spf1 -all", "v=STSv1; id=7"], Some("7")),
            (&["v=STSv1; id=1", "v=STSv1; id=2"], None),
            (&["v=STSv1"], None),
            (&["v=STSv1;"], None),
            (&["v=STSv1; id="], None),
            (&["v=STSv1; id=a-b"], None),
            (&["v=STSv1; id=123456789012345678901234567890123"], None),
            (&["v=STSv1; id=1;; x=y"], None),
            (&["v=STSv1; id=1; junk"], None),
            (&["v=STSv1; -x=1; id=1"], None),
            (&["v=STSv2; id=1"], None),
            (&["v=STSv10; id=1"], None),
            (&[" v=STSv1; id=1"], None),
            (&["V=STSv1; id=1"], None),
            (&[], None),
        ] {
            assert_eq!(announced(records), id, "{records:?}");
        }
    }

    fn policy(text: &str) -> Result<StsPolicy, StsError> {
        StsPolicy::parse(text.as_bytes())
    }

    #[test]
    fn policy_of_the_rfc_is_read() {
        // RFC 8461 §3.2 and appendix A
        let read = policy(
            "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\n\
             mx: backupmx.example.com\nmax_age: 604800\n",
        )
        .unwrap();
        assert_eq!(read.mode, Mode::Enforce);
        assert_eq!(read.max_age, Duration::from_secs(604_800));
        assert_eq!(
            read.mx,
            ["mail.example.com", "*.example.net", "backupmx.example.com"]
        );
    }

    #[test]
    fn valid_variants_are_read() {
        for (text, mode, age, hosts) in [
            (
                "version: STSv1\r\nmode: none\r\nmax_age: 0\r\n",
                Mode::None,
                0,
                0,
            ),
            (
                "max_age:1\nmx:A.B\nmode:testing\nversion:STSv1",
                Mode::Testing,
                1,
                1,
            ),
            (
                "version: STSv1\nmode: enforce\nmode: none\nmx: a.b\nmx: c.d.\nmax_age: 5\nmax_age: 6\n\
                 x-new: ünïcode = fine; yes\n\n",
                Mode::Enforce,
                5,
                2,
            ),
            (
                "version : STSv1\t\nmode\t: enforce\nmx: a\nmax_age: 9999999999\n",
                Mode::Enforce,
                LONGEST,
                1,
            ),
        ] {
            let read = policy(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (read.mode, read.max_age.as_secs(), read.mx.len()),
                (mode, age, hosts),
                "{text}"
            );
            assert_eq!(policy(&read.to_string()), Ok(read), "{text}");
        }
    }

    #[test]
    fn invalid_policy_says_what_is_wrong() {
        let head = "version: STSv1\nmode: enforce\n";
        for (text, why) in [
            (String::new(), StsError::Missing("version")),
            (
                "version: STSv2\nmode: none\nmax_age: 1".into(),
                StsError::Missing("version"),
            ),
            (
                "version: STSv1\nmode: Enforce\nmx: a\nmax_age: 1".into(),
                StsError::Missing("mode"),
            ),
            (format!("{head}mx: a.b"), StsError::Missing("max_age")),
            (
                format!("{head}mx: a.b\nmax_age: -1"),
                StsError::Missing("max_age"),
            ),
            (
                format!("{head}mx: a.b\nmax_age: 12345678901"),
                StsError::Missing("max_age"),
            ),
            (format!("{head}max_age: 1"), StsError::Missing("mx")),
            (format!("{head}mx:\nmax_age: 1"), StsError::Line(3)),
            (format!("{head}nonsense"), StsError::Line(3)),
            ("<html>\n".into(), StsError::Line(1)),
            (format!("{head}mx: *\n"), StsError::Host("*".into())),
            (format!("{head}mx: a.*.b\n"), StsError::Host("a.*.b".into())),
            (format!("{head}mx: *.*.b\n"), StsError::Host("*.*.b".into())),
            (format!("{head}mx: a..b\n"), StsError::Host("a..b".into())),
            (format!("{head}mx: a b\n"), StsError::Host("a b".into())),
            (
                format!("{head}mx: {}", "x".repeat(MAX_POLICY)),
                StsError::TooLong,
            ),
        ] {
            assert_eq!(policy(&text), Err(why), "{text:.80}");
        }
        assert_eq!(StsPolicy::parse(b"version: \xff"), Err(StsError::NotText));
    }

    #[test]
    fn wildcard_stands_for_exactly_one_label() {
        let read = policy(
            "version: STSv1\nmode: enforce\nmx: mx.example.com\nmx: *.Example.net\nmax_age: 1",
        )
        .unwrap();
        for host in [
            "mx.example.com",
            "MX.Example.Com",
            "mx.example.com.",
            "a.example.net",
        ] {
            assert!(read.lists(host), "{host}");
        }
        for host in [
            "a.mx.example.com",
            "example.net",
            ".example.net",
            "a.b.example.net",
            "a.example.net.evil.test",
            "xexample.net",
            "",
        ] {
            assert!(!read.lists(host), "{host}");
        }
    }
}
