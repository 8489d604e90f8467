//! The pid file of a daemon, locked for as long as the server lives.
//!
//! The lock tells whether the server runs, not the file: a file left behind by a crash does not
//! stop the next start (PB-44). The lock belongs to the open file, so it survives the forks of
//! daemonizing and ends with the master; workers close their copy.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The locked file. Dropping it in the process that wrote its number removes it.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
    /// The process that wrote its number.
    owner: Option<u32>,
}

/// Why the pid file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// Another server holds it.
    #[error("{}: held by a running server (pid {pid})", path.display())]
    Held {
        /// The file.
        path: PathBuf,
        /// What the file says, or `unknown`.
        pid: String,
    },
    /// The file cannot be opened, locked or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl PidFile {
    /// Opens and locks the file, without writing it.
    pub fn lock(path: &Path) -> Result<PidFile, PidFileError> {
        let failed = |cause| PidFileError::Io {
            path: path.to_owned(),
            cause,
        };
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    // Only for the message.
                    let read = (&mut file).take(32).read_to_string(&mut text);
                    let pid = read.ok().map(|_| text.trim()).filter(|t| !t.is_empty());
                    return Err(PidFileError::Held {
                        path: path.to_owned(),
                        pid: pid.unwrap_or("unknown").to_owned(),
                    });
                }
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
            // Its last holder may have removed it between our opening and locking.
            let held = file.metadata().map_err(failed)?;
            let there = std::fs::metadata(path).ok();
            if there.is_some_and(|t| (t.dev(), t.ino()) == (held.dev(), held.ino())) {
                return Ok(PidFile {
                    path: path.to_owned(),
                    file,
                    owner: None,
                });
            }
        }
    }

    /// Writes the number of this process.
    pub fn write(&mut self) -> Result<(), PidFileError> {
        let pid = std::process::id();
        self.owner = Some(pid);
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| writeln!(self.file, "{pid}"));
        written.map_err(|cause| PidFileError::Io {
            path: self.path.clone(),
            cause,
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.owner == Some(std::process::id()) {
            // Left behind where the directory is no longer ours to write; the lock ends all the same.
            let removed = std::fs::remove_file(&self.path);
            drop(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("haraka-pid-{}-{name}", std::process::id()))
    }

    // covers PRC-09, PB-44
    #[test]
    fn a_file_left_behind_does_not_block_but_a_held_one_does() {
        let path = path("held");
        std::fs::write(&path, "999999999\n").unwrap();
        let mut first = PidFile::lock(&path).unwrap();
        first.write().unwrap();
        let e = PidFile::lock(&path).unwrap_err();
        assert_eq!(
            e.to_string(),
            format!(
                "{}: held by a running server (pid {})",
                path.display(),
                std::process::id()
            )
        );
        drop(first);
        assert!(!path.exists(), "removed by its owner");
    }

    #[test]
    fn a_process_that_did_not_write_it_leaves_it_alone() {
        let path = path("other");
        std::fs::write(&path, "1\n").unwrap();
        drop(PidFile::lock(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n");
        std::fs::remove_file(&path).unwrap();
    }
}
