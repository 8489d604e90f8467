//! `javascript.ini`: what plugins in JavaScript may take of a worker. Ours; Haraka has no such limits.

use std::time::Duration;

use super::dir::ConfigDir;
use super::error::Problems;
use super::kinds::{Count, Seconds};
use super::reader::Reader;
use super::row::{Row, settings};

settings! {
    /// What scripts may take.
    JavaScriptIni, JAVASCRIPT_INI = "javascript.ini";
    sections {
        "limits" => "Of the scripts of one worker together.",
    }
    gone {}
    rows {
        /// MiB of memory; over it a script gets an exception.
        memory: u32 = Row::new("limits", "memory", "256").ours(), Count::<u32>::new(16, 65_536);
        /// Processor time until nothing is left to do. A script over it is stopped and its hook is a
        /// refusal for now; while one computes, nobody else of the worker is served.
        time: Duration = Row::new("limits", "time", "2").ours(), Seconds { min: 1, max: 50 };
        /// The same while plugins are loaded.
        load_time: Duration = Row::new("limits", "load_time", "30").ours(),
            Seconds { min: 1, max: 50 };
        /// MiB that one call may take in, such as a file or a message that is read as a whole.
        read: u32 = Row::new("limits", "read", "64").ours(), Count::<u32>::new(1, 4096);
    }
    derived {}
}

impl JavaScriptIni {
    /// Reads the file; a missing one means defaults.
    pub fn load(dir: &ConfigDir, problems: &mut Problems) -> Option<JavaScriptIni> {
        JavaScriptIni::read(&mut Reader::open(dir, &JAVASCRIPT_INI, problems)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::TestDir;

    fn load(text: &str) -> Option<JavaScriptIni> {
        let t = TestDir::new();
        t.write("javascript.ini", text);
        JavaScriptIni::load(t.dir(), &mut Problems::default())
    }

    #[test]
    fn limits_of_scripts_have_defaults_and_bounds() {
        let ini = load("").unwrap();
        assert_eq!((ini.memory, ini.read), (256, 64));
        assert_eq!((ini.time.as_secs(), ini.load_time.as_secs()), (2, 30));
        let ini = load("[limits]\nmemory=32\ntime=1.5\n").unwrap();
        assert_eq!((ini.memory, ini.time), (32, Duration::from_millis(1500)));
        assert!(load("[limits]\nmemory=1\n").is_none());
        // The watchdog ends the worker after a minute.
        assert!(load("[limits]\ntime=60\n").is_none());
    }
}
