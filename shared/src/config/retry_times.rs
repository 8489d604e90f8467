//! Waiting times between delivery attempts, as `temp_fail_intervals` writes them (KEY-45, KEY-46).
//! Pure text work.

use std::time::Duration;

use super::row::{Describe, Kind};

/// Waiting times that a setting may spell out; more are a typing error, such as `5m*1000000`.
const MOST_TIMES: usize = 10_000;

/// Shortest waiting time.
const SHORTEST: f64 = 5.0;

/// Longest waiting time: ten years.
const LONGEST: f64 = 3650.0 * 86400.0;

/// `1m, 5m*2, 1h*3`, or `none`; not set if empty.
pub(super) struct RetryTimes;

impl Describe for RetryTimes {
    fn describe(&self) -> String {
        "list of N(s|m|h|d)[*count], separated by commas, or none".to_owned()
    }
}

impl Kind for RetryTimes {
    type Out = Option<Vec<Duration>>;
    fn parse(&self, text: &str) -> Result<Option<Vec<Duration>>, String> {
        let text: String = text
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if text.is_empty() {
            return Ok(None);
        }
        let mut times = Vec::new();
        if text == "none" {
            return Ok(Some(times));
        }
        for item in text.split(',') {
            let (span, count) = match item.split_once('*') {
                Some((span, count)) => (span, repetitions(item, count)?),
                None => (item, 1),
            };
            let time = duration(span)?;
            if times.len().saturating_add(count) > MOST_TIMES {
                return Err(format!("more than {MOST_TIMES} times"));
            }
            times.extend(std::iter::repeat_n(time, count));
        }
        if times.is_empty() {
            return Err("no times are left".to_owned());
        }
        Ok(Some(times))
    }
}

fn repetitions(item: &str, count: &str) -> Result<usize, String> {
    count
        .parse()
        .map_err(|_| format!("\"{item}\": \"{count}\" is not a number of times"))
}

fn duration(span: &str) -> Result<Duration, String> {
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0), ('d', 86400.0)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(letter, seconds)| span.strip_suffix(letter).map(|n| (n, seconds)))
        .ok_or_else(|| format!("\"{span}\" has no unit (s, m, h, d)"))?;
    let seconds = number
        .parse::<f64>()
        .map_err(|_| format!("\"{span}\" is not a time"))?
        * unit;
    if !(SHORTEST..=LONGEST).contains(&seconds) {
        return Err(format!("\"{span}\" is not between 5 seconds and 10 years"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// The times that a number of attempts stands for: 64 s, then double each time (PA-42). They stop
/// growing at four years.
pub(super) fn from_max_failures(attempts: u32) -> Vec<Duration> {
    (1..attempts)
        .map(|attempt| Duration::from_secs(1 << (attempt + 5).min(27)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Option<&[u64]>, &str>) {
        let got = RetryTimes.parse(text);
        let seconds =
            got.map(|set| set.map(|t| t.iter().map(Duration::as_secs).collect::<Vec<_>>()));
        let expected = expected
            .map(|set| set.map(<[u64]>::to_vec))
            .map_err(str::to_owned);
        assert_eq!(seconds, expected, "{text}");
    }

    #[test]
    fn times_expand_and_bad_ones_say_why() {
        // covers KEY-46
        check("", Ok(None));
        check("none", Ok(Some(&[])));
        check("NONE ", Ok(Some(&[])));
        check(
            "1m,5m*2, 1 h * 3",
            Ok(Some(&[60, 300, 300, 3600, 3600, 3600])),
        );
        check("5S,1D,0.5h", Ok(Some(&[5, 86400, 1800])));
        check("1m*0,2m", Ok(Some(&[120])));
        check("1m*0", Err("no times are left"));
        check("4s", Err("\"4s\" is not between 5 seconds and 10 years"));
        check("10", Err("\"10\" has no unit (s, m, h, d)"));
        check("m", Err("\"m\" is not a time"));
        check(
            "1m*2*3",
            Err("\"1m*2*3\": \"2*3\" is not a number of times"),
        );
        check("1m*-1", Err("\"1m*-1\": \"-1\" is not a number of times"));
        check("1m,", Err("\"\" has no unit (s, m, h, d)"));
        check(
            "infs",
            Err("\"infs\" is not between 5 seconds and 10 years"),
        );
        check("5m*1000000000", Err("more than 10000 times"));
        check("5m*18446744073709551615", Err("more than 10000 times"));
    }

    #[test]
    fn number_of_attempts_gives_doubling_times() {
        // covers KEY-45
        assert!(from_max_failures(1).is_empty());
        let times = from_max_failures(1000);
        assert_eq!(times[0].as_secs(), 64);
        assert_eq!(times[1].as_secs(), 128);
        assert_eq!(times[998].as_secs(), 1 << 27);
    }
}
