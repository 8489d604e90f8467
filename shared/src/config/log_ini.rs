//! `log.ini` and the files `loglevel` and `log_timestamps` (KEY-35 to KEY-38).

use super::dir::ConfigDir;
use super::error::Problems;
use super::kinds::{Bool, Choice};
use super::reader::Reader;
use super::row::{Describe, Kind, Row, settings};
use crate::log::{Format, Level};

settings! {
    /// What the server logs, and how.
    LogIni, LOG_INI = "log.ini";
    sections {
        "main" => "",
    }
    gone {}
    rows {
        /// Log this level and everything more urgent: `emerg`, `alert`, `crit`, `error`, `warn`,
        /// `notice`, `info`, `debug`, `protocol`, `data`, or its number.
        level: Level = Row::new("main", "level", "warn").live().shipped("info").lenient(), LevelKind;
        /// Begin each line with the time.
        timestamps: bool = Row::new("main", "timestamps", "true").live().shipped("false"), Bool;
        /// Form of the lines.
        format: Format = Row::new("main", "format", "default").live().lenient(), Choice(&[
            ("default", Format::Default),
            ("logfmt", Format::Logfmt),
            ("json", Format::Json),
        ]);
    }
    derived {}
}

impl LogIni {
    /// Reads the files: `loglevel` goes before `level`, and times are logged if either says so.
    pub fn load(dir: &ConfigDir, problems: &mut Problems) -> Option<LogIni> {
        let mut this = LogIni::read(&mut Reader::open(dir, &LOG_INI, problems)?)?;
        let level = problems.note(dir.first_item("loglevel"))?;
        if let Some((at, text)) = level {
            match LevelKind.parse(&text) {
                Ok(level) => this.level = level,
                Err(why) => {
                    // As for Haraka, a bad file does not leave the level of log.ini.
                    this.level = Level::Warn;
                    problems
                        .warnings
                        .push(at.warn(format!("{why}; warn applies")));
                }
            }
        }
        let timestamps = problems.note(dir.first_item("log_timestamps"))?;
        if let Some((at, text)) = timestamps {
            match Bool.parse(&text) {
                Ok(on) => this.timestamps |= on,
                Err(why) => {
                    problems.warnings.push(at.warn(why));
                }
            }
        }
        Some(this)
    }
}

struct LevelKind;

impl Describe for LevelKind {
    fn describe(&self) -> String {
        "level, by name or number".to_owned()
    }
}

impl Kind for LevelKind {
    type Out = Level;
    fn parse(&self, text: &str) -> Result<Level, String> {
        Level::parse(text).ok_or_else(|| format!("\"{text}\" is not a level"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::TestDir;

    fn load(files: &[(&str, &str)]) -> (LogIni, Vec<String>) {
        let t = TestDir::new();
        for (name, text) in files {
            t.write(name, text);
        }
        let mut problems = Problems::default();
        let ini = LogIni::load(t.dir(), &mut problems).unwrap();
        let told = problems.warnings.iter().map(ToString::to_string).collect();
        (ini, told)
    }

    #[test]
    fn without_files_warnings_are_logged_with_the_time() {
        // covers KEY-35 KEY-36
        let (ini, told) = load(&[]);
        assert_eq!((ini.level, ini.timestamps), (Level::Warn, true));
        assert_eq!(ini.format, Format::Default);
        assert!(told.is_empty());
    }

    #[test]
    fn levels_are_names_or_numbers_in_any_case() {
        // covers KEY-35 KEY-37
        let (ini, _) = load(&[("log.ini", "level=LogNotice\nformat=JSON\ntimestamps=no")]);
        assert_eq!((ini.level, ini.format), (Level::Notice, Format::Json));
        assert!(!ini.timestamps);
        assert_eq!(load(&[("log.ini", "level=9")]).0.level, Level::Data);
        let (ini, told) = load(&[("log.ini", "\nlevel=loud")]);
        assert_eq!(ini.level, Level::Warn);
        assert_eq!(
            told,
            ["log.ini:2: level: \"loud\" is not a level; warn applies"]
        );
    }

    #[test]
    fn single_value_files_come_after_log_ini() {
        // covers KEY-38
        let ini = "level=debug\ntimestamps=false";
        let (got, _) = load(&[
            ("log.ini", ini),
            ("loglevel", "ERROR\n"),
            ("log_timestamps", "1"),
        ]);
        assert_eq!((got.level, got.timestamps), (Level::Error, true));
        let (got, _) = load(&[("log.ini", ini), ("log_timestamps", "false")]);
        assert_eq!((got.level, got.timestamps), (Level::Debug, false));
        let (got, told) = load(&[("log.ini", ini), ("loglevel", "loud")]);
        assert_eq!(got.level, Level::Warn);
        assert_eq!(told, ["loglevel:1: \"loud\" is not a level; warn applies"]);
    }
}
