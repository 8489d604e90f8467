//! What scripts may take. Every limit of the engine is here, with its reason.

use std::time::Duration;

use haraka_shared::config::{ConfigDir, JavaScriptIni, Problems};

/// Limits of one worker's engine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of heap. The address lists and suffix tables of the big plugins take some 30 MB; a
    /// script that asks for more than this gets an exception and the worker keeps its memory.
    pub memory: usize,
    /// Bytes of heap above which, when nothing more can be collected, the worker asks to be replaced:
    /// what plugins leaked comes back in no other way.
    pub full: usize,
    /// For so long: a large message on its way is no leak.
    pub full_for: Duration,
    /// Bytes of stack. The worker's thread has 8 MB; deep recursion ends in an exception well before.
    pub stack: usize,
    /// Processor time from entering the engine until it has nothing to do. While a script computes,
    /// nobody else is served, and no session should notice.
    pub turn: Duration,
    /// The same while plugins are loaded: nothing is served yet, and big tables are built.
    pub load: Duration,
    /// Further processor time for what is left after a script was stopped.
    pub rest: Duration,
    /// Time after which a script that cannot be stopped costs its worker, however little it computes;
    /// see `watchdog`.
    pub hang: Duration,
    /// The same in processor time: how many times what a script may take. Long enough for one step that
    /// takes long, such as reading a large file of JSON, after which the script is stopped.
    pub patience: u32,
    /// Promise jobs that run before the worker does something else; a chain without end then goes on
    /// in later turns, until its processor time is used up.
    pub jobs: u32,
    /// Octets that one call may take in, such as a file that is read as a whole.
    pub file: u64,
}

impl Limits {
    /// As `javascript.ini` has them. What is wrong with that file is told where all settings are read.
    pub(super) fn configured(dir: &ConfigDir) -> Limits {
        let usual = Limits::default();
        let Some(ini) = JavaScriptIni::load(dir, &mut Problems::default()) else {
            return usual;
        };
        Limits {
            memory: (ini.memory as usize) << 20,
            full: Limits::full_of((ini.memory as usize) << 20),
            turn: ini.time,
            load: ini.load_time,
            file: u64::from(ini.read) << 20,
            ..usual
        }
    }

    fn full_of(memory: usize) -> usize {
        memory / 10 * 9
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory: 256 << 20,
            full: Limits::full_of(256 << 20),
            full_for: Duration::from_secs(5),
            stack: 1 << 20,
            turn: Duration::from_secs(2),
            load: Duration::from_secs(30),
            rest: Duration::from_millis(100),
            hang: Duration::from_secs(60),
            patience: 3,
            jobs: 5_000,
            file: 64 << 20,
        }
    }
}
