//! A throw-away install directory: `config/`, `queue/`, `plugins/` and a `tmp/` that the server gets as
//! `TMPDIR`, so that what `queue/test` stores is found again. Any Haraka can be started on it.
//! Removed on drop, kept and named when the test fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// An install directory that belongs to one test.
pub struct Install {
    dir: PathBuf,
}

impl Install {
    /// A directory with the default configuration: one worker on a free port of 127.0.0.1, recipients of
    /// `here.test` accepted, messages stored by `queue/test`.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("haraka-test-{}-{unique}", std::process::id()));
        // A directory left by an earlier, killed run that had the same process id.
        let _ = fs::remove_dir_all(&dir);
        for folder in ["config", "queue", "plugins", "tmp"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        Self { dir }
            .config("smtp.ini", "listen=127.0.0.1:0\nnodes=1\n")
            .config("connection.ini", CONNECTION_INI)
            .config("loglevel", "info\n")
            .config("log.ini", "[main]\nlevel=info\n")
            .config("me", "mx.test\n")
            .config("host_list", "here.test\n")
            .plugins(&["rcpt_to.in_host_list", "queue/test"])
    }

    /// Writes (or replaces) `config/NAME`.
    pub fn config(self, name: &str, text: &str) -> Self {
        self.file(&format!("config/{name}"), text)
    }

    /// Changes one setting of an ini file and keeps the rest; `main` is also the part before any section.
    pub fn set(self, name: &str, section: &str, key: &str, value: &str) -> Self {
        let path = self.dir.join("config").join(name);
        let old = fs::read_to_string(path).unwrap_or_default();
        self.config(name, &with_setting(&old, section, key, value))
    }

    /// Sets the list of plugins, in run order.
    pub fn plugins(self, names: &[&str]) -> Self {
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        self.config("plugins", &text)
    }

    /// Writes (or replaces) any file below the install directory.
    pub fn file(self, path: &str, text: &str) -> Self {
        self.write(path, text.as_bytes());
        self
    }

    /// As [`Install::file`], for a directory in use: a test changes a setting under a running server.
    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The addresses in the `listen` setting as written, without the paths of Unix sockets: one ready
    /// line is awaited for each.
    pub fn listen(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("config/smtp.ini")).unwrap_or_default();
        let value = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .find_map(|(key, value)| (key.trim() == "listen").then_some(value))
            .unwrap_or("[::0]:25");
        value
            .split([',', ';'])
            .map(|one| one.trim().to_owned())
            .filter(|one| !one.starts_with('/'))
            .collect()
    }

    /// The messages that `queue/test` stored, oldest first.
    pub fn stored(&self) -> Vec<Vec<u8>> {
        let mut found: Vec<_> = fs::read_dir(self.dir.join("tmp"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with("mail_") && name.ends_with(".eml")
            })
            .map(|entry| (entry.metadata().unwrap().modified().unwrap(), entry.path()))
            .collect();
        found.sort();
        found
            .into_iter()
            .map(|(_, path)| fs::read(path).unwrap())
            .collect()
    }

    /// Names of the files in the outbound queue, sorted; sub-directories are left out.
    pub fn queue_files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir.join("queue"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Install {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("install directory kept: {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn with_setting(text: &str, section: &str, key: &str, value: &str) -> String {
    let header = format!("[{section}]");
    let setting = format!("{key}={value}\n");
    let mut out = String::new();
    let mut inside = section == "main" && !text.lines().any(|line| line == header);
    let mut done = inside;
    if inside {
        out.push_str(&setting);
    }
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == header;
        }
        let is_old = inside && line.split('=').next() == Some(key);
        if !is_old {
            out.push_str(line);
            out.push('\n');
        }
        if inside && !done {
            out.push_str(&setting);
            done = true;
        }
    }
    if !done {
        out.push_str(&format!("{header}\n{setting}"));
    }
    out
}

/// Haraka 3.3 dies on a connection.ini that lacks one of these sections, so all are spelled out.
pub const CONNECTION_INI: &str = "[main]\n\
[haproxy]\n\
[headers]\nmax_lines=1000\nmax_received=100\n\
[max]\nbytes=26214400\nmime_parts=1000\nline_length=512\ndata_line_length=992\n\
[message]\nhelo=Haraka is at your service.\nclose=closing connection. Have a jolly good day.\n\
[uuid]\nbanner_chars=6\ndeny_chars=0\n";
