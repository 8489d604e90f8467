//! The forms of value that settings share: yes or no, text, numbers, times, choices, lists.
//!
//! Each turns text into a typed value or tells what is wrong with it; none reads files.

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::ini::is_true;
use super::ip_range::IpRange;
use super::listen::{Endpoint, ListenAddr, parse_endpoint, split_list};
use super::reader::Reader;
use super::row::{Describe, Kind, Row};
use crate::address::{Address, Limits};

/// Yes or no, by Haraka's words; what is neither counts as no, with a warning.
pub struct Bool;

impl Describe for Bool {
    fn describe(&self) -> String {
        "true or false".to_owned()
    }
}

impl Kind for Bool {
    type Out = bool;
    fn parse(&self, text: &str) -> Result<bool, String> {
        let no = ["false", "no", "off", "disabled", "0"];
        if is_true(text) {
            Ok(true)
        } else if no.iter().any(|word| text.eq_ignore_ascii_case(word)) {
            Ok(false)
        } else {
            Err(format!(
                "\"{text}\" is neither true nor false; it counts as false"
            ))
        }
    }
    fn fallback(&self) -> Option<bool> {
        Some(false)
    }
}

/// Any text, also none.
pub struct Text;

impl Describe for Text {
    fn describe(&self) -> String {
        "text".to_owned()
    }
    fn takes_empty(&self) -> bool {
        true
    }
}

impl Kind for Text {
    type Out = String;
    fn parse(&self, text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }
}

/// Text, or nothing.
pub struct OptionalText;

impl Describe for OptionalText {
    fn describe(&self) -> String {
        "text".to_owned()
    }
    fn takes_empty(&self) -> bool {
        true
    }
}

impl Kind for OptionalText {
    type Out = Option<String>;
    fn parse(&self, text: &str) -> Result<Option<String>, String> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }
}

/// A path in the file system.
pub struct FilePath;

impl Describe for FilePath {
    fn describe(&self) -> String {
        "path".to_owned()
    }
}

impl Kind for FilePath {
    type Out = PathBuf;
    fn parse(&self, text: &str) -> Result<PathBuf, String> {
        if text.contains('\0') {
            return Err("a path has no NUL".to_owned());
        }
        Ok(PathBuf::from(text))
    }
}

/// A path in the file system, or none.
pub struct OptionalPath;

impl Describe for OptionalPath {
    fn describe(&self) -> String {
        FilePath.describe()
    }
    fn takes_empty(&self) -> bool {
        true
    }
}

impl Kind for OptionalPath {
    type Out = Option<PathBuf>;
    fn parse(&self, text: &str) -> Result<Option<PathBuf>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        FilePath.parse(text).map(Some)
    }
}

/// A whole number in a range, as `T`.
pub struct Count<T> {
    min: u64,
    max: u64,
    out: PhantomData<fn() -> T>,
}

impl<T> Count<T> {
    /// From `min` to `max`, both allowed.
    pub const fn new(min: u64, max: u64) -> Self {
        let out = PhantomData;
        Count { min, max, out }
    }
}

impl<T> Describe for Count<T> {
    fn describe(&self) -> String {
        match self.max {
            u64::MAX => format!("number from {}", self.min),
            max => format!("number, {} to {max}", self.min),
        }
    }
}

impl<T: TryFrom<u64>> Kind for Count<T> {
    type Out = T;
    fn parse(&self, text: &str) -> Result<T, String> {
        let number: u64 = text
            .parse()
            .map_err(|_| format!("\"{text}\" is not a whole number"))?;
        T::try_from(number)
            .ok()
            .filter(|_| (self.min..=self.max).contains(&number))
            .ok_or_else(|| format!("{number} is not within {} to {}", self.min, self.max))
    }
}

/// A number above 0, or 0 for no limit.
pub struct Limit<T>(Count<T>);

impl<T> Limit<T> {
    /// At most `max`, beyond which a limit has no sense.
    pub const fn new(max: u64) -> Self {
        Limit(Count::new(0, max))
    }
}

impl<T> Describe for Limit<T> {
    fn describe(&self) -> String {
        "number, 0 for no limit".to_owned()
    }
}

impl<T: TryFrom<u64> + Default + PartialEq> Kind for Limit<T> {
    type Out = Option<T>;
    fn parse(&self, text: &str) -> Result<Option<T>, String> {
        self.0.parse(text).map(|n| (n != T::default()).then_some(n))
    }
}

/// A time in seconds, fractions allowed.
pub struct Seconds {
    /// Shortest time allowed.
    pub min: u32,
    /// Longest time allowed.
    pub max: u32,
}

impl Describe for Seconds {
    fn describe(&self) -> String {
        format!("seconds, {} to {}", self.min, self.max)
    }
}

impl Kind for Seconds {
    type Out = Duration;
    fn parse(&self, text: &str) -> Result<Duration, String> {
        let seconds: f64 = text
            .parse()
            .map_err(|_| format!("\"{text}\" is not a number of seconds"))?;
        if seconds >= f64::from(self.min) && seconds <= f64::from(self.max) {
            return Ok(Duration::from_secs_f64(seconds));
        }
        Err(format!(
            "{text} is not within {} to {} seconds",
            self.min, self.max
        ))
    }
}

/// A time in seconds, or 0 for no limit.
pub struct OptionalSeconds;

impl Describe for OptionalSeconds {
    fn describe(&self) -> String {
        "seconds, 0 for no limit".to_owned()
    }
}

impl Kind for OptionalSeconds {
    type Out = Option<Duration>;
    fn parse(&self, text: &str) -> Result<Option<Duration>, String> {
        let any = Seconds {
            min: 0,
            max: 366 * 86400,
        };
        any.parse(text).map(|t| (!t.is_zero()).then_some(t))
    }
}

/// A time in seconds, or 0 for what is never to happen.
pub struct SecondsOrNever;

impl Describe for SecondsOrNever {
    fn describe(&self) -> String {
        "seconds, 0 for never".to_owned()
    }
}

impl Kind for SecondsOrNever {
    type Out = Option<Duration>;
    fn parse(&self, text: &str) -> Result<Option<Duration>, String> {
        OptionalSeconds.parse(text)
    }
}

/// A mail address, or none.
pub struct OptionalAddress;

impl Describe for OptionalAddress {
    fn describe(&self) -> String {
        "address".to_owned()
    }
    fn takes_empty(&self) -> bool {
        true
    }
}

impl Kind for OptionalAddress {
    type Out = Option<String>;
    fn parse(&self, text: &str) -> Result<Option<String>, String> {
        let bare = text.trim_start_matches('<').trim_end_matches('>');
        if bare.is_empty() {
            return Ok(None);
        }
        let address = Address::parse(&format!("<{bare}>"), Limits::default())
            .map_err(|e| format!("\"{text}\" is no mail address: {e}"))?;
        if address.host().is_empty() {
            return Err(format!("\"{text}\" has no domain"));
        }
        Ok(Some(format!("<{bare}>")))
    }
}

/// A time in milliseconds.
pub struct Milliseconds {
    /// Shortest time allowed.
    pub min: u64,
    /// Longest time allowed.
    pub max: u64,
}

impl Describe for Milliseconds {
    fn describe(&self) -> String {
        format!("milliseconds, {} to {}", self.min, self.max)
    }
}

impl Kind for Milliseconds {
    type Out = Duration;
    fn parse(&self, text: &str) -> Result<Duration, String> {
        Count::<u64>::new(self.min, self.max)
            .parse(text)
            .map(Duration::from_millis)
    }
}

/// One of several words, in any case.
pub struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T> Describe for Choice<T> {
    fn describe(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| *word).collect();
        words.join(", ")
    }
}

impl<T: Copy> Kind for Choice<T> {
    type Out = T;
    fn parse(&self, text: &str) -> Result<T, String> {
        let found = self
            .0
            .iter()
            .find(|(word, _)| text.eq_ignore_ascii_case(word));
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("\"{text}\" is none of {}", self.describe()))
    }
}

/// An IP address, or nothing.
pub struct OptionalIp;

impl Describe for OptionalIp {
    fn describe(&self) -> String {
        "IP address".to_owned()
    }
}

impl Kind for OptionalIp {
    type Out = Option<IpAddr>;
    fn parse(&self, text: &str) -> Result<Option<IpAddr>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse()
            .map(Some)
            .map_err(|_| format!("\"{text}\" is not an IP address"))
    }
}

/// A port, or 0 for none.
pub struct OptionalPort;

impl Describe for OptionalPort {
    fn describe(&self) -> String {
        "port, 0 for none".to_owned()
    }
}

impl Kind for OptionalPort {
    type Out = Option<u16>;
    fn parse(&self, text: &str) -> Result<Option<u16>, String> {
        let port: u16 = text
            .parse()
            .map_err(|_| format!("\"{text}\" is not a port"))?;
        Ok((port != 0).then_some(port))
    }
}

/// An IP address or CIDR block.
pub struct Range;

impl Describe for Range {
    fn describe(&self) -> String {
        "IP address or CIDR block".to_owned()
    }
}

impl Kind for Range {
    type Out = IpRange;
    fn parse(&self, text: &str) -> Result<IpRange, String> {
        text.parse()
    }
}

/// Endpoints, separated by commas or semicolons.
pub struct Endpoints {
    /// Port of an item that names none.
    pub default_port: u16,
}

impl Describe for Endpoints {
    fn describe(&self) -> String {
        "list of ip:port, [ipv6]:port, port or /path:mode, separated by commas".to_owned()
    }
}

impl Kind for Endpoints {
    type Out = Vec<Endpoint>;
    fn parse(&self, text: &str) -> Result<Vec<Endpoint>, String> {
        split_list(text)
            .map(|item| parse_endpoint(item, self.default_port))
            .collect()
    }
}

/// Addresses with ports, separated by commas or semicolons; no names and no paths.
pub struct Servers {
    /// Port of an item that names none.
    pub default_port: u16,
}

impl Describe for Servers {
    fn describe(&self) -> String {
        "list of ip:port, separated by commas".to_owned()
    }
}

impl Kind for Servers {
    type Out = Vec<SocketAddr>;
    fn parse(&self, text: &str) -> Result<Vec<SocketAddr>, String> {
        split_list(text)
            .map(|item| match parse_endpoint(item, self.default_port)? {
                Endpoint::Addr(ListenAddr::Tcp(addr)) => Ok(addr),
                _ => Err(format!("\"{item}\" is not an IP address and port")),
            })
            .collect()
    }
}

/// The values of `key[] = value` lines.
pub struct Many<K>(pub K);

impl<K: Describe> Describe for Many<K> {
    fn describe(&self) -> String {
        format!("list ([]) of: {}", self.0.describe())
    }
    fn is_list(&self) -> bool {
        true
    }
}

impl<K: Kind> Kind for Many<K> {
    type Out = Vec<K::Out>;
    fn parse(&self, text: &str) -> Result<Vec<K::Out>, String> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![self.0.parse(text)?])
    }
    fn read(&self, reader: &mut Reader<'_>, row: &Row) -> Option<Vec<K::Out>> {
        reader.many(&self.0, row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_refused_with_the_range() {
        let count = Count::<u16>::new(1, 100);
        assert_eq!(count.parse("100"), Ok(100));
        assert_eq!(count.parse("0").unwrap_err(), "0 is not within 1 to 100");
        for bad in ["-1", "1.5", "", "x", "99999999999999999999999"] {
            assert!(count.parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Limit::<u64>::new(9).parse("0"), Ok(None));
        assert_eq!(Limit::<u64>::new(9).parse("9"), Ok(Some(9)));
    }

    #[test]
    fn times_take_fractions_and_refuse_what_no_clock_counts() {
        let seconds = Seconds { min: 1, max: 60 };
        assert_eq!(seconds.parse("1.5"), Ok(Duration::from_millis(1500)));
        for bad in ["0.9", "61", "nan", "inf", "-5", "1m", ""] {
            assert!(seconds.parse(bad).is_err(), "{bad}");
        }
        assert_eq!(OptionalSeconds.parse("0"), Ok(None));
    }

    #[test]
    fn words_other_than_yes_and_no_count_as_no() {
        assert_eq!(Bool.parse("Enabled"), Ok(true));
        assert_eq!(Bool.parse("off"), Ok(false));
        assert!(Bool.parse("maybe").is_err());
        assert_eq!(Bool.fallback(), Some(false));
    }
}
