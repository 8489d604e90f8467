//! `haraka -i DIR`: a directory that a server can be started in (CLI-15).
//!
//! The files come from `config/` of the source tree and are part of the program.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why the directory could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct InstallError {
    path: PathBuf,
    cause: io::Error,
}

impl InstallError {
    pub(crate) fn new(path: &Path, cause: io::Error) -> InstallError {
        let path = path.to_owned();
        InstallError { path, cause }
    }
}

/// Makes the directory and its files, and prints each new one. Gives the files that were there and
/// are kept; with `force` they are replaced.
pub fn install(dir: &Path, force: bool) -> Result<Vec<PathBuf>, InstallError> {
    for (name, mode) in [
        ("", 0o755),
        ("plugins", 0o755),
        ("docs", 0o755),
        ("config", 0o755),
        ("queue", 0o700),
    ] {
        make_dir(&dir.join(name), mode)?;
    }
    let hostname = format!("{}\n", hostname());
    let key = random_hex().map_err(|cause| InstallError {
        path: PathBuf::from("/dev/urandom"),
        cause,
    })?;
    let files = [
        ("README", README.to_owned(), 0o644),
        ("package.json", PACKAGE_JSON.to_owned(), 0o644),
        ("config/internalcmd_key", key, 0o600),
        ("config/me", hostname.clone(), 0o644),
        ("config/host_list", hostname, 0o644),
        (
            "config/connection.ini",
            include_str!("../../config/connection.ini").to_owned(),
            0o644,
        ),
        (
            "config/smtp.ini",
            include_str!("../../config/smtp.ini").to_owned(),
            0o644,
        ),
        (
            "config/log.ini",
            include_str!("../../config/log.ini").to_owned(),
            0o644,
        ),
        (
            "config/plugins",
            include_str!("../../config/plugins").to_owned(),
            0o644,
        ),
    ];
    let mut kept = Vec::new();
    for (name, text, mode) in files {
        let path = dir.join(name);
        match write_file(&path, &text, mode, force) {
            Ok(()) => println!("create: {}", path.display()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => kept.push(path),
            Err(cause) => return Err(InstallError { path, cause }),
        }
    }
    Ok(kept)
}

fn make_dir(path: &Path, mode: u32) -> Result<(), InstallError> {
    let made = DirBuilder::new().mode(mode).recursive(true).create(path);
    made.map_err(|cause| InstallError {
        path: path.to_owned(),
        cause,
    })
}

/// A file that is replaced is removed first: its mode is not kept and a link is not followed.
pub(crate) fn write_file(path: &Path, text: &str, mode: u32, force: bool) -> io::Result<()> {
    if force {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?
        .write_all(text.as_bytes())
}

fn hostname() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// 32 random bytes as 64 digits.
fn random_hex() -> io::Result<String> {
    let mut bytes = [0u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

const README: &str = "\
This directory belongs to a Haraka mail server.

    config/     settings; begin with smtp.ini, plugins and host_list
    plugins/    your own plugins, in JavaScript: NAME.js
    docs/       your own documents, shown by `haraka -c DIR -h NAME`
    queue/      mail that waits to be delivered; leave it to the server

    haraka -c DIR               serve
    haraka -c DIR -o            which plugins run, in which order
    haraka -c DIR --qlist       what waits to be delivered
    haraka -c DIR --qunstick    try to deliver it now
    haraka -c DIR --graceful    load changed settings without losing a connection
";

const PACKAGE_JSON: &str = r#"{
  "name": "haraka_local",
  "description": "An SMTP Server",
  "version": "0.0.1",
  "dependencies": {},
  "repository": "",
  "license": "MIT"
}
"#;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use haraka_shared::config::{Config, ConfigDir};

    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let path =
                std::env::temp_dir().join(format!("haraka-install-{}-{name}", std::process::id()));
            Dir(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    // covers CLI-15
    #[test]
    fn a_new_directory_can_be_served_from() {
        let dir = Dir::new("new");
        assert!(install(&dir.0, false).unwrap().is_empty());
        let (config, warnings) = Config::load(&ConfigDir::open(&dir.0).unwrap()).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert!(!config.plugins.is_empty());
        assert_eq!(config.me, hostname());
        let key = dir.0.join("config/internalcmd_key");
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&key).unwrap();
        assert!(text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(
            dir.0.join("queue").is_dir()
                && dir.0.join("plugins").is_dir()
                && dir.0.join("docs").is_dir()
        );
    }

    // covers CLI-15
    #[test]
    fn files_that_are_there_are_kept_unless_forced() {
        let dir = Dir::new("kept");
        std::fs::create_dir_all(dir.0.join("config")).unwrap();
        let me = dir.0.join("config/me");
        std::fs::write(&me, "mail.example.com\n").unwrap();
        assert_eq!(install(&dir.0, false).unwrap(), std::slice::from_ref(&me));
        assert_eq!(std::fs::read_to_string(&me).unwrap(), "mail.example.com\n");
        assert!(install(&dir.0, true).unwrap().is_empty());
        assert_ne!(std::fs::read_to_string(&me).unwrap(), "mail.example.com\n");
    }
}
