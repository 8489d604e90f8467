//! A back end that follows a script, in place of a connection to one.
//!
//! Lines of a script: `C: text` awaits exactly this line, `S: text` says this one; `C# hex` and
//! `S# hex` the same for octets; `TLS name trust` awaits a handshake; `LATE` lets a time limit pass;
//! `X` closes, as does the end of the script.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::ready;
use std::time::Duration;

use haraka_shared::dial::{DialError, Dialogue, Trust};
use haraka_shared::plugin::LocalFuture;

/// The steps that are left.
pub struct Script(VecDeque<String>);

impl Script {
    pub fn new(text: &str) -> Script {
        let lines = text.lines().map(|l| l.trim_start().to_owned());
        Script(lines.filter(|l| !l.is_empty()).collect())
    }

    fn expect(&mut self, found: &str) {
        let wanted = self.0.pop_front();
        let wanted = wanted.unwrap_or_else(|| panic!("nothing is awaited, but {found:?} came"));
        assert_eq!(found, wanted);
    }

    /// What is said next with this mark; `None` at the end.
    fn said(&mut self, mark: &str) -> Result<Option<String>, DialError> {
        match self.0.pop_front() {
            None => Ok(None),
            Some(step) if step == "X" => Ok(None),
            Some(step) if step == "LATE" => Err(DialError::Timeout("reading")),
            Some(step) => match step.strip_prefix(mark) {
                Some(text) => Ok(Some(text.trim_start().to_owned())),
                None => panic!("the plugin listens, but {step:?} is awaited"),
            },
        }
    }
}

fn octets(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap())
        .collect()
}

fn done<'a, T: 'a>(value: T) -> LocalFuture<'a, T> {
    Box::pin(ready(value))
}

impl Dialogue for Script {
    fn limit(&mut self, step: Duration) {
        assert!(!step.is_zero());
    }

    fn write_all<'a>(&'a mut self, written: &'a [u8]) -> LocalFuture<'a, Result<(), DialError>> {
        if self.0.front().is_some_and(|s| s.starts_with("C#")) {
            let hex: String = written.iter().map(|o| format!("{o:02x}")).collect();
            self.expect(&format!("C# {hex}"));
            return done(Ok(()));
        }
        let text = String::from_utf8(written.to_vec()).unwrap();
        for line in text.split(['\r', '\n']).filter(|l| !l.is_empty()) {
            self.expect(&format!("C: {line}"));
        }
        done(Ok(()))
    }

    fn read_line(&mut self, _: usize) -> LocalFuture<'_, Result<Option<Vec<u8>>, DialError>> {
        done(self.said("S:").map(|line| line.map(String::into_bytes)))
    }

    fn read_some(&mut self, _: usize) -> LocalFuture<'_, Result<Vec<u8>, DialError>> {
        let said = self.said("S#");
        done(said.map(|hex| hex.map(|hex| octets(&hex)).unwrap_or_default()))
    }

    fn has_unread(&self) -> bool {
        false
    }

    fn start_tls<'a>(
        &'a mut self,
        name: &'a str,
        trust: Trust,
    ) -> LocalFuture<'a, Result<(), DialError>> {
        let shown: &dyn Debug = &trust;
        self.expect(&format!("TLS {name} {shown:?}"));
        done(Ok(()))
    }

    fn finish(&mut self) -> Result<(), DialError> {
        Ok(())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "never happened: {:?}", self.0);
        }
    }
}
