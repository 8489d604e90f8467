//! The master process: command line, start-up, supervision of workers.
//!
//! `boot.rs` is the way in: the start-up ladder, one sentence per rung. After it `hub.rs` runs for
//! the life of the server. Nothing here holds a thread, an epoll instance or a plugin's state when
//! it forks, and it forks again whenever a worker dies. Which signal does what: `docs/signals.md`.

pub mod apart;
pub mod boot;
pub mod channel;
pub mod check;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod dump;
pub mod fork;
pub mod hub;
pub mod init_master;
pub mod install;
pub mod list;
pub mod listeners;
pub mod manual;
pub mod new_plugin;
pub mod passwd;
pub mod pidfile;
pub mod poison;
pub mod privileges;
pub mod queue;
pub mod queue_tools;
pub mod seats;
pub mod signals;
pub mod supervise;
pub mod trial;

use std::path::Path;

use haraka_shared::config::{Config, ConfigDir};
use haraka_worker::{Checked, Inspection, Store, WorkerSetup};

/// The worker's side as the master sees it. Tests put a scripted worker in its place.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSide {
    /// Reads what may be root's, in the worker's process before it becomes somebody else.
    pub equip: fn(&mut WorkerSetup),
    /// Serves; returns when the worker is done.
    pub run: fn(WorkerSetup) -> Result<(), String>,
    /// Whether plugins resolve, with what is wrong; leaves no thread and no state behind, as the master forks later.
    /// Fills the store with the scripts that it compiles.
    pub check: fn(&Config, &Path, Option<&Store>) -> Result<Checked, String>,
    /// Runs the hook `init_master`, in a process of its own.
    pub init_master: fn(&Config, &Path) -> Result<(), String>,
    /// All that is wrong with the plugins, for `--check`; leaves as little behind.
    pub inspect: fn(&ConfigDir) -> Inspection,
    /// The run order for `-o`.
    pub hook_order: fn(&Config, &Path) -> Result<String, String>,
}

impl WorkerSide {
    /// The real worker.
    pub const REAL: WorkerSide = WorkerSide {
        equip: haraka_worker::equip,
        run: |setup| haraka_worker::run(setup).map_err(|e| e.to_string()),
        check: |config, dir, store| {
            haraka_worker::check(config, dir, store).map_err(|e| e.to_string())
        },
        init_master: |config, dir| {
            haraka_worker::init_master(config, dir).map_err(|e| e.to_string())
        },
        inspect: haraka_worker::inspect,
        hook_order: |config, dir| haraka_worker::hook_order(config, dir).map_err(|e| e.to_string()),
    };
}
