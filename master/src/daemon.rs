//! Going into the background. The only place that knows the daemonize crate.
//!
//! The process that was started stays until the daemon serves, or has failed: an init script sees
//! the true exit status, and the operator the message. See `docs/adr/0004-fork-without-exec.md`.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use daemonize::{Daemonize, Outcome};

/// Files made by the daemon are for its user and group only.
const UMASK: u32 = 0o027;

/// Most bytes of a failure that reach the starting terminal.
const LONGEST_FAILURE: u64 = 64 * 1024;

/// Which of the two processes goes on.
#[derive(Debug)]
pub enum Side {
    /// The daemon.
    Daemon(Readiness),
    /// The process that was started: how the daemon fared.
    Started(Result<(), String>),
}

/// The daemon's way to tell the starting process how it fared. Dropped without a word it counts as
/// a death at start.
#[derive(Debug)]
pub struct Readiness {
    pipe: PipeWriter,
}

impl Readiness {
    /// The server serves; the starting process ends with success.
    pub fn serving(mut self) {
        // The starting process may have been killed meanwhile; the server goes on.
        let told = self.pipe.write_all(SERVING);
        drop(told);
    }

    /// The server does not start; the starting process prints this and ends with an error.
    pub fn failed(mut self, why: &str) {
        let told = self.pipe.write_all(why.as_bytes());
        drop(told);
    }
}

/// What stands in the pipe for success; no message begins with it.
const SERVING: &[u8] = b"\x06";

/// Opens the log that a daemon writes, at its end.
pub fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(nix::libc::O_NOCTTY)
        .open(path)
}

/// Forks twice into a new session, with standard output and error on `log`, and stays in the same
/// directory so that relative paths keep their meaning.
pub fn detach(log: &File) -> io::Result<Side> {
    let (reader, writer) = io::pipe()?;
    let daemonize = Daemonize::new()
        .working_directory(std::env::current_dir()?)
        .umask(UMASK)
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    match daemonize.execute() {
        Outcome::Parent(Err(e)) => Err(io::Error::other(e.to_string())),
        Outcome::Parent(Ok(_)) => {
            drop(writer);
            Ok(Side::Started(wait(reader)))
        }
        Outcome::Child(Ok(_)) => {
            drop(reader);
            haraka_shared::log::output_changed();
            Ok(Side::Daemon(Readiness { pipe: writer }))
        }
        Outcome::Child(Err(e)) => {
            // One of the intermediate processes: it must not run what belongs to the starting one.
            Readiness { pipe: writer }.failed(&format!("cannot detach: {e}"));
            std::process::exit(1)
        }
    }
}

fn wait(reader: PipeReader) -> Result<(), String> {
    let mut said = Vec::new();
    let read = reader.take(LONGEST_FAILURE).read_to_end(&mut said);
    match read {
        Err(e) => Err(format!("lost sight of the daemon: {e}")),
        Ok(_) if said == SERVING => Ok(()),
        Ok(0) => Err("the daemon died while it started; see its log".to_owned()),
        Ok(_) => Err(String::from_utf8_lossy(&said).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(say: impl FnOnce(Readiness)) -> Result<(), String> {
        let (reader, pipe) = io::pipe().unwrap();
        say(Readiness { pipe });
        wait(reader)
    }

    #[test]
    fn the_starting_process_learns_how_the_daemon_fared() {
        assert_eq!(heard(Readiness::serving), Ok(()));
        assert_eq!(heard(|r| r.failed("no port")), Err("no port".to_owned()));
        assert!(heard(drop).unwrap_err().contains("died"));
    }
}
