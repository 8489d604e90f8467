//! `haraka queue import`: queue files of another installation become items of this one.
//!
//! From a tar, such as `export` writes, or from a queue directory, Haraka's or ours, that no server
//! uses. What makes it safe to interrupt and to repeat is `haraka_shared::spool::Import`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use haraka_shared::queue_order::{Order, Outcome, Verb};
use haraka_shared::spool::{
    Form, Import, Lock, QueueReader, Source, SpoolError, State, StoredName, write_header,
};

use super::export::{BodyReader, plain_name};
use super::owner::{carry_out_patiently, open};
use super::text::plain;
use super::{Complete, Place, Progress, ToolError, file_error, items};

/// Files that are made items by one order.
const AT_ONCE: usize = 100;

/// Longest without a single file becoming an item.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of the source's files.
#[derive(Default)]
struct Tally {
    staged: u64,
    /// Imported by a run before this one that was interrupted.
    before: u64,
    /// Files that are no items: told by number.
    skipped: u64,
    broken: u64,
}

/// Imports.
pub(super) fn run(
    place: &Place,
    from: &Path,
    hold: bool,
    out: &mut impl Write,
) -> Result<Complete, ToolError> {
    // What cannot be read is better known before anything is written.
    let source = Opened::open(place, from)?;
    let spool = open(place, Lock::None)?;
    let mut import = spool.import()?;
    if import.is_unfinished() {
        let finished = take_in(place, hold)?;
        import.finished()?;
        writeln!(
            out,
            "{} taken in of an import that was interrupted",
            items(finished)
        )?;
    }
    let mut progress = Progress::new();
    let mut tally = Tally::default();
    let staged = source.stage(&mut import, &mut tally, &mut progress);
    progress.clear();
    if let Err(e) = staged {
        import.abandon()?;
        return Err(e);
    }
    import.commit()?;
    let taken = take_in(place, hold)?;
    import.end()?;
    let held = if hold { ", held" } else { "" };
    writeln!(out, "{} imported{held}", items(taken))?;
    if tally.before > 0 {
        writeln!(out, "{} had been imported before", items(tally.before))?;
    }
    if tally.skipped > 0 {
        writeln!(
            out,
            "{} files are no items and were left out",
            tally.skipped
        )?;
    }
    Ok(tally.broken == 0)
}

/// Makes items of everything that is staged.
fn take_in(place: &Place, hold: bool) -> Result<u64, ToolError> {
    let reader = QueueReader::open(&place.queue_dir)?;
    let mut taken = 0;
    let mut progress = Progress::new();
    let mut last = Instant::now();
    loop {
        let staged = reader.staged(AT_ONCE)?;
        if staged.is_empty() {
            return Ok(taken);
        }
        let order = Order {
            verb: Verb::Adopt { hold },
            names: staged.iter().map(|s| s.file()).collect(),
        };
        let outcomes = carry_out_patiently(place, &order)?;
        let done = outcomes.iter().filter(|o| **o == Outcome::Done).count();
        let bad = outcomes.iter().find(|o| matches!(o, Outcome::Failed(_)));
        if let Some(failed) = bad {
            return Err(ToolError::Refused(format!(
                "import: {failed}; what is left is taken in by the next `haraka queue import`"
            )));
        }
        if done > 0 {
            last = Instant::now();
        } else if last.elapsed() > PATIENCE {
            return Err(ToolError::Refused(
                "import: no worker takes it in; repeat the command when the server serves"
                    .to_owned(),
            ));
        }
        taken += done as u64;
        progress.tell(|| format!("{} imported", items(taken)));
    }
}

/// Where items come from.
enum Opened<'a> {
    Directory(&'a Path, QueueReader),
    Tar(Box<dyn Read>),
}

impl Opened<'_> {
    fn open<'a>(place: &Place, from: &'a Path) -> Result<Opened<'a>, ToolError> {
        if from == Path::new("-") {
            return Ok(Opened::Tar(Box::new(io::stdin().lock())));
        }
        let meta = std::fs::metadata(from).map_err(file_error(from))?;
        if !meta.is_dir() {
            let file = File::open(from).map_err(file_error(from))?;
            return Ok(Opened::Tar(Box::new(io::BufReader::new(file))));
        }
        let same = from.canonicalize().ok() == place.queue_dir.canonicalize().ok();
        if same {
            return Err(ToolError::Refused(format!(
                "import: {} is the queue itself",
                from.display()
            )));
        }
        Ok(Opened::Directory(from, QueueReader::open(from)?))
    }

    fn stage(
        self,
        import: &mut Import<'_>,
        tally: &mut Tally,
        progress: &mut Progress,
    ) -> Result<(), ToolError> {
        match self {
            Opened::Tar(from) => from_tar(from, import, tally, progress),
            Opened::Directory(path, reader) => {
                from_directory(path, &reader, import, tally, progress)
            }
        }
    }
}

fn from_tar(
    from: Box<dyn Read>,
    import: &mut Import<'_>,
    tally: &mut Tally,
    progress: &mut Progress,
) -> Result<(), ToolError> {
    let unreadable = |e: io::Error| ToolError::Refused(format!("import: not a tar: {e}"));
    let mut tar = tar::Archive::new(from);
    let mut entries = 0u64;
    for entry in tar.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        entries += 1;
        let path = entry.path().map_err(unreadable)?.into_owned();
        let name = path.file_name().and_then(|n| n.to_str());
        let regular = entry.header().entry_type().is_file();
        let Some(item) = name.filter(|_| regular).and_then(StoredName::parse) else {
            tally.skipped += u64::from(!entry.header().entry_type().is_dir());
            continue;
        };
        if item.state != State::Queued || item.name.form == Form::Split {
            tally.skipped += 1;
            continue;
        }
        let source = source(&item, item.name.as_str(), entry.size());
        tally.count(import.stage(source, &mut entry))?;
        progress.tell(|| format!("{} read", items(tally.staged)));
    }
    match entries {
        0 => Err(ToolError::Refused("import: nothing in it".to_owned())),
        _ => Ok(()),
    }
}

fn from_directory(
    path: &Path,
    reader: &QueueReader,
    import: &mut Import<'_>,
    tally: &mut Tally,
    progress: &mut Progress,
) -> Result<(), ToolError> {
    // Names first: the directory must not be read while files of it are, for as long as that takes.
    let mut names = Vec::new();
    let others = reader.items(|state, name| match state {
        State::Trashed { .. } => {}
        state => names.extend(StoredName::parse(&state.file(name))),
    })?;
    names.sort_by_key(|item| item.name.arrival);
    tally.skipped = others.aside + others.staged;
    for item in names {
        let name = plain_name(&item);
        let staged = if item.name.form == Form::Split {
            match reader.open_item(&item) {
                Ok(opened) => {
                    let mut header = Vec::new();
                    let written = write_header(&opened.todo, &mut header);
                    written.map_err(|e| ToolError::Refused(format!("{item}: {e}")))?;
                    let len = header.len() as u64 + opened.body.len();
                    let body = BodyReader {
                        body: &opened.body,
                        at: 0,
                    };
                    import.stage(source(&item, &name, len), &mut (&header[..]).chain(body))
                }
                Err(e) => Err(e),
            }
        } else {
            let path = path.join(item.file());
            let meta = std::fs::symlink_metadata(&path).map_err(file_error(&path))?;
            if !meta.is_file() {
                tally.skipped += 1;
                continue;
            }
            let mut file = File::open(&path).map_err(file_error(&path))?;
            let len = file.metadata().map_err(file_error(&path))?.len();
            import.stage(source(&item, &name, len), &mut file)
        };
        tally.count(staged)?;
        progress.tell(|| format!("{} read", items(tally.staged)));
    }
    Ok(())
}

fn source<'a>(item: &StoredName, name: &'a str, len: u64) -> Source<'a> {
    Source {
        name,
        arrival: item.name.arrival,
        next_attempt: item.name.next_attempt,
        attempts: item.name.attempts,
        len,
    }
}

impl Tally {
    /// A file that is damaged is told and left out; any other trouble ends the import.
    fn count(&mut self, staged: Result<bool, SpoolError>) -> Result<(), ToolError> {
        match staged {
            Ok(true) => self.staged += 1,
            Ok(false) => self.before += 1,
            Err(e @ (SpoolError::Broken { .. } | SpoolError::NoRecipients { .. })) => {
                eprintln!("{}", plain(&e.to_string()));
                self.broken += 1;
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }
}
