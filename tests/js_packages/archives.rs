//! The package attachment with archives, which bsdtar packs for the test and unpacks for the package.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::skip;
use crate::side::{Setup, same_as_haraka};

/// Where archives are made; it goes with the value.
struct Bench(PathBuf);

impl Bench {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("haraka-archives-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// A file to be packed.
    fn file(&self, name: &str, octets: &[u8]) -> &Self {
        std::fs::write(self.0.join(name), octets).unwrap();
        self
    }

    /// Packs files into an archive whose form goes by its name.
    fn pack(&self, archive: &str, options: &[&str], files: &[&str]) -> &Self {
        let done = Command::new("bsdtar")
            .current_dir(&self.0)
            .args(options)
            .args(["-a", "-cf", archive])
            .args(files)
            .status()
            .unwrap();
        assert!(done.success(), "{archive}");
        self
    }

    /// A message with this file attached, under this name.
    fn attached(&self, file: &str, name: &str) -> String {
        let encoded = base64(&self.0.join(file));
        format!(
            "From: Ann <ann@sender.test>\nTo: c@here.test\nSubject: {file}\nMIME-Version: 1.0\n\
             Content-Type: multipart/mixed; boundary=\"b1\"\n\n--b1\nContent-Type: text/plain\n\nhello\n\
             --b1\nContent-Type: application/octet-stream; name=\"{name}\"\n\
             Content-Disposition: attachment; filename=\"{name}\"\nContent-Transfer-Encoding: base64\n\n\
             {encoded}\n--b1--"
        )
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn base64(file: &Path) -> String {
    let output = Command::new("base64").arg(file).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// What each holds is seen from its name; `nested` is four archives deep.
fn archives() -> Bench {
    let bench = Bench::new();
    bench
        .file("a.txt", b"hello\n")
        .file("run.exe", b"MZ")
        .file("secret.doc", b"hello\n")
        .file("large.bin", &[7; 60_000])
        // The package looks at what it unpacked before the last of that is written.
        .file("huge.bin", &[7; 2_000_000])
        .file("garbage.zip", b"this is no archive")
        .file("empty.zip", b"");
    let many: Vec<String> = (0..9).map(|n| format!("{n}.txt")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for name in &many {
        bench.file(name, b"one of many\n");
    }
    bench
        .pack("fine.zip", &[], &["a.txt"])
        .pack("exe.zip", &[], &["a.txt", "run.exe"])
        .pack("exe.tar", &[], &["run.exe"])
        .pack("exe.tar.gz", &[], &["run.exe"])
        .pack("secret.zip", &[], &["secret.doc"])
        .pack("large.tar", &[], &["large.bin"])
        .pack("huge.tar", &[], &["huge.bin"])
        .pack("large.zip", &[], &["huge.tar"])
        .pack("many.zip", &[], &many)
        .pack("outer.zip", &[], &["a.txt", "exe.zip"])
        .pack("two.zip", &[], &["fine.zip"])
        .pack("three.zip", &[], &["two.zip"])
        .pack("nested.zip", &[], &["three.zip"])
        .pack("lost.zip", &[], &["garbage.zip"]);
    let locked = [
        "--options",
        "zip:encryption=traditional",
        "--passphrase",
        "x",
    ];
    bench
        .pack("locked.zip", &locked, &["a.txt"])
        .pack("locked_inside.zip", &locked, &["fine.zip"])
        .pack("locked_exe.zip", &locked, &["run.exe"]);
    bench
}

// covers PLG-03, TXN-05
#[test]
fn archives_are_searched_as_with_haraka() {
    if Command::new("bsdtar").arg("--version").output().is_err() {
        return skip("bsdtar is not installed");
    }
    let setup = Setup {
        plugins: &["attachment"],
        config: &[
            (
                "attachment.ini",
                "disallowed_extensions=exe,bat\n[archive]\nextensions=zip,tar,gz\nmax_depth=3\n\
                 max_total_bytes=50000\nmax_total_entries=8\n",
            ),
            ("attachment.archive.filename.regex", "secret\\.doc$\n"),
        ],
        volatile: &[],
    };
    let bench = archives();
    let files = [
        "fine.zip",
        "exe.zip",
        "exe.tar",
        "exe.tar.gz",
        "secret.zip",
        "outer.zip",
        "two.zip",
        "nested.zip",
        "large.tar",
        "large.zip",
        "many.zip",
        "lost.zip",
        "garbage.zip",
        "empty.zip",
        "locked.zip",
        "locked_inside.zip",
        "locked_exe.zip",
    ];
    let must = [
        "disallowed file extension (exe)",
        "unacceptable attachment (secret.zip/secret.doc)",
        "nested archives exceeding the maximum depth",
        "decompressed size exceeds",
        "entry count exceeds",
        "Error unpacking archive",
        "250 Message Queued",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        for file in files {
            side.from("20.0.0.1", |c| {
                let message = bench.attached(file, file);
                c.mail("x.test", "a@b.test", &["c@here.test"], &message);
                c.quit();
            });
        }
        // Two in one message, and one whose name is not that of an archive.
        side.from("20.0.0.1", |c| {
            let (one, two) = (
                bench.attached("fine.zip", "1.zip"),
                bench.attached("exe.zip", "2.zip"),
            );
            let (_, second) = two.split_once("\nhello\n").unwrap();
            let both = format!("{}\n{second}", one.strip_suffix("\n--b1--").unwrap());
            c.mail("x.test", "a@b.test", &["c@here.test"], &both);
            c.message(
                "a@b.test",
                &["c@here.test"],
                &bench.attached("exe.zip", "exe.dat"),
            );
            c.quit();
        });
    });
}
