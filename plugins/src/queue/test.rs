//! Writes each message to a file in the system's temporary directory, to look at (PI2-16).

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use haraka_shared::hook::{HookName, Hooks, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::message_stream::{MessageReader, ReadOptions};
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};

/// See `docs/plugins/queue/test.md`.
pub struct Test {
    dir: PathBuf,
}

impl Plugin for Test {
    const NAME: &'static str = "queue/test";
    const HOOKS: &'static [Wants] = &[Wants::hook(HookName::Queue)];

    fn new(_env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(Test {
            dir: std::env::temp_dir(),
        })
    }
}

impl Hooks for Test {
    async fn queue(&self, cx: &HookCx, _none: ()) -> Verdict {
        let Some(transaction) = cx.transaction() else {
            return Verdict::CONT;
        };
        let path = self.dir.join(format!("mail_{}.eml", transaction.uuid));
        log_plugin!(Level::Debug, cx, "Saving to {}", path.display());
        let message = transaction.reader(ReadOptions::default());
        let target = path.clone();
        let error = match cx.blocking(move || save(&target, message)).await {
            Some(Ok(())) => return Verdict::OK,
            Some(Err(e)) => e.to_string(),
            None => "no thread to write it".to_owned(),
        };
        log_plugin!(
            Level::Error,
            cx,
            "saving to {} failed: {error}",
            path.display()
        );
        Verdict::deny_soft("Message could not be stored")
    }
}

/// The directory is everybody's: a file or link that somebody put there is never written through.
fn save(path: &Path, message: MessageReader) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut out = BufWriter::new(file);
    let written = message.write_to(&mut out).and_then(|()| out.flush());
    if written.is_err() {
        // The first error is the one to report; a rest of a message is of no use.
        drop(std::fs::remove_file(path));
    }
    written
}
