//! The configuration directory: finding, reading and decoding its files.
//!
//! One reader per file type, all over [`ConfigDir::bytes`]; whatever else reads configuration
//! (plugins, script bindings) goes through here, so that path safety, size limit and messages are
//! the same for all. It interprets no setting; the files with declared settings do.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::error::{ConfigError, MAX_FILE};
use super::flat;
use super::ini::Ini;

/// Seconds that a plugin may take for one hook when nothing else is configured (CFS-36).
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// `config/` of an install directory.
#[derive(Clone, Debug)]
pub struct ConfigDir {
    install: PathBuf,
    root: PathBuf,
}

impl ConfigDir {
    /// The directory `config` below an install directory (CFS-01). Fails if it is not there.
    pub fn open(install_dir: &Path) -> Result<ConfigDir, ConfigError> {
        let root = install_dir.join("config");
        let unreadable = |source| ConfigError::Read {
            file: root.display().to_string(),
            source,
        };
        if !std::fs::metadata(&root).map_err(unreadable)?.is_dir() {
            return Err(unreadable(io::ErrorKind::NotADirectory.into()));
        }
        Ok(ConfigDir {
            install: install_dir.to_owned(),
            root,
        })
    }

    /// The install directory, as it was given.
    pub fn install_dir(&self) -> &Path {
        &self.install
    }

    /// Where a file is. An absolute name is itself; a relative one must stay inside (CFS-16).
    pub fn path(&self, name: &str) -> Result<PathBuf, ConfigError> {
        let wanted = Path::new(name);
        if wanted.is_absolute() {
            return Ok(wanted.to_owned());
        }
        let mut inside = PathBuf::new();
        for part in wanted.components() {
            match part {
                Component::Normal(p) => inside.push(p),
                Component::ParentDir if inside.pop() => {}
                Component::CurDir => {}
                _ => {
                    return Err(ConfigError::Escapes {
                        file: name.to_owned(),
                    });
                }
            }
        }
        Ok(self.root.join(inside))
    }

    /// Whether there is a file of that name. One that cannot be looked at counts as there, so that
    /// reading it tells why.
    pub fn exists(&self, name: &str) -> bool {
        let Ok(path) = self.path(name) else {
            return false;
        };
        !matches!(std::fs::metadata(path), Err(e) if e.kind() == io::ErrorKind::NotFound)
    }

    /// The bytes of a file; `None` if there is none. At most [`MAX_FILE`] bytes; directories,
    /// sockets and pipes are errors, as reading a pipe might never end.
    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, ConfigError> {
        let path = self.path(name)?;
        match read(&path) {
            Ok(Content::Bytes(bytes)) => Ok(Some(bytes)),
            Ok(Content::Missing) => Ok(None),
            Ok(Content::Other(what)) => Err(ConfigError::NotAFile {
                file: name.to_owned(),
                what,
            }),
            Ok(Content::TooLarge) => Err(ConfigError::TooLarge {
                file: name.to_owned(),
            }),
            Err(source) => Err(ConfigError::Read {
                file: name.to_owned(),
                source,
            }),
        }
    }

    /// An ini file; a missing one is empty (CFS-12).
    pub fn ini(&self, name: &str) -> Result<Ini, ConfigError> {
        Ok(match self.bytes(name)? {
            Some(bytes) => Ini::parse(name, &bytes),
            None => Ini::empty(name),
        })
    }

    /// The first line that is neither blank nor a comment (CFS-26).
    pub fn value(&self, name: &str) -> Result<Option<String>, ConfigError> {
        Ok(self.first_item(name)?.map(|(_, text)| text))
    }

    /// As [`ConfigDir::value`], with the number of the line.
    pub fn first_item(&self, name: &str) -> Result<Option<(u32, String)>, ConfigError> {
        Ok(self.bytes(name)?.and_then(|bytes| {
            flat::items(&flat::decode(&bytes))
                .next()
                .map(|(line, text)| (line, text.to_owned()))
        }))
    }

    /// Trimmed lines without blanks and comments (CFS-27); empty if there is no file.
    pub fn list(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        Ok(self
            .items(name)?
            .into_iter()
            .map(|(_, text)| text)
            .collect())
    }

    /// As [`ConfigDir::list`], each with the number of its line.
    pub fn items(&self, name: &str) -> Result<Vec<(u32, String)>, ConfigError> {
        Ok(self.bytes(name)?.map_or_else(Vec::new, |bytes| {
            flat::items(&flat::decode(&bytes))
                .map(|(line, text)| (line, text.to_owned()))
                .collect()
        }))
    }

    /// All lines as they stand, without their ends (CFS-28); empty if there is no file.
    pub fn data(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        Ok(self.bytes(name)?.map_or_else(Vec::new, |bytes| {
            flat::lines(&flat::decode(&bytes))
                .map(str::to_owned)
                .collect()
        }))
    }

    /// How long a plugin may take for one hook: `<plugin>.timeout`, else `plugin_timeout`, else
    /// 30 s; `None` for no limit, written as 0 (CFS-36). A file that holds no number is passed
    /// over, as Haraka does; [`super::Config::load`] warns of it.
    pub fn plugin_timeout(&self, plugin: &str) -> Result<Option<Duration>, ConfigError> {
        for name in [&*format!("{plugin}.timeout"), "plugin_timeout"] {
            let limit = self.value(name)?.and_then(|text| seconds(&text));
            if let Some(limit) = limit {
                return Ok((!limit.is_zero()).then_some(limit));
            }
        }
        Ok(Some(PLUGIN_TIMEOUT))
    }
}

/// Seconds from the number that a text starts with, so `30s` is 30; `None` if there is none or it
/// is negative. A time beyond what the clock can count is no limit.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text.get(..end)?.parse().ok()?;
    Some(Duration::try_from_secs_f64(number).unwrap_or(Duration::ZERO))
}

enum Content {
    Bytes(Vec<u8>),
    Missing,
    TooLarge,
    Other(&'static str),
}

fn read(path: &Path) -> io::Result<Content> {
    // The type is asked before opening: opening a pipe would wait for its writer.
    let meta = match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Content::Missing),
        other => other?,
    };
    let kind = meta.file_type();
    if kind.is_dir() {
        return Ok(Content::Other("a directory"));
    }
    if kind.is_fifo() {
        return Ok(Content::Other("a pipe"));
    }
    if kind.is_socket() {
        return Ok(Content::Other("a socket"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)?;
    Ok(if bytes.len() as u64 > MAX_FILE {
        Content::TooLarge
    } else {
        Content::Bytes(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::TestDir;

    #[test]
    fn relative_name_that_leaves_the_directory_is_refused() {
        // covers CFS-16
        let t = TestDir::new();
        for name in ["../x", "a/../../x", "..", "./../x"] {
            let e = t.dir().bytes(name).unwrap_err();
            assert!(matches!(e, ConfigError::Escapes { .. }), "{name}: {e}");
        }
        t.write("sub/x", "1");
        assert_eq!(
            t.dir().value("sub/../sub/./x").unwrap().as_deref(),
            Some("1")
        );
        let absolute = t.dir().path("sub/x").unwrap();
        let name = absolute.to_str().unwrap();
        assert_eq!(t.dir().value(name).unwrap().as_deref(), Some("1"));
    }

    #[test]
    fn missing_files_give_empty_results() {
        // covers CFS-12
        let t = TestDir::new();
        assert_eq!(t.dir().value("x").unwrap(), None);
        assert!(t.dir().list("x").unwrap().is_empty());
        assert!(t.dir().data("x").unwrap().is_empty());
        assert_eq!(t.dir().ini("x.ini").unwrap().sections().count(), 0);
        assert!(!t.dir().exists("x"));
    }

    #[test]
    fn value_is_the_first_line_that_says_something() {
        // covers CFS-26
        let t = TestDir::new();
        t.write("v", "# c\n\n  10 # kept \nsecond\n");
        assert_eq!(t.dir().value("v").unwrap().as_deref(), Some("10 # kept"));
        t.write("v", "; only a comment\n");
        assert_eq!(t.dir().value("v").unwrap(), None);
    }

    #[test]
    fn data_keeps_blank_and_comment_lines() {
        // covers CFS-28
        let t = TestDir::new();
        t.write("d", "a\r\n\r\n# b \nc");
        assert_eq!(t.dir().data("d").unwrap(), ["a", "", "# b ", "c"]);
    }

    #[test]
    fn what_is_not_a_file_is_named_in_the_error() {
        let t = TestDir::new();
        std::fs::create_dir(t.dir().path("me").unwrap()).unwrap();
        let e = t.dir().value("me").unwrap_err().to_string();
        assert_eq!(e, "me: is a directory, not a file");
        nix::unistd::mkfifo(
            &t.dir().path("pipe").unwrap(),
            nix::sys::stat::Mode::S_IRUSR,
        )
        .unwrap();
        let e = t.dir().ini("pipe").unwrap_err().to_string();
        assert_eq!(e, "pipe: is a pipe, not a file");
    }

    #[test]
    fn file_over_the_limit_is_refused() {
        let t = TestDir::new();
        let file = File::create(t.dir().path("big").unwrap()).unwrap();
        file.set_len(MAX_FILE).unwrap();
        assert!(t.dir().bytes("big").is_ok());
        file.set_len(MAX_FILE + 1).unwrap();
        let e = t.dir().bytes("big").unwrap_err().to_string();
        assert_eq!(e, "big: larger than 16 MiB");
    }

    // covers CFS-01
    #[test]
    fn install_directory_without_config_is_an_error() {
        let t = TestDir::new();
        let below = t.dir().path("").unwrap();
        assert!(ConfigDir::open(&below).is_err());
    }

    #[test]
    fn plugin_timeout_prefers_the_plugins_own_file() {
        // covers CFS-36
        let t = TestDir::new();
        let limit = |name: &str| t.dir().plugin_timeout(name).unwrap();
        assert_eq!(limit("a"), Some(Duration::from_secs(30)));
        t.write("plugin_timeout", "2.5\n");
        assert_eq!(limit("a"), Some(Duration::from_millis(2500)));
        t.write("queue/smtp_forward.timeout", "300s");
        assert_eq!(limit("queue/smtp_forward"), Some(Duration::from_secs(300)));
        t.write("a.timeout", "0");
        assert_eq!(limit("a"), None);
        t.write("a.timeout", "soon");
        assert_eq!(limit("a"), Some(Duration::from_millis(2500)));
    }
}
