//! `haraka queue`: what operators do with the outbound queue, beside a running server or without one.
//!
//! Looking reads the queue directory. Whatever changes an item is asked of the server, whose workers
//! own the items; where none runs, the tool does it itself (`docs/adr/0025-queue-tools.md`).

mod act;
pub mod args;
mod export;
mod filter;
mod import;
mod list;
mod owner;
mod select;
mod show;
mod stat;
mod suspend;
mod text;
mod usage;

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use haraka_shared::spool::{SpoolError, SuspensionsError};

use crate::control::AskError;
use args::Tool;
pub use args::Wanted;

/// Why a tool gives up.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The queue directory.
    #[error("{cause}{}", hint(.cause))]
    Spool {
        /// Why.
        #[from]
        cause: SpoolError,
    },
    /// The list of suspensions.
    #[error(transparent)]
    Suspensions(#[from] SuspensionsError),
    /// The running server.
    #[error(transparent)]
    Server(#[from] AskError),
    /// A file that is read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// What goes out.
    #[error("output: {0}")]
    Output(#[from] io::Error),
    /// It makes no sense, or cannot be done.
    #[error("{0}")]
    Refused(String),
}

/// The queue's owner or root can do what others cannot.
fn hint(e: &SpoolError) -> &'static str {
    let denied = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
    match e.io_error() {
        Some(e) if denied(e) => "; run this as root or as the user that the queue belongs to",
        _ => "",
    }
}

/// The queue that a tool works with.
#[derive(Clone, Debug)]
pub struct Place {
    /// The install directory.
    pub install_dir: PathBuf,
    /// The queue directory.
    pub queue_dir: PathBuf,
    /// Hours for which the trash keeps items.
    pub trash_hours: u32,
}

/// What a tool came to; false if some of what was asked could not be done, which was said.
type Complete = bool;

/// Runs a tool. Gives the exit status.
pub fn run(tool: &Tool, place: &Place) -> Result<u8, ToolError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = perform(tool, place, &mut out).and_then(|done| {
        out.flush()?;
        Ok(done)
    });
    match done {
        Ok(complete) => Ok(u8::from(!complete)),
        // Whoever reads has seen enough.
        Err(ToolError::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(e) => Err(e),
    }
}

fn perform(tool: &Tool, place: &Place, out: &mut impl Write) -> Result<Complete, ToolError> {
    match tool {
        Tool::List(select, json) => list::run(place, select, *json, out),
        Tool::Show(select, how) => show::run(place, select, *how, out),
        Tool::Why(select, json) => act::why(place, select, *json, out),
        Tool::Act(act, select, json) => act::run(place, act, select, *json, out),
        Tool::Suspend(None, json) => suspend::list(place, *json, out),
        Tool::Suspend(Some(new), _) => suspend::add(place, new, out),
        Tool::Resume(which) => suspend::end(place, which, out),
        Tool::Export(select, file) => export::run(place, select, file.as_deref(), out),
        Tool::Import(from, hold) => import::run(place, from, *hold, out),
        Tool::Stat(json) => stat::run(place, *json, out),
        Tool::Help => {
            write!(out, "{}", args::USAGE)?;
            Ok(true)
        }
    }
}

/// Tells on a terminal how far a long job is.
struct Progress {
    shown: bool,
    terminal: bool,
    next: std::time::Instant,
}

/// Between two lines of progress; nothing is shown of a job that is over before.
const PROGRESS: std::time::Duration = std::time::Duration::from_millis(500);

impl Progress {
    fn new() -> Progress {
        Progress {
            shown: false,
            terminal: io::stderr().is_terminal(),
            next: std::time::Instant::now() + PROGRESS,
        }
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.terminal && std::time::Instant::now() >= self.next {
            eprint!("\r\x1b[K{}", text());
            self.shown = true;
            self.next = std::time::Instant::now() + PROGRESS;
        }
    }

    /// Makes room for other lines.
    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `1 item`, `2 items`.
fn items(n: u64) -> String {
    format!("{n} item{}", if n == 1 { "" } else { "s" })
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> ToolError {
    move |cause| ToolError::File {
        path: path.to_owned(),
        cause,
    }
}
