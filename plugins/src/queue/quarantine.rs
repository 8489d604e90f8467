//! Keeps copies of messages that somebody wants looked at, in a directory for each day (PI2-13).
//!
//! A message has its name there only once it is on disk as a whole. What cannot be stored is put off:
//! nobody gets it unseen (PB-36).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use haraka_shared::config::Live;
use haraka_shared::date;
use haraka_shared::hook::{Code, HookName, Hooks, Message, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::message_stream::{LineEnd, MessageReader, ReadOptions};
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};
use serde_json::Value;

use super::wanted;

const FILE: &str = "quarantine.ini";
const USUAL: &str = "/var/spool/haraka/quarantine";
/// Where files are while they are being written.
const TMP: &str = "tmp";
/// What is older was left by a process that is gone.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// See `docs/plugins/queue/quarantine.md`.
pub struct Quarantine {
    base: Live<PathBuf>,
}

impl Plugin for Quarantine {
    const NAME: &'static str = "queue/quarantine";
    const HOOKS: &'static [Wants] = &[
        Wants::hook(HookName::InitChild),
        Wants::hook(HookName::Queue).called("quarantine"),
        Wants::hook(HookName::QueueOutbound).called("quarantine"),
    ];

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        let dir = env.install_dir.to_owned();
        let base = env.live(Self::NAME, &[FILE], move |config, warnings| {
            let ini = config.ini(FILE)?;
            warnings.extend(ini.warnings().iter().cloned());
            let path = ini.text("main", "quarantine_path");
            Ok(dir.join(path.filter(|path| !path.is_empty()).unwrap_or(USUAL)))
        })?;
        Ok(Quarantine { base })
    }
}

impl Hooks for Quarantine {
    async fn init_child(&self, cx: &HookCx, _none: ()) -> Verdict {
        let tmp = self.base.get().join(TMP);
        let shown = tmp.display().to_string();
        if let Some(Err(error)) = cx.blocking(move || prepare(&tmp)).await {
            log_plugin!(Level::Error, cx, "{shown}: {error}");
        }
        Verdict::CONT
    }

    async fn queue(&self, cx: &HookCx, _none: ()) -> Verdict {
        self.quarantine(cx).await
    }

    async fn queue_outbound(&self, cx: &HookCx, _none: ()) -> Verdict {
        self.quarantine(cx).await
    }
}

impl Quarantine {
    async fn quarantine(&self, cx: &HookCx) -> Verdict {
        let (Some(connection), Some(transaction)) = (&cx.connection, cx.transaction()) else {
            return Verdict::CONT;
        };
        let noted = |name| {
            let notes = [&connection.notes, &transaction.notes];
            let mut found = notes.into_iter().filter(|notes| notes.truthy(name));
            found.next().and_then(|notes| notes.get(name))
        };
        let below = match noted("quarantine") {
            Some(note) => note.as_str().unwrap_or_default().to_owned(),
            None if wanted(&transaction).as_deref() == Some("quarantine") => String::new(),
            None => return Verdict::CONT,
        };
        let base = self.base.get();
        let Some(dir) = directory(&base, &below, &date::local_day()) else {
            log_plugin!(
                Level::Error,
                cx,
                "{below:?} leads out of {}",
                base.display()
            );
            return later();
        };
        let (tmp, path) = (
            base.join(TMP).join(&transaction.uuid),
            dir.join(&transaction.uuid),
        );
        let message = transaction.reader(ReadOptions {
            line_ends: LineEnd::Lf,
            ..ReadOptions::default()
        });
        let shown = path.display().to_string();
        let error = match cx.blocking(move || store(message, &tmp, &path)).await {
            Some(Ok(())) => {
                transaction.notes.set("quarantined", shown.as_str());
                transaction.results.add(&cx.plugin, "pass", shown.as_str());
                log_plugin!(Level::Info, cx, "pass:{shown}");
                return noted("quarantine_action").map_or(Verdict::CONT, |note| action(&note));
            }
            Some(Err(error)) => error.to_string(),
            None => "no thread to write it".to_owned(),
        };
        log_plugin!(
            Level::Error,
            cx,
            "Error writing quarantine file: {shown}: {error}"
        );
        later()
    }
}

fn later() -> Verdict {
    Verdict::deny_soft("Message could not be stored, try again later")
}

/// The directory of a day, or of a day below the directory that a note names; none if that is not
/// below `base`.
fn directory(base: &Path, below: &str, day: &str) -> Option<PathBuf> {
    let below = Path::new(below);
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    below
        .components()
        .all(inside)
        .then(|| base.join(below).join(day))
}

/// What is to become of a message that was stored: `code` or `[code, text]`.
fn action(note: &Value) -> Verdict {
    let (code, text) = match note {
        Value::Array(parts) => (parts.first(), parts.get(1).and_then(Value::as_str)),
        other => (Some(other), None),
    };
    let code = match code.and_then(Value::as_u64) {
        Some(901) => Code::Stop,
        Some(902) => Code::Deny,
        Some(903) => Code::DenySoft,
        Some(904) => Code::DenyDisconnect,
        Some(905) => Code::Disconnect,
        Some(906) => Code::Ok,
        Some(909) => Code::DenySoftDisconnect,
        _ => Code::Cont,
    };
    let message = text.map_or(Message::None, |text| Message::Text(text.to_owned().into()));
    Verdict { code, message }
}

/// Blocks on disk.
fn prepare(tmp: &Path) -> io::Result<()> {
    make(tmp)?;
    for entry in fs::read_dir(tmp)? {
        let entry = entry?;
        let age = SystemTime::now().duration_since(entry.metadata()?.modified()?);
        if age.is_ok_and(|age| age > STALE) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Writes the file under its temporary name and gives it its own when it is on disk. Blocks.
fn store(message: MessageReader, tmp: &Path, path: &Path) -> io::Result<()> {
    let dirs = [tmp, path].map(|file| file.parent().unwrap_or(Path::new("/")));
    for dir in dirs {
        make(dir)?;
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(tmp)?;
    let linked = fill(message, file).and_then(|()| fs::hard_link(tmp, path));
    // The second name is not needed any more, nor is what was written of a message that failed.
    let removed = fs::remove_file(tmp);
    linked?;
    removed?;
    dirs.into_iter()
        .last()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

fn fill(message: MessageReader, file: File) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    message.write_to(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers PI2-13
    #[test]
    fn no_note_leads_out_of_the_directory() {
        let dir = |below| directory(Path::new("/q"), below, "20261121");
        assert_eq!(dir(""), Some("/q/20261121".into()));
        assert_eq!(dir("spam/high"), Some("/q/spam/high/20261121".into()));
        for below in ["/etc", "..", "a/../../b", "../q"] {
            assert_eq!(dir(below), None, "{below}");
        }
    }
}
