//! The queue directory as an open descriptor: every system call the spool makes goes through here.
//!
//! All names are relative to the descriptor, so nothing is resolved twice. A [`FaultPoint`] may
//! stand before each call; that is how tests fill the disk or kill the process at any step.

use std::fmt;
use std::fs::File;
use std::fs::TryLockError;
use std::io::{self, IoSlice, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, linkat, unlinkat};

use super::error::SpoolError;

/// One kind of system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Exclusive creation of a file.
    Create,
    /// Opening a file for writing over it.
    Reuse,
    /// Opening for reading.
    Open,
    /// Reading content or attributes.
    Read,
    /// Writing.
    Write,
    /// Making one file's data durable.
    SyncData,
    /// Making the whole file system durable.
    SyncAll,
    /// Making directory entries durable.
    SyncDir,
    /// A second name for a file.
    Link,
    /// Renaming.
    Rename,
    /// Removing a name.
    Unlink,
    /// Listing.
    List,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Reuse => "reuse",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::SyncData | Self::SyncAll | Self::SyncDir => "sync",
            Self::Link => "link",
            Self::Rename => "rename",
            Self::Unlink => "remove",
            Self::List => "list",
        })
    }
}

/// Called before each system call on the queue directory. For tests: it may return the error that
/// the call shall end with, or end the process.
pub trait FaultPoint: Send + Sync {
    /// `name` is the file, or `.` for the directory.
    ///
    /// # Errors
    /// What the call shall fail with.
    fn before(&self, step: Step, name: &str) -> io::Result<()>;
}

type Outcome<T> = Result<T, SpoolError>;

/// See the module.
pub(super) struct Directory {
    fd: OwnedFd,
    faults: Option<Box<dyn FaultPoint>>,
    /// Whom new files are given to, if not to the user of this process.
    owner: Option<(Uid, Gid)>,
}

impl Directory {
    pub(super) fn open(path: &Path, faults: Option<Box<dyn FaultPoint>>) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty())?;
        Ok(Self {
            fd,
            faults,
            owner: None,
        })
    }

    /// New files belong to whom the directory belongs to.
    pub(super) fn give_files_to_owner(&mut self) -> io::Result<()> {
        let stat = fstat(&self.fd)?;
        self.owner = Some((Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)));
        Ok(())
    }

    /// Locks the directory until this is dropped, or the process ends; false if somebody else has a
    /// lock that does not go with it.
    pub(super) fn lock(&self, exclusive: bool) -> io::Result<bool> {
        // The lock is the open directory's, which a duplicate shares.
        let file = File::from(self.fd.try_clone()?);
        let locked = match exclusive {
            true => file.try_lock(),
            false => file.try_lock_shared(),
        };
        match locked {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn step<T>(&self, step: Step, name: &str, call: impl FnOnce() -> io::Result<T>) -> Outcome<T> {
        let faults = self.faults.as_deref();
        faults
            .map_or(Ok(()), |f| f.before(step, name))
            .and_then(|()| call())
            .map_err(|e| SpoolError::io(step, name, e))
    }

    pub(super) fn create(&self, name: &str) -> Outcome<File> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        self.step(Step::Create, name, || {
            let fd = openat(&self.fd, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
            if let Some((uid, gid)) = self.owner {
                fchown(&fd, Some(uid), Some(gid))?;
            }
            Ok(fd.into())
        })
    }

    /// Opens a file to write over it, and tells its length in bytes; none if it is not this user's alone,
    /// by this name alone, or anybody has it open.
    pub(super) fn open_sole(&self, name: &str) -> Outcome<Option<(File, u64)>> {
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        self.step(Step::Reuse, name, || {
            let fd = openat(&self.fd, name, flags, Mode::empty())?;
            match sole_len(&fstat(&fd)?) {
                Some(len) if has_no_other_user(&fd)? => Ok(Some((fd.into(), len))),
                _ => Ok(None),
            }
        })
    }

    /// The length in bytes of a file that has no other name and is this user's alone.
    pub(super) fn sole_name(&self, name: &str) -> Outcome<Option<u64>> {
        self.step(Step::Read, name, || {
            let stat = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            Ok(sole_len(&stat))
        })
    }

    /// Opens a regular file; none for anything else (a pipe would block, a link leads outside).
    pub(super) fn open_regular(&self, name: &str) -> Outcome<Option<(File, u64)>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        self.step(Step::Open, name, || {
            let fd = match openat(&self.fd, name, flags, Mode::empty()) {
                // a symbolic link; a socket or a device without driver
                Err(Errno::ELOOP | Errno::ENXIO | Errno::ENODEV) => return Ok(None),
                other => other?,
            };
            let stat = fstat(&fd)?;
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            Ok(is_regular(&stat).then(|| (fd.into(), size)))
        })
    }

    pub(super) fn write(&self, name: &str, file: &mut File, pieces: &[&[u8]]) -> Outcome<()> {
        let mut slices: Vec<_> = pieces.iter().map(|p| IoSlice::new(p)).collect();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let written = self.step(Step::Write, name, || match file.write_vectored(rest) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
                other => other,
            })?;
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    /// Cuts a file of this length off behind what was written last.
    pub(super) fn cut_off(&self, name: &str, file: &mut File, len: u64) -> Outcome<()> {
        self.step(Step::Write, name, || match file.stream_position()? {
            end if end < len => file.set_len(end),
            _ => Ok(()),
        })
    }

    /// Runs a copy into `file` as one write step per call.
    pub(super) fn copy<T>(&self, name: &str, call: impl FnOnce() -> io::Result<T>) -> Outcome<T> {
        self.step(Step::Write, name, call)
    }

    pub(super) fn sync_data(&self, name: &str, file: &File) -> Outcome<()> {
        self.step(Step::SyncData, name, || file.sync_data())
    }

    #[cfg(target_os = "linux")]
    pub(super) fn sync_all(&self) -> Outcome<()> {
        self.step(Step::SyncAll, ".", || Ok(nix::unistd::syncfs(&self.fd)?))
    }

    pub(super) fn sync_entries(&self) -> Outcome<()> {
        self.step(Step::SyncDir, ".", || Ok(fsync(&self.fd)?))
    }

    pub(super) fn link(&self, from: &str, to: &str) -> Outcome<()> {
        self.step(Step::Link, to, || {
            Ok(linkat(&self.fd, from, &self.fd, to, AtFlags::empty())?)
        })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Outcome<()> {
        self.step(Step::Rename, from, || {
            Ok(renameat(&self.fd, from, &self.fd, to)?)
        })
    }

    /// Removes a name; one that is gone already is fine.
    pub(super) fn unlink(&self, name: &str) -> Outcome<()> {
        self.step(Step::Unlink, name, || {
            match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
                Err(Errno::ENOENT) => Ok(()),
                other => Ok(other?),
            }
        })
    }

    /// Device and inode of a file, none when it does not exist.
    pub(super) fn inode(&self, name: &str) -> Outcome<Option<(u64, u64)>> {
        self.step(Step::Read, name, || {
            match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                // the widths of these fields differ between systems
                #[allow(clippy::unnecessary_cast)]
                Ok(stat) => Ok(Some((stat.st_dev as u64, stat.st_ino as u64))),
                Err(Errno::ENOENT) => Ok(None),
                Err(e) => Err(e.into()),
            }
        })
    }

    /// When something last happened to a file, its renaming included, in milliseconds since 1970;
    /// none when it does not exist.
    pub(super) fn changed(&self, name: &str) -> Outcome<Option<u64>> {
        self.step(Step::Read, name, || {
            match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                // the widths of these fields differ between systems
                #[allow(clippy::unnecessary_cast)]
                Ok(stat) => {
                    let ms = (stat.st_ctime as i64).saturating_mul(1000)
                        + stat.st_ctime_nsec as i64 / 1_000_000;
                    Ok(Some(u64::try_from(ms).unwrap_or(0)))
                }
                Err(Errno::ENOENT) => Ok(None),
                Err(e) => Err(e.into()),
            }
        })
    }

    /// A listing of its own, from the beginning.
    pub(super) fn list(&self) -> Outcome<Dir> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        self.step(Step::List, ".", || {
            Ok(Dir::openat(self.fd.as_fd(), ".", flags, Mode::empty())?)
        })
    }

    /// Calls `each` for every name, in the order of the directory and without keeping any.
    pub(super) fn for_each(&self, mut each: impl FnMut(&str)) -> Outcome<()> {
        let mut listing = self.list()?;
        for entry in listing.iter() {
            let entry = entry.map_err(|e| SpoolError::io(Step::List, ".", e.into()))?;
            // a name that is no text is none of ours; it is counted under this stand-in
            each(entry.file_name().to_str().unwrap_or("\u{fffd}"));
        }
        Ok(())
    }
}

fn is_regular(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
}

fn sole_len(stat: &FileStat) -> Option<u64> {
    let private = stat.st_uid == Uid::effective().as_raw() && stat.st_mode & 0o7777 == 0o600;
    let sole = is_regular(stat) && stat.st_nlink == 1 && private;
    u64::try_from(stat.st_size).ok().filter(|_| sole)
}

/// A lease tells that nobody else has a file open; whoever opens the file while there is one makes a signal
/// of it, which would end this process and is ignored from now on. False where there are no leases.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // signal dispositions are of the whole process
pub(super) fn ignore_lease_breaks() -> bool {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no handler is installed, and nobody here wants this signal.
    unsafe { signal(Signal::SIGIO, SigHandler::SigIgn) }.is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn ignore_lease_breaks() -> bool {
    false
}

/// Whether no other descriptor of this file, open for writing, exists on the machine.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)] // nix has no leases
fn has_no_other_user(fd: &OwnedFd) -> io::Result<bool> {
    use std::os::fd::AsRawFd as _;

    use nix::libc::{F_SETLEASE, F_UNLCK, F_WRLCK, fcntl};
    let lease = |kind: nix::libc::c_int| {
        // SAFETY: a descriptor that is open during the call, and two numbers.
        Errno::result(unsafe { fcntl(fd.as_raw_fd(), F_SETLEASE, kind) })
    };
    match lease(F_WRLCK) {
        Ok(_) => {
            lease(F_UNLCK)?;
            Ok(true)
        }
        Err(Errno::EAGAIN | Errno::EBUSY) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn has_no_other_user(_: &OwnedFd) -> io::Result<bool> {
    Ok(false)
}
