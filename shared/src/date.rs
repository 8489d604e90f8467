//! Dates as mail and logs write them.
//!
//! Owns the text forms only: the caller brings the time. One thread writes many dates within one
//! second, so the last second is remembered.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

use chrono::{DateTime, Datelike, Local, Offset, TimeZone, Timelike, Utc};

/// The text of a date, without an allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DateText {
    octets: [u8; CAPACITY],
    length: u8,
}

/// The present, in milliseconds since 1970.
#[must_use]
pub fn epoch_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The present as [`rfc2822`] writes it.
#[must_use]
pub fn rfc2822_now() -> DateText {
    rfc2822(i64::try_from(epoch_ms() / 1000).unwrap_or(i64::MAX))
}

/// Today as `20261121`, in local time, for names of directories.
#[must_use]
pub fn local_day() -> String {
    Local::now().format("%Y%m%d").to_string()
}

/// The present as [`iso8601`] writes it.
#[must_use]
pub fn iso_now() -> DateText {
    iso8601(i64::try_from(epoch_ms()).unwrap_or(i64::MAX))
}

/// `Sat, 21 Nov 2026 00:06:21 +0000` in local time, for Received and Date fields (TXN-03, RFC 5322
/// §3.3). `seconds` since 1970; years beyond 0–9999 are shown as their nearest.
#[must_use]
pub fn rfc2822(seconds: i64) -> DateText {
    thread_local! {
        static LAST: Cell<Option<(i64, DateText)>> = const { Cell::new(None) };
    }
    LAST.with(|last| match last.get() {
        Some((of, text)) if of == seconds => text,
        _ => {
            let text = rfc2822_of(&Local.from_utc_datetime(&utc(seconds, 0).naive_utc()));
            last.set(Some((seconds, text)));
            text
        }
    })
}

/// `2026-11-21T00:06:21.042Z`, as log lines and JavaScript write it. `milliseconds` since 1970.
#[must_use]
pub fn iso8601(milliseconds: i64) -> DateText {
    let millisecond = u32::try_from(milliseconds.rem_euclid(1000)).unwrap_or_default();
    let date = utc(milliseconds.div_euclid(1000), millisecond);
    let mut text = DateText::empty();
    text.number(date.year().unsigned_abs(), 4);
    text.push(b"-");
    text.number(date.month(), 2);
    text.push(b"-");
    text.number(date.day(), 2);
    text.push(b"T");
    text.time(&date);
    text.push(b".");
    text.number(millisecond, 3);
    text.push(b"Z");
    text
}

/// `Nov 21 00:06:21 2026 GMT`, as OpenSSL and Node write the dates of certificates. `seconds` since
/// 1970.
#[must_use]
pub fn openssl(seconds: i64) -> String {
    utc(seconds, 0).format("%b %e %H:%M:%S %Y GMT").to_string()
}

fn rfc2822_of<Z: TimeZone>(date: &DateTime<Z>) -> DateText {
    let name = |names: &'static [u8], index: u32| {
        let start = index as usize * 3;
        names.get(start..start + 3).unwrap_or_default()
    };
    let mut text = DateText::empty();
    text.push(name(
        b"MonTueWedThuFriSatSun",
        date.weekday().num_days_from_monday(),
    ));
    text.push(b", ");
    text.number(date.day(), 2);
    text.push(b" ");
    text.push(name(b"JanFebMarAprMayJunJulAugSepOctNovDec", date.month0()));
    text.push(b" ");
    text.number(date.year().unsigned_abs(), 4);
    text.push(b" ");
    text.time(date);
    let offset = date.offset().fix().local_minus_utc();
    text.push(if offset < 0 { b" -" } else { b" +" });
    let minutes = offset.unsigned_abs() / 60;
    text.number(minutes / 60 * 100 + minutes % 60, 4);
    text
}

fn utc(seconds: i64, millisecond: u32) -> DateTime<Utc> {
    let seconds = seconds.clamp(FIRST_SECOND, LAST_SECOND);
    DateTime::from_timestamp(seconds, millisecond * 1_000_000).unwrap_or_default()
}

impl DateText {
    const fn empty() -> Self {
        Self {
            octets: [0; CAPACITY],
            length: 0,
        }
    }

    fn push(&mut self, piece: &[u8]) {
        let start = usize::from(self.length);
        if let Some(target) = self.octets.get_mut(start..start + piece.len()) {
            target.copy_from_slice(piece);
            self.length = u8::try_from(start + piece.len()).unwrap_or(self.length);
        }
    }

    fn number(&mut self, number: u32, digits: u32) {
        for place in (0..digits).rev() {
            let digit = number / 10u32.pow(place) % 10;
            self.push(&[b'0' + u8::try_from(digit).unwrap_or_default()]);
        }
    }

    fn time(&mut self, time: &impl Timelike) {
        self.number(time.hour(), 2);
        self.push(b":");
        self.number(time.minute(), 2);
        self.push(b":");
        self.number(time.second(), 2);
    }
}

impl Deref for DateText {
    type Target = str;

    fn deref(&self) -> &str {
        let octets = self
            .octets
            .get(..usize::from(self.length))
            .unwrap_or_default();
        std::str::from_utf8(octets).unwrap_or_default()
    }
}

impl fmt::Display for DateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for DateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// `Sat, 21 Nov 2026 00:06:21 +0000` has 31 octets.
const CAPACITY: usize = 31;
/// 0000-01-02 and 9999-12-30, so that no time zone leaves the four digits of the year.
const FIRST_SECOND: i64 = -62_167_132_800;
const LAST_SECOND: i64 = 253_402_214_399;

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;

    fn at(seconds: i64, offset: i32) -> String {
        let zone = FixedOffset::east_opt(offset).unwrap();
        rfc2822_of(&zone.from_utc_datetime(&utc(seconds, 0).naive_utc())).to_string()
    }

    // covers TXN-03
    #[test]
    fn mail_dates_in_any_zone() {
        for (seconds, offset, expected) in [
            (1_795_219_581, 0, "Sat, 21 Nov 2026 00:06:21 +0000"),
            (1_795_219_581, -5 * 3600, "Fri, 20 Nov 2026 19:06:21 -0500"),
            (
                1_795_219_581,
                5 * 3600 + 45 * 60,
                "Sat, 21 Nov 2026 05:51:21 +0545",
            ),
            (
                1_795_219_581,
                -(9 * 3600 + 30 * 60),
                "Fri, 20 Nov 2026 14:36:21 -0930",
            ),
            (1_709_164_800, 0, "Thu, 29 Feb 2024 00:00:00 +0000"),
            (0, 0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (-1, 0, "Wed, 31 Dec 1969 23:59:59 +0000"),
            (i64::MAX, 14 * 3600, "Fri, 31 Dec 9999 13:59:59 +1400"),
            (i64::MIN, -12 * 3600, "Sat, 01 Jan 0000 12:00:00 -1200"),
        ] {
            assert_eq!(at(seconds, offset), expected);
        }
    }

    #[test]
    fn local_dates_agree_with_chrono_and_do_not_stick() {
        for seconds in [
            1_795_219_581,
            1_795_219_581,
            1_795_219_582,
            1_784_000_000,
            1_795_219_581,
        ] {
            let expected = Local.timestamp_opt(seconds, 0).unwrap();
            let expected = expected.format("%a, %d %b %Y %H:%M:%S %z").to_string();
            assert_eq!(&*rfc2822(seconds), expected);
        }
    }

    #[test]
    fn iso_dates_are_those_of_javascript() {
        for (milliseconds, expected) in [
            (1_795_219_581_042, "2026-11-21T00:06:21.042Z"),
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        ] {
            assert_eq!(&*iso8601(milliseconds), expected);
        }
        assert_eq!(iso8601(i64::MAX).len(), 24);
        assert_eq!(iso8601(i64::MIN).len(), 24);
    }
}
