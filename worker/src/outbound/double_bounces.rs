//! Mail without a sender that cannot be delivered: most often a report whose reader is gone. It goes to
//! an operator with a report, or into a bounded directory of files.
//!
//! Must never send anything that could come back here and be sent again (PA-47): what an operator is
//! sent has no sender either, and carries a mark that ends its way at the directory, whoever's it is.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use haraka_shared::address::{Address, Limits};
use haraka_shared::date::epoch_ms;
use haraka_shared::header::Header;
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::spool::{QueueName, Recipient};

use super::attempt::Cause;
use super::bounce::{Action, classes};
use super::bounces::{News, Told, Written, queue, write};
use super::item::Loaded;
use super::template::Templates;
use crate::rt;
use crate::worker::Worker;

/// Takes care of recipients who did not get a message that has no sender.
pub(super) async fn take(
    worker: &Rc<Worker>,
    name: &QueueName,
    item: &Loaded,
    failed: &[(Recipient, Cause)],
    why: &str,
) -> Told {
    log_double(name, item, failed, why);
    let settings = worker.settings();
    let operator = settings.outbound.double_bounce_to.as_deref();
    let operator = operator.and_then(|a| Address::parse(a, Limits::default()).ok());
    let told: Vec<_> = failed.iter().collect();
    let news = News {
        action: Action::Failed,
        reader: operator.clone().unwrap_or_else(|| postmaster(&settings.me)),
        told: &told,
        why,
        whole: true,
        retry_until: None,
    };
    let written = match write(worker, item, &news, &Templates::double_bounce()).await {
        Ok(written) => written,
        Err(e) => return not_stored(item, &e),
    };
    match operator {
        Some(operator) if may_be_sent(&written.header, &operator, failed) => {
            queue(worker, name, item, &news, written).await
        }
        _ => keep(worker, item, written).await,
    }
}

/// Who a file is written to where no operator is named: nobody, as nothing sends it.
fn postmaster(me: &str) -> Address {
    Address::from_parts("postmaster", me).unwrap_or_else(|_| Address::null())
}

/// Haraka's words.
fn log_double(name: &QueueName, item: &Loaded, failed: &[(Recipient, Cause)], why: &str) {
    let recipients: Vec<String> = failed.iter().map(|(r, _)| r.address.to_string()).collect();
    let recipients = recipients.join(",");
    log_at!(
        Level::Notice,
        &item.todo.uuid,
        "outbound",
        [
            ("file", name.as_str().into()),
            ("rcpts", (&recipients).into()),
            ("class", (&classes(failed.iter().map(|(_, c)| c))).into())
        ],
        "Double bounce: {why}"
    );
}

/// Whether an operator can be sent this: it was not sent to one before, and it is not the operator's
/// own address that does not work.
fn may_be_sent(header: &Header, operator: &Address, failed: &[(Recipient, Cause)]) -> bool {
    let mark = |value: &[u8]| value.trim_ascii_start().starts_with(MARK);
    let same = |a: &Address| a.user() == operator.user() && a.host() == operator.host();
    !header.get_all("X-Loop").any(mark) && !failed.iter().any(|(r, _)| same(&r.address))
}

async fn keep(worker: &Rc<Worker>, item: &Loaded, written: Written) -> Told {
    let settings = worker.settings();
    let store = Store {
        dir: settings.bounce_dir(),
        files: settings.outbound.double_bounces,
        octets: settings.outbound.double_bounce_size,
        time: settings.outbound.double_bounce_time,
    };
    if store.files == 0 {
        return Told::Done;
    }
    let file = format!("{:013}-{}.eml", epoch_ms(), written.id);
    let kept = rt::offload(move || store.keep(&file, &written.text).map(|gone| (file, gone)));
    match kept.await {
        Ok(Ok((file, gone))) => {
            let uuid = &item.todo.uuid;
            log_at!(
                Level::Notice,
                uuid,
                "outbound",
                [],
                "double bounce kept as {file}"
            );
            if gone > 0 {
                log_at!(
                    Level::Notice,
                    uuid,
                    "outbound",
                    [],
                    "{gone} older double bounces removed"
                );
            }
            Told::Done
        }
        Ok(Err(e)) => not_stored(item, &e),
        Err(e) => not_stored(item, &e),
    }
}

fn not_stored(item: &Loaded, why: &dyn std::fmt::Display) -> Told {
    log_at!(
        Level::Error,
        &item.todo.uuid,
        "outbound",
        [],
        "double bounce not stored: {why}"
    );
    Told::NotStored
}

/// The directory of kept mail and its bounds. All workers share it; each holds the bounds for all
/// whenever it adds a file.
struct Store {
    dir: PathBuf,
    /// Largest number of files.
    files: usize,
    /// Octets of all files.
    octets: u64,
    /// Age at which a file goes.
    time: Duration,
}

impl Store {
    /// Writes a file, which is on disk when this returns; the number of older ones that had to go.
    fn keep(&self, name: &str, text: &[u8]) -> io::Result<usize> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let gone = self.make_room(text.len() as u64)?;
        let scratch = self.dir.join(format!("{SCRATCH}{name}"));
        let written = self.write(&scratch, &self.dir.join(name), text);
        if written.is_err() {
            // Whatever it holds, it takes room on a disk that may be full.
            drop(fs::remove_file(&scratch));
        }
        written.map(|()| gone)
    }

    fn write(&self, scratch: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(scratch)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(scratch, path)?;
        File::open(&self.dir)?.sync_all()
    }

    fn make_room(&self, octets: u64) -> io::Result<usize> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Another worker may have removed it meanwhile; what is not ours is left alone.
            let Ok(facts) = entry.metadata() else {
                continue;
            };
            let age = facts
                .modified()
                .ok()
                .and_then(|t| SystemTime::now().duration_since(t).ok());
            let age = age.unwrap_or_default();
            if name.starts_with(SCRATCH) && age > ABANDONED {
                drop(fs::remove_file(entry.path()));
            } else if name.ends_with(".eml") && !name.starts_with(SCRATCH) && facts.is_file() {
                kept.push((name, facts.len(), age));
            }
        }
        // Names begin with their time.
        kept.sort();
        let mut sum: u64 = kept.iter().map(|(_, len, _)| len).sum();
        let mut count = kept.len();
        let mut gone = 0;
        for (name, len, age) in kept {
            if count < self.files && sum + octets <= self.octets && age <= self.time {
                break;
            }
            match fs::remove_file(self.dir.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => gone += 1,
            }
            sum -= len;
            count -= 1;
        }
        Ok(gone)
    }
}

/// How the value of X-Loop begins in what operators are sent, by us or by a server like this one.
const MARK: &[u8] = b"double-bounce@";
/// How names of files begin that are being written.
const SCRATCH: &str = "__tmp__.";
/// After this time nobody writes to such a file any more.
const ABANDONED: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use haraka_shared::header::HeaderLimits;

    use super::super::testing::address;

    /// Removed with all that is in it.
    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn scratch() -> Scratch {
        let name = format!("haraka-double-{}", uuid::Uuid::new_v4());
        Scratch(std::env::temp_dir().join(name))
    }

    fn store(dir: &Scratch) -> Store {
        Store {
            dir: dir.0.join("kept"),
            files: 3,
            octets: 100,
            time: Duration::from_secs(3600),
        }
    }

    fn names(store: &Store) -> Vec<String> {
        let entries = fs::read_dir(&store.dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn old(path: &Path, seconds: u64) {
        let time = SystemTime::now() - Duration::from_secs(seconds);
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    #[test]
    fn directory_is_bounded_in_number_size_and_age_and_the_oldest_go_first() {
        let dir = scratch();
        let store = store(&dir);
        for n in 1..=5 {
            let gone = store.keep(&format!("{n}-x.eml"), b"0123456789").unwrap();
            assert_eq!(gone, usize::from(n > 3), "{n}");
        }
        assert_eq!(names(&store), ["3-x.eml", "4-x.eml", "5-x.eml"]);
        assert_eq!(store.keep("6-x.eml", &[0; 85]).unwrap(), 2);
        assert_eq!(names(&store), ["5-x.eml", "6-x.eml"]);
        old(&store.dir.join("5-x.eml"), 3601);
        fs::write(store.dir.join("notes.txt"), "of the operator").unwrap();
        fs::write(store.dir.join("__tmp__.1-x.eml"), "cut").unwrap();
        fs::write(store.dir.join("__tmp__.2-x.eml"), "being written").unwrap();
        old(&store.dir.join("__tmp__.1-x.eml"), 3601);
        assert_eq!(store.keep("7-x.eml", b"x").unwrap(), 1);
        let left = ["6-x.eml", "7-x.eml", "__tmp__.2-x.eml", "notes.txt"];
        assert_eq!(names(&store), left);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind_and_is_an_error() {
        let dir = scratch();
        let store = store(&dir);
        fs::create_dir_all(store.dir.join("1-x.eml/taken")).unwrap();
        assert!(store.keep("1-x.eml", b"x").is_err());
        assert_eq!(names(&store), ["1-x.eml"]);
    }

    // covers PA-47
    #[test]
    fn marked_mail_and_mail_to_the_operator_are_never_sent_to_the_operator() {
        let operator = address("<ops@me.test>");
        let header = |text: &str| Header::split(text.as_bytes(), HeaderLimits::default()).0;
        let failed = |to: &str| vec![(address(to).into(), Cause::permanent(1, 1, "no"))];
        for (text, to, expected) in [
            ("Subject: x\r\n\r\n", "<a@b.test>", true),
            ("X-Loop: other\r\n\r\n", "<a@b.test>", true),
            ("X-Loop: double-bounce@me.test\r\n\r\n", "<a@b.test>", false),
            (
                "X-Loop: other\r\nX-Loop: double-bounce@else.test\r\n\r\n",
                "<a@b.test>",
                false,
            ),
            ("Subject: x\r\n\r\n", "<ops@ME.test>", false),
        ] {
            let found = may_be_sent(&header(text), &operator, &failed(to));
            assert_eq!(found, expected, "{text} {to}");
        }
    }
}
