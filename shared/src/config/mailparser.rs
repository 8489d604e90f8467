//! `mailparser.max_mime_depth` and `mailparser.attachment_max_buffered`: how much of a message is taken
//! apart (KEY-59). `mailparser.bufsize` is not read: nothing is buffered by it here.

use super::dir::ConfigDir;
use super::error::{ConfigError, Problems};
use crate::mime::MimeLimits;

/// The files.
pub(super) const FILES: [&str; 2] = [
    "mailparser.max_mime_depth",
    "mailparser.attachment_max_buffered",
];

/// Reads both files; without them Haraka's values count. `max_parts` comes from `connection.ini`.
pub(super) fn load(dir: &ConfigDir, problems: &mut Problems) -> Option<MimeLimits> {
    let mut limits = MimeLimits::default();
    let [depth, buffered] = FILES;
    let depth = number(dir, problems, depth, DEEPEST);
    let buffered = number(dir, problems, buffered, MOST_BUFFERED);
    limits.max_depth = depth?.unwrap_or(limits.max_depth);
    limits.max_buffered = buffered?.unwrap_or(limits.max_buffered);
    Some(limits)
}

/// 0 and no file both mean the default, as in Haraka.
fn number(
    dir: &ConfigDir,
    problems: &mut Problems,
    file: &str,
    most: usize,
) -> Option<Option<usize>> {
    let Some((line, text)) = problems.note(dir.first_item(file))? else {
        return Some(None);
    };
    match text.parse::<usize>() {
        Ok(0) => Some(None),
        Ok(number) if number <= most => Some(Some(number)),
        _ => {
            problems.errors.push(ConfigError::Value {
                at: line,
                key: file.to_owned(),
                why: format!("\"{text}\" is not a number from 0 to {most}"),
            });
            None
        }
    }
}

/// Each level costs a comparison for every line that looks like a boundary.
const DEEPEST: usize = 1000;
/// A text of that size is in memory up to three times.
const MOST_BUFFERED: usize = 1024 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::TestDir;

    // covers KEY-59
    #[test]
    fn files_of_one_number_set_the_limits() {
        let load = |files: &[(&str, &str)]| {
            let dir = TestDir::new();
            files.iter().for_each(|(name, text)| dir.write(name, text));
            let mut problems = Problems::default();
            (super::load(dir.dir(), &mut problems), problems)
        };
        let (limits, _) = load(&[]);
        assert_eq!(limits, Some(MimeLimits::default()));
        let (limits, problems) = load(&[
            ("mailparser.max_mime_depth", "7\n"),
            ("mailparser.attachment_max_buffered", "# none\n1000\n"),
        ]);
        let limits = limits.unwrap();
        assert_eq!((limits.max_depth, limits.max_buffered), (7, 1000));
        assert!(problems.errors.is_empty());
        let (limits, problems) = load(&[("mailparser.max_mime_depth", "deep")]);
        assert_eq!(limits, None);
        assert_eq!(
            problems.errors[0].to_string(),
            "mailparser.max_mime_depth:1: mailparser.max_mime_depth: \"deep\" is not a number \
             from 0 to 1000"
        );
    }
}
