//! Standard output: one write for each line, and no line holds the server up.
//!
//! Who reads our output may be slow, stopped or gone. Then lines wait here up to a limit; beyond it
//! they are dropped, and counted for whoever reads on. Must never block on anything but a disk.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};

use super::Level;
use super::line::Event;

/// Descriptor 1 is a terminal.
static TERMINAL: AtomicBool = AtomicBool::new(false);

/// Bytes of lines that wait for a slow reader.
const MOST_WAITING: usize = 256 * 1024;

/// Time for waiting lines when the process ends.
const PATIENCE_MS: u16 = 1000;

/// Says that standard output leads somewhere else now (a daemon's log file, or a new one). What was
/// open for the old one is closed at once: a daemon must not keep its terminal.
pub fn output_changed() {
    with_output(|output| *output = Output::new());
}

/// Whether lines are coloured (LOG-07).
pub(super) fn to_terminal() -> bool {
    TERMINAL.load(Ordering::Relaxed)
}

/// The one writer of the process.
static OUTPUT: Mutex<Option<Output>> = Mutex::new(None);

fn with_output<T>(work: impl FnOnce(&mut Output) -> T) -> T {
    let mut output = OUTPUT.lock().unwrap_or_else(PoisonError::into_inner);
    work(output.get_or_insert_with(Output::new))
}

/// Drops lines that wait for a slow reader: in a forked process they are its parent's to write.
pub fn forget_waiting() {
    with_output(|output| {
        output.waiting.clear();
        output.dropped = 0;
    });
}

/// What the logger holds.
pub(super) struct Shared;

impl Write for Shared {
    /// Takes a whole line, whatever becomes of it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        with_output(|output| output.line(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How the system is kept from making us wait.
enum Way {
    /// A file, or something else that always takes what it gets.
    Plain,
    /// A description of our own that does not block. Descriptor 1 itself may be shared, with a shell
    /// for one, and must keep its mode.
    Own(File),
    /// Ask before each write.
    Ask,
}

impl Way {
    fn find() -> Way {
        let stdout = io::stdout();
        let kind = fstat(stdout.as_fd()).map(|s| SFlag::from_bits_truncate(s.st_mode));
        match kind.map(|k| k & SFlag::S_IFMT) {
            Ok(SFlag::S_IFREG) => Way::Plain,
            Ok(SFlag::S_IFIFO | SFlag::S_IFCHR) => OpenOptions::new()
                .write(true)
                .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
                .open("/proc/self/fd/1")
                .map_or(Way::Ask, Way::Own),
            _ => Way::Ask,
        }
    }

    fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        let stdout = io::stdout();
        match self {
            Way::Plain => nix::unistd::write(stdout.as_fd(), bytes),
            Way::Own(file) => nix::unistd::write(file.as_fd(), bytes),
            Way::Ask => match writable(stdout.as_fd(), PollTimeout::ZERO) {
                true => nix::unistd::write(stdout.as_fd(), bytes),
                false => Err(Errno::EAGAIN),
            },
        }
    }
}

fn writable(fd: BorrowedFd<'_>, limit: PollTimeout) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    matches!(poll(&mut fds, limit), Ok(1))
}

/// Where lines go.
struct Output {
    way: Way,
    waiting: VecDeque<u8>,
    dropped: u64,
    /// Nobody can read any more; until the output changes, lines go nowhere.
    gone: bool,
}

impl Output {
    fn new() -> Output {
        let terminal = io::IsTerminal::is_terminal(&io::stdout());
        TERMINAL.store(terminal, Ordering::Relaxed);
        Output {
            way: Way::find(),
            waiting: VecDeque::new(),
            dropped: 0,
            gone: false,
        }
    }

    /// Writes what waits; true if nothing waits any more.
    fn catch_up(&mut self) -> bool {
        while !self.waiting.is_empty() {
            let (front, _) = self.waiting.as_slices();
            match self.way.write(front) {
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(e) => return self.failed(e),
            }
        }
        if self.dropped > 0 {
            let told = dropped_line(self.dropped);
            match self.way.write(told.as_bytes()) {
                Ok(n) => self.keep(told.as_bytes().get(n..).unwrap_or_default()),
                Err(e) => return self.failed(e),
            }
            self.dropped = 0;
        }
        self.waiting.is_empty()
    }

    /// What an error means; false.
    fn failed(&mut self, error: Errno) -> bool {
        if !matches!(error, Errno::EAGAIN | Errno::EINTR) {
            // Closed by the reader, or a full disk: nobody is there to be told.
            self.gone = error == Errno::EPIPE || error == Errno::EBADF;
            self.dropped += u64::from(!self.waiting.is_empty());
            self.waiting.clear();
        }
        false
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
    }

    fn line(&mut self, line: &[u8]) {
        if self.gone {
            return;
        }
        if !self.waiting.is_empty() || self.dropped > 0 {
            self.catch_up();
        }
        let mut rest = line;
        if self.waiting.is_empty() && self.dropped == 0 {
            match self.way.write(line) {
                Ok(n) => rest = line.get(n..).unwrap_or_default(),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(e) => {
                    self.failed(e);
                    self.dropped += 1;
                    return;
                }
            }
            if rest.is_empty() {
                return;
            }
        }
        // The rest of a line that was begun is kept in any case.
        if rest.len() == line.len() && self.waiting.len() + rest.len() > MOST_WAITING {
            self.dropped += 1;
        } else {
            self.keep(rest);
        }
    }
}

fn dropped_line(count: u64) -> String {
    let event = Event {
        level: Level::Warn,
        uuid: &"-",
        origin: "logger",
        fields: &[],
        message: format_args!("{count} lines were dropped, nobody reads fast enough"),
    };
    event.line(super::format()) + "\n"
}

/// Gives lines that wait a last chance, for a moment.
pub(super) fn finish() {
    with_output(|output| {
        while !output.gone && !output.catch_up() && !output.waiting.is_empty() {
            let stdout = io::stdout();
            if !writable(stdout.as_fd(), PollTimeout::from(PATIENCE_MS)) {
                return;
            }
        }
    });
}
