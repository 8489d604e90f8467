//! Queue files that kill workers: a file that was in hand at two deaths is set aside.
//!
//! What was in hand comes from the page of `haraka_shared::flight`. A file is known by the parts of
//! its name that stay when it is rescheduled.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// Deaths at which a file is set aside: once may be chance.
const DEATHS: u8 = 2;

/// Files that are remembered; beyond that those remembered are forgotten, as so many deaths have
/// another cause.
const MOST_FILES: usize = 1024;

/// Which files were in hand at earlier deaths.
#[derive(Debug, Default)]
pub struct Suspects {
    deaths: HashMap<String, u8>,
}

impl Suspects {
    /// A worker died with this file in hand. True if the file is to be set aside.
    pub fn died_with(&mut self, file: &str) -> bool {
        if self.deaths.len() >= MOST_FILES {
            self.deaths.clear();
        }
        let key = lasting_part(file);
        let deaths = self.deaths.entry(key.clone()).or_default();
        *deaths += 1;
        if *deaths < DEATHS {
            return false;
        }
        self.deaths.remove(&key);
        true
    }
}

/// Renames the file to `error.NAME`, as Haraka does with files it cannot read. Gives the new path.
pub fn set_aside(queue_dir: &Path, file: &str) -> io::Result<PathBuf> {
    let to = queue_dir.join(format!("error.{file}"));
    std::fs::rename(queue_dir.join(file), &to)?;
    Ok(to)
}

/// A name is `arrival_next_attempts_pid_uniq_counter_host`: next attempt, number of attempts and
/// pid change over a file's life, the others do not.
fn lasting_part(file: &str) -> String {
    let parts: Vec<&str> = file.splitn(7, '_').collect();
    match parts.as_slice() {
        [arrival, _, _, _, uniq, counter, host] => format!("{arrival}_{uniq}_{counter}_{host}"),
        _ => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_death_counts_also_after_a_reschedule() {
        let mut suspects = Suspects::default();
        assert!(!suspects.died_with("1700000000000_1700000000000_0_11_aB3dEf_1_mx.example"));
        assert!(!suspects.died_with("1700000000000_1700000000000_0_11_aB3dEf_2_mx.example"));
        assert!(suspects.died_with("1700000000000_1700000064000_1_12_aB3dEf_1_mx.example"));
        // Set aside and put back by hand, it has a clean record.
        assert!(!suspects.died_with("1700000000000_1700000064000_1_12_aB3dEf_1_mx.example"));
    }

    #[test]
    fn memory_stays_bounded() {
        let mut suspects = Suspects::default();
        for n in 0..10 * MOST_FILES {
            suspects.died_with(&format!("file{n}"));
        }
        assert!(suspects.deaths.len() <= MOST_FILES);
    }
}
