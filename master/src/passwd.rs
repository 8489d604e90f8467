//! `haraka passwd USER`: sets a user's password in `config/auth_flat_file.ini`, as a hash.
//!
//! The file is replaced at once and never half written. The password is asked for on the terminal,
//! or read from standard input where that is none; it is never an argument, which others could see.

mod users;

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use haraka_plugins::auth::flat_file::FILE;
use haraka_plugins::auth::mechanism::Mechanism;
use haraka_plugins::auth::password_hash::{HashError, PasswordHash};
use haraka_plugins::auth::secret::Secret;
use haraka_shared::config::Ini;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use thiserror::Error;

use users::{NEW_FILE, UserError, with_user};

/// Why no password was set.
#[derive(Debug, Error)]
pub enum PasswdError {
    /// The two do not agree.
    #[error("the passwords differ; nothing was changed")]
    Differ,
    /// There is none.
    #[error("no password was given; nothing was changed")]
    Empty,
    /// The password cannot be read.
    #[error("the password cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The hash cannot be made.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The entry cannot be written.
    #[error("{}: {why}", path.display())]
    User {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: UserError,
    },
    /// The file cannot be changed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What was done.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// The file that was changed.
    pub path: PathBuf,
    /// AUTH with the new password does not work yet: `core.methods` has neither PLAIN nor LOGIN.
    pub methods_missing: bool,
}

/// Asks for the password of this user and writes it into the installation.
pub fn passwd(install_dir: &Path, user: &str) -> Result<Done, PasswdError> {
    // Before somebody types a password in vain.
    let path = install_dir.join("config").join(FILE);
    let (text, _) = read(&path)?;
    let fits = |stored: &str| {
        with_user(&text, user, stored).map_err(|why| PasswdError::User {
            path: path.clone(),
            why,
        })
    };
    fits("x")?;
    let password = ask(user)?;
    set(install_dir, user, &PasswordHash::of(&password)?)
}

fn set(install_dir: &Path, user: &str, hash: &PasswordHash) -> Result<Done, PasswdError> {
    let path = install_dir.join("config").join(FILE);
    let (text, path) = read(&path)?;
    let changed = with_user(&text, user, hash.expose());
    let changed = changed.map_err(|why| PasswdError::User {
        path: path.clone(),
        why,
    })?;
    replace(&path, &changed).map_err(|source| PasswdError::File {
        path: path.clone(),
        source,
    })?;
    let ini = Ini::parse(FILE, changed.as_bytes());
    let methods = ini.text("core", "methods").unwrap_or_default();
    let mut methods = methods.split([',', ' ', '\t']).filter_map(Mechanism::parse);
    Ok(Done {
        path,
        methods_missing: methods.all(|m| m == Mechanism::CramMd5),
    })
}

/// The text of the file, or of a new one, and where it really is.
fn read(path: &Path) -> Result<(String, PathBuf), PasswdError> {
    let failed = |source| PasswdError::File {
        path: path.to_owned(),
        source,
    };
    match fs::read_to_string(path) {
        // A link stays one.
        Ok(text) => Ok((text, path.canonicalize().map_err(failed)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok((NEW_FILE.to_owned(), path.to_owned())),
        Err(e) => Err(failed(e)),
    }
}

/// Puts a new file in the place of the old one, with its mode and owner; a file that was not there
/// is for the owner of the directory alone.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let (like, mode) = match fs::metadata(path) {
        Ok(old) => {
            let mode = old.mode() & 0o777;
            (old, mode)
        }
        Err(_) => (fs::metadata(dir)?, 0o600),
    };
    // Beginning with a dot, so that nobody takes it for configuration.
    let new = dir.join(format!(".{FILE}.new"));
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(
                e.kind(),
                format!(
                    "{} is there: another one is at it, or has left it",
                    new.display()
                ),
            ),
            _ => e,
        })?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| same_owner(&file, &like))
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, path));
    match written {
        Ok(()) => File::open(dir)?.sync_all(),
        Err(e) => {
            // What went wrong is what counts.
            drop(fs::remove_file(&new));
            Err(e)
        }
    }
}

/// The server's user must be able to read what root writes.
fn same_owner(file: &File, like: &fs::Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(like.uid()), Some(like.gid()))
}

/// Twice on a terminal, without showing it; else one line.
fn ask(user: &str) -> Result<Secret, PasswdError> {
    let stdin = io::stdin();
    let password = if stdin.is_terminal() {
        let first = hidden(&format!("New password of {user}: ")).map_err(PasswdError::Read)?;
        let again = hidden("Once more: ").map_err(PasswdError::Read)?;
        if !first.matches(&again) {
            return Err(PasswdError::Differ);
        }
        first
    } else {
        line().map_err(PasswdError::Read)?
    };
    if password.is_empty() {
        return Err(PasswdError::Empty);
    }
    Ok(password)
}

fn line() -> io::Result<Secret> {
    let mut line = Vec::with_capacity(LONGEST);
    let stdin = io::stdin();
    io::Read::take(stdin.lock(), LONGEST as u64).read_until(b'\n', &mut line)?;
    while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(Secret::new(line))
}

/// Octets of a password that are read.
const LONGEST: usize = 4096;

/// A line that is not shown while it is typed. Signals wait until the terminal is as it was.
fn hidden(prompt: &str) -> io::Result<Secret> {
    let mut terminal = io::stderr();
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    let signals = SigSet::from_iter([
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGTSTP,
    ]);
    signals.thread_block()?;
    let stdin = io::stdin();
    let shown = tcgetattr(&stdin)?;
    let mut silent = shown.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    silent.local_flags.insert(LocalFlags::ECHONL);
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &silent)?;
    let line = line();
    tcsetattr(&stdin, SetArg::TCSAFLUSH, &shown)?;
    signals.thread_unblock()?;
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let name = format!("haraka-passwd-{}-{name}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            fs::create_dir_all(dir.join("config")).unwrap();
            Dir(dir)
        }

        fn file(&self) -> PathBuf {
            self.0.join("config").join(FILE)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn hash() -> PasswordHash {
        PasswordHash::of(&Secret::from("secret")).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_for_its_owner_and_one_that_is_there_keeps_its_mode() {
        let dir = Dir::new("mode");
        let done = set(&dir.0, "u@here.test", &hash()).unwrap();
        assert!(!done.methods_missing);
        assert_eq!(mode(&dir.file()), 0o600);
        fs::set_permissions(dir.file(), Permissions::from_mode(0o640)).unwrap();
        set(&dir.0, "v", &hash()).unwrap();
        assert_eq!(mode(&dir.file()), 0o640);
        let text = fs::read_to_string(dir.file()).unwrap();
        assert!(text.contains("\nu@here.test=$argon2id$") && text.contains("\nv=$argon2id$"));
        assert_eq!(fs::read_dir(dir.0.join("config")).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_one() {
        let dir = Dir::new("link");
        fs::write(dir.0.join("real"), "[core]\nmethods=CRAM-MD5\n").unwrap();
        std::os::unix::fs::symlink("../real", dir.file()).unwrap();
        let done = set(&dir.0, "u", &hash()).unwrap();
        assert!(done.methods_missing, "CRAM-MD5 is no use with a hash");
        assert!(fs::symlink_metadata(dir.file()).unwrap().is_symlink());
        let text = fs::read_to_string(dir.0.join("real")).unwrap();
        assert!(text.contains("u=$argon2id$"));
    }

    #[test]
    fn two_at_once_do_not_overwrite_each_other() {
        let dir = Dir::new("two");
        let other = dir.0.join("config").join(format!(".{FILE}.new"));
        fs::write(&other, "").unwrap();
        let error = set(&dir.0, "u", &hash()).unwrap_err().to_string();
        assert!(error.contains("another one is at it"), "{error}");
        assert!(other.exists() && !dir.file().exists());
    }
}
