//! Delivers messages into Maildirs below the install directory: mail that nothing else routes is
//! there to read.
//!
//! The plugin decides which mailboxes get a message; `store.rs` writes them, all or none;
//! `names.rs` makes names that cannot leave the directory.

mod names;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use haraka_shared::address::Address;
use haraka_shared::config::{At, ConfigDir, ConfigError, Live};
use haraka_shared::hook::{HookName, Hooks, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::message_stream::{LineEnd, ReadOptions};
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};

use super::wanted;
use names::Layout;
use store::{Mailbox, StoreError};

/// See `docs/plugins/queue/maildir.md`.
pub struct Maildir(Live<Settings>);

struct Settings {
    root: PathBuf,
    layout: Layout,
    /// This host's name as it stands in file names, and for recipients without a domain.
    host: Arc<str>,
}

impl Plugin for Maildir {
    const NAME: &'static str = "queue/maildir";
    const HOOKS: &'static [Wants] = &[Wants::hook(HookName::Queue)];

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        let dir = env.install_dir.to_owned();
        let load = move |config: &ConfigDir, _: &mut Vec<_>| Settings::load(config, &dir);
        Ok(Maildir(env.live(
            Self::NAME,
            &["maildir.ini", "me"],
            load,
        )?))
    }
}

impl Hooks for Maildir {
    async fn queue(&self, cx: &HookCx, _none: ()) -> Verdict {
        let Some(transaction) = cx.transaction() else {
            return Verdict::CONT;
        };
        if wanted(&transaction).is_some_and(|w| w != "maildir") {
            return Verdict::CONT;
        }
        let settings = self.0.get();
        let boxes = match settings.mailboxes(&transaction.recipients()) {
            Ok(boxes) => boxes,
            Err(address) => {
                log_plugin!(
                    Level::Error,
                    cx,
                    "{address} is too long for a directory name"
                );
                return Verdict::deny("Recipient address is too long for a mailbox here");
            }
        };
        let count = boxes.len();
        let job = store::Job {
            boxes,
            return_path: transaction.sender().format(false),
            message: transaction.reader(ReadOptions {
                line_ends: LineEnd::Lf,
                ..ReadOptions::default()
            }),
            host: Arc::clone(&settings.host),
            abandoned: Arc::new(AtomicBool::new(false)),
        };
        // The answer waits for the outcome (ADR 0035).
        let keeping = transaction.keeping();
        // If the client is told to try again because this took too long, nothing may be delivered.
        let _abandon = Abandon(Arc::clone(&job.abandoned));
        let error = match cx.blocking(move || job.run()).await {
            Some(Ok(())) => {
                keeping.stored(&transaction.recipients());
                transaction.results.add(&cx.plugin, "pass", "maildir");
                log_plugin!(Level::Info, cx, "delivered to {count} mailboxes");
                return Verdict::ok("Message delivered");
            }
            Some(Err(e)) => e,
            None => StoreError::NotRun,
        };
        transaction
            .results
            .add(&cx.plugin, "err", error.to_string());
        log_plugin!(Level::Error, cx, "delivery failed: {error}");
        Verdict::deny_soft("Message could not be stored, try again later")
    }
}

impl Settings {
    fn load(config: &ConfigDir, install_dir: &Path) -> Result<Settings, PluginError> {
        let ini = config.ini("maildir.ini")?;
        let layout = match ini.get("main", "layout") {
            None => Layout::Domain,
            Some(value) => Layout::parse(&value.text).ok_or_else(|| ConfigError::Value {
                at: At::line(ini.file(), value.line),
                key: "layout".to_owned(),
                why: format!("{:?} is neither domain nor flat", value.text),
            })?,
        };
        Ok(Settings {
            // An absolute path stays what it is.
            root: install_dir.join(ini.text("main", "path").unwrap_or("maildir")),
            layout,
            host: Arc::from(own_name(config)?),
        })
    }

    /// Each mailbox once, however many recipients lead to it.
    fn mailboxes(&self, recipients: &[Address]) -> Result<Vec<Mailbox>, Address> {
        let mut boxes: Vec<Mailbox> = Vec::with_capacity(recipients.len());
        let mut seen = std::collections::HashSet::with_capacity(recipients.len());
        for address in recipients {
            let dirs = names::mailbox(self.layout, address.user(), address.host(), &self.host)
                .ok_or_else(|| address.clone())?;
            if seen.insert(dirs.clone()) {
                boxes.push(Mailbox {
                    root: self.root.clone(),
                    dirs,
                    delivered_to: address.address(),
                });
            }
        }
        Ok(boxes)
    }
}

/// Tells the writer that nobody waits any more, when the hook's future is dropped.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn own_name(config: &ConfigDir) -> Result<String, ConfigError> {
    if let Some(me) = config.value("me")? {
        return Ok(me);
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    Ok(if name.is_empty() { "localhost" } else { name }.to_owned())
}
