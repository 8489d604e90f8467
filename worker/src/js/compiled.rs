//! Scripts in compiled form, made once for all workers of a configuration.
//!
//! The process that tries the plugins out before the start records what it compiles and fills a memory
//! file with it; the master seals that file and each worker inherits it over its fork. The engine trusts
//! such code as it trusts itself, so it must never come from anywhere else: nothing here has a path.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Octets of code and text that are recorded; what is loaded after that is compiled by each worker.
const MOST: usize = 128 << 20;

/// A file that was changed less than this before it is read is not kept: another change within the
/// same tick of the file system's clock would not show.
const SETTLED: Duration = Duration::from_secs(2);

/// Octets at the end of the memory file: where the index begins, and how long it is.
const FOOTER: usize = 16;

/// What tells a file from itself after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The same of the inode, which changes also where somebody sets the other time back.
    changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(file: &Metadata) -> Identity {
        Identity {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    fn is_settled(&self, for_so_long: Duration) -> bool {
        let since = u64::try_from(self.changed.0).unwrap_or_default();
        let since = UNIX_EPOCH + Duration::from_secs(since);
        // One in the future is not settled either.
        SystemTime::now()
            .duration_since(since)
            .is_ok_and(|age| age > for_so_long)
    }
}

/// Which script: the file that errors show, and whether it is strict as a whole.
pub(super) type Key<'a> = (&'a str, bool);

/// A line of the index as it is written: file, strictness, identity (none for the program's own
/// scripts), where the code begins and how long it is, its checksum, the place of the text.
type Line = (String, bool, Option<Numbers>, (u64, u64), u32, (u64, u64));

/// An [`Identity`]: device, inode, size, the two times.
type Numbers = (u64, u64, u64, (i64, i64), (i64, i64));

/// What is recorded of one script.
struct Kept {
    file: String,
    strict: bool,
    identity: Option<Identity>,
    code: Vec<u8>,
    text: String,
}

/// Takes down what is compiled.
pub(crate) struct Recorder {
    kept: RefCell<Vec<Kept>>,
    octets: Cell<usize>,
    settled: Duration,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            kept: RefCell::default(),
            octets: Cell::default(),
            settled: SETTLED,
        }
    }
}

impl Recorder {
    /// Keeps files however young they are.
    #[cfg(test)]
    pub(super) fn of_young_files() -> Recorder {
        Recorder {
            settled: Duration::ZERO,
            ..Recorder::default()
        }
    }

    /// The number that the next script gets, if it is one to be kept.
    pub(super) fn next(&self, identity: Option<&Identity>) -> Option<usize> {
        let settled = identity.is_none_or(|i| i.is_settled(self.settled));
        (settled && self.octets.get() < MOST).then(|| self.kept.borrow().len())
    }

    /// Keeps a script: its code, in which functions refer to the text.
    pub(super) fn keep(
        &self,
        (file, strict): Key<'_>,
        identity: Option<Identity>,
        code: Vec<u8>,
        text: String,
    ) {
        let octets = self.octets.get() + code.len() + text.len();
        self.octets.set(octets);
        self.kept.borrow_mut().push(Kept {
            file: file.to_owned(),
            strict,
            identity,
            code,
            text,
        });
    }
}

/// The memory file before it is sealed.
#[derive(Debug)]
pub struct Store(File);

impl Store {
    /// An empty one. Programs that are started do not inherit it.
    ///
    /// # Errors
    /// The system gives none.
    pub fn new() -> io::Result<Store> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        // Systems may insist on it (`vm.memfd_noexec`); those before Linux 6.3 do not know it.
        let sealed = flags | MFdFlags::from_bits_retain(nix::libc::MFD_NOEXEC_SEAL);
        let memory = match memfd_create(c"haraka-scripts", sealed) {
            Err(Errno::EINVAL) => memfd_create(c"haraka-scripts", flags),
            other => other,
        };
        Ok(Store(memory?.into()))
    }

    /// Writes what was recorded.
    pub(crate) fn fill(&self, recorder: &Recorder) -> io::Result<()> {
        let kept = recorder.kept.take();
        let mut out = io::BufWriter::new(&self.0);
        let mut at = 0;
        let mut put = |octets: &[u8]| {
            let from = at;
            at += octets.len() as u64;
            out.write_all(octets).map(|()| (from, octets.len() as u64))
        };
        let mut index: Vec<Line> = Vec::with_capacity(kept.len());
        for script in kept {
            let numbers = script
                .identity
                .map(|i| (i.device, i.inode, i.size, i.modified, i.changed));
            let (code, text) = (put(&script.code)?, put(&deflated(&script.text)?)?);
            let sum = checksum(&script.code);
            index.push((script.file, script.strict, numbers, code, sum, text));
        }
        let (from, length) = put(&serde_json::to_vec(&index)?)?;
        out.write_all(&from.to_le_bytes())?;
        out.write_all(&length.to_le_bytes())?;
        out.flush()
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &File {
        &self.0
    }

    /// Nobody can change it any more; what is in it, for the workers.
    ///
    /// # Errors
    /// It cannot be sealed, as somebody has it mapped for writing, or was not filled.
    pub fn seal(self) -> io::Result<Arc<Compiled>> {
        let seals = SealFlag::F_SEAL_WRITE
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_SEAL;
        fcntl(&self.0, FcntlArg::F_ADD_SEALS(seals))?;
        Compiled::open(self.0).map(Arc::new)
    }
}

/// One script of a sealed file.
#[derive(Debug)]
struct Entry {
    identity: Option<Identity>,
    code: (u64, u64),
    sum: u32,
}

/// Scripts in compiled form. Their code stays in the memory file, so that a worker holds what it loads
/// and nothing twice.
#[derive(Debug)]
pub struct Compiled {
    memory: File,
    size: u64,
    scripts: HashMap<(String, bool), Entry>,
    /// Where the texts are, by number.
    texts: Vec<(u64, u64)>,
}

impl Compiled {
    fn open(memory: File) -> io::Result<Compiled> {
        let size = memory.metadata()?.len();
        let mut compiled = Compiled {
            memory,
            size,
            scripts: HashMap::new(),
            texts: Vec::new(),
        };
        let end = size.saturating_sub(FOOTER as u64);
        let footer = compiled.read((end, FOOTER as u64))?;
        let number = |at: usize| {
            let octets = footer.get(at..at + 8).and_then(|o| o.try_into().ok());
            octets.map_or(u64::MAX, u64::from_le_bytes)
        };
        let index = compiled.read((number(0), number(8)))?;
        let index: Vec<Line> = serde_json::from_slice(&index)?;
        for (file, strict, identity, code, sum, text) in index {
            let identity = identity.map(|(device, inode, size, modified, changed)| Identity {
                device,
                inode,
                size,
                modified,
                changed,
            });
            let entry = Entry {
                identity,
                code,
                sum,
            };
            compiled.scripts.insert((file, strict), entry);
            compiled.texts.push(text);
        }
        Ok(compiled)
    }

    fn read(&self, (from, length): (u64, u64)) -> io::Result<Vec<u8>> {
        let inside = from.checked_add(length).is_some_and(|end| end <= self.size);
        if !inside {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut out = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.memory.read_exact_at(&mut out, from)?;
        Ok(out)
    }

    /// The code of a script, if its file is the one that was compiled.
    pub(super) fn code(
        &self,
        (file, strict): Key<'_>,
        identity: Option<&Identity>,
    ) -> Option<Vec<u8>> {
        let entry = self.scripts.get(&(file.to_owned(), strict))?;
        if entry.identity.as_ref() != identity {
            return None;
        }
        let code = self.read(entry.code).ok()?;
        (checksum(&code) == entry.sum).then_some(code)
    }

    /// The text of the script with this number.
    pub(super) fn text(&self, number: usize) -> Option<String> {
        let deflated = self.read(*self.texts.get(number)?).ok()?;
        let mut text = String::new();
        let mut inflate = DeflateDecoder::new(&*deflated);
        inflate.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Number of scripts.
    pub fn count(&self) -> usize {
        self.scripts.len()
    }
}

/// A text as it is held, once for all workers: few ask for one.
fn deflated(text: &str) -> io::Result<Vec<u8>> {
    let mut out = DeflateEncoder::new(Vec::new(), Compression::fast());
    out.write_all(text.as_bytes())?;
    out.finish()
}

fn checksum(octets: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(octets);
    crc.sum()
}
