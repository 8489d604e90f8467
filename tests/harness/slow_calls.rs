//! System calls of a running process that take their time, so that what happens meanwhile can be tested.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use super::skip;

/// Calls of these names are delayed, in all threads of a process and in those that it forks, until this is
/// dropped.
pub struct SlowCalls {
    tracer: Child,
    /// It would end when it finds nobody to tell of another process.
    _words: BufReader<ChildStderr>,
}

impl SlowCalls {
    /// `calls` has names with commas between. `None` if `strace` is not there.
    pub fn of(pid: i32, calls: &str, delay: Duration) -> Option<SlowCalls> {
        Self::with(pid, calls, &format!("delay_enter={}", delay.as_micros()))
    }

    /// They fail with this error, such as `EIO`, instead.
    pub fn failing(pid: i32, calls: &str, error: &str) -> Option<SlowCalls> {
        Self::with(pid, calls, &format!("error={error}"))
    }

    fn with(pid: i32, calls: &str, what: &str) -> Option<SlowCalls> {
        let tracer = Command::new("strace")
            .args(["-f", "-o", "/dev/null"])
            .args(["-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:{what}")])
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut tracer) = tracer else {
            skip("strace is not installed: no slow system calls");
            return None;
        };
        let mut said = String::new();
        let mut words = BufReader::new(tracer.stderr.take().unwrap());
        words.read_line(&mut said).unwrap();
        assert!(said.contains("attached"), "{said}");
        Some(SlowCalls {
            tracer,
            _words: words,
        })
    }
}

impl Drop for SlowCalls {
    fn drop(&mut self) {
        // One that is asked to end waits for calls of processes that were killed meanwhile.
        let _ = self.tracer.kill();
        let _ = self.tracer.wait();
    }
}
