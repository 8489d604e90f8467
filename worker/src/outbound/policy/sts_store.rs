//! MTA-STS policies on disk, a file for each domain, shared by the workers (RFC 8461 §3.3).
//!
//! A policy that was seen once protects from whoever later suppresses it, so it has to outlive a
//! restart. Files are replaced whole; one that is damaged counts as none. All functions block: they
//! run on the offload pool. Must never let a domain choose a path.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sts_text::{MAX_POLICY, StsPolicy};

/// A policy with what is known of its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The id under which it was announced.
    pub id: String,
    /// When it was fetched, in seconds since 1970.
    pub fetched: u64,
    /// What it says.
    pub policy: StsPolicy,
}

impl Kept {
    /// When it ends, in seconds since 1970. A policy of a few seconds is kept for five minutes, as
    /// it could not be fetched more often (RFC 8461 §3.3).
    pub fn expires(&self) -> u64 {
        let age = self.policy.max_age.max(SHORTEST);
        self.fetched.saturating_add(age.as_secs())
    }

    /// The file: a line about the origin, then the policy.
    fn to_text(&self) -> String {
        format!("{} {}\n{}", self.fetched, self.id, self.policy)
    }

    fn parse(text: &str) -> Option<Kept> {
        let (origin, policy) = text.split_once('\n')?;
        let (fetched, id) = origin.split_once(' ')?;
        Some(Kept {
            id: id.to_owned(),
            fetched: fetched.parse().ok()?,
            policy: StsPolicy::parse(policy.as_bytes()).ok()?,
        })
    }
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

impl Store {
    /// The store in this directory, which need not exist yet.
    pub fn at(dir: PathBuf) -> Store {
        Store(dir)
    }

    /// The policy of a domain, unless it has expired by now, in seconds since 1970.
    pub fn read(&self, domain: &str, now: u64) -> Option<Kept> {
        let kept = read(&self.0.join(file_name(domain)?))?;
        // One from the future was written under a wrong clock, and would be kept for too long.
        (kept.fetched <= now.saturating_add(86_400) && now < kept.expires()).then_some(kept)
    }

    /// Keeps a policy in the place of an earlier one.
    ///
    /// # Errors
    /// Any of the file system; the earlier one is still there then. `StorageFull` too once there are
    /// more policies than any server meets.
    pub fn write(&self, domain: &str, kept: &Kept, now: u64) -> io::Result<()> {
        let name = file_name(domain).ok_or(io::ErrorKind::InvalidInput)?;
        create_dir(&self.0)?;
        let path = self.0.join(&name);
        if !path.exists() && self.sweep(now)? >= MOST {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("more than {MOST} policies in {}", self.0.display()),
            ));
        }
        // Workers may write the same policy at the same time, each under a name of its own.
        let scratch = self.0.join(format!(".{name}.{}", std::process::id()));
        let written = replace(&scratch, &path, kept.to_text().as_bytes());
        if written.is_err() {
            drop(fs::remove_file(&scratch));
        }
        written
    }

    /// Forgets the policy of a domain.
    pub fn remove(&self, domain: &str) {
        if let Some(name) = file_name(domain) {
            // What is not there need not go.
            drop(fs::remove_file(self.0.join(name)));
        }
    }

    /// Counts the policies; if they are many, removes those that have expired first.
    fn sweep(&self, now: u64) -> io::Result<usize> {
        let count = fs::read_dir(&self.0)?.count();
        if count < MOST / 2 {
            return Ok(count);
        }
        let mut left = 0;
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            match read(&path) {
                Some(kept) if now < kept.expires() => left += 1,
                _ => fs::remove_file(&path).or_else(|e| match e.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(e),
                })?,
            }
        }
        Ok(left)
    }
}

/// Makes a directory of the worker's own, and the one that it is in.
pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn read(path: &Path) -> Option<Kept> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    let limit = u64::try_from(MAX_POLICY).ok()?.saturating_mul(2);
    file.take(limit).read_to_string(&mut text).ok()?;
    Kept::parse(&text)
}

fn replace(scratch: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(scratch)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(scratch, path)
}

/// The name of a domain's file: the domain itself, which can hold nothing that leads elsewhere.
fn file_name(domain: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let fits = !domain.is_empty() && domain.len() <= 230 && !domain.starts_with('.');
    (fits && domain.bytes().all(plain)).then(|| domain.to_owned())
}

/// Policies on disk; each is a file of one block.
const MOST: usize = 20_000;
/// How long a policy is kept at least.
const SHORTEST: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (Store, PathBuf) {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("haraka-sts-{}-{n}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        (Store::at(dir.join("mta-sts")), dir)
    }

    fn kept(max_age: u64) -> Kept {
        let text = format!("version: STSv1\nmode: enforce\nmx: *.a.test\nmax_age: {max_age}\n");
        Kept {
            id: "2026".into(),
            fetched: 1000,
            policy: StsPolicy::parse(text.as_bytes()).unwrap(),
        }
    }

    #[test]
    fn policy_is_read_back_until_it_expires() {
        let (store, dir) = store();
        assert_eq!(store.read("a.test", 1000), None);
        store.write("a.test", &kept(600), 1000).unwrap();
        assert_eq!(store.read("a.test", 1599), Some(kept(600)));
        assert_eq!(store.read("a.test", 1600), None);
        store.write("a.test", &kept(0), 1000).unwrap();
        assert_eq!(store.read("a.test", 1299), Some(kept(0)));
        assert_eq!(store.read("a.test", 1300), None);
        store.remove("a.test");
        assert_eq!(store.read("a.test", 1000), None);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn damaged_file_counts_as_none() {
        let (store, dir) = store();
        store.write("a.test", &kept(600), 1000).unwrap();
        let path = dir.join("mta-sts/a.test");
        let whole = fs::read_to_string(&path).unwrap();
        for cut in 0..whole.len() - 2 {
            fs::write(&path, &whole.as_bytes()[..cut]).unwrap();
            let read = store.read("a.test", 1000);
            // The last digits of max_age can be missing without anyone noticing; never its hosts.
            assert!(
                read.is_none() || cut > whole.find("max_age: ").unwrap() + 9,
                "{cut}"
            );
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn only_names_of_domains_become_files() {
        let (store, dir) = store();
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            ".hidden",
            "A.test",
            "a\0b",
            &"a".repeat(231),
        ] {
            assert!(store.write(name, &kept(600), 1000).is_err(), "{name:?}");
            assert_eq!(store.read(name, 1000), None);
        }
        assert!(!dir.join("x").exists());
    }
}
