//! A Postfix of a test's own: its configuration, queue and log in a directory that goes with it. It
//! takes mail for far.test over TLS and throws it away, unless a test says where it goes.

// Each test program uses its own part of it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::pki::Identity;
use crate::harness::{DEADLINE, poll_until, port, skip};

/// A running Postfix; it is stopped when dropped.
pub struct Postfix {
    dir: PathBuf,
    port: u16,
}

impl Postfix {
    /// Starts one that shows this certificate; `None`, with a word about it, where there is none or
    /// where we are not root, which its master wants to be.
    pub fn start(identity: &Identity) -> Option<Postfix> {
        Self::start_with(identity, "")
    }

    /// The same with more lines of main.cf, of which a later one overrides an earlier one.
    pub fn start_with(identity: &Identity, more: &str) -> Option<Postfix> {
        let installed = Path::new("/usr/sbin/postfix").exists();
        if !installed || !nix::unistd::geteuid().is_root() {
            skip("needs Postfix, and root to start it");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("haraka-postfix-{}-{unique}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&dir);
        for name in ["etc", "spool", "data"] {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
        let port = port::reserve().port();
        let postfix = Postfix { dir, port };
        postfix.write("etc/cert.pem", &identity.pem());
        postfix.write("etc/master.cf", &master_cf(port));
        postfix.write("etc/main.cf", &(main_cf(&postfix.dir) + more));
        let mut chown = Command::new("chown");
        chown.arg("postfix").arg(postfix.dir.join("data"));
        chown.status().unwrap();
        if !postfix.command("start") {
            skip("this Postfix does not start in a directory of its own");
            return None;
        }
        let up = poll_until(DEADLINE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        assert!(up.is_some(), "{}", postfix.log());
        Some(postfix)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("maillog")).unwrap_or_default()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).unwrap();
    }

    fn command(&self, what: &str) -> bool {
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(self.dir.join("etc")).arg(what);
        let done = command.output().unwrap();
        done.status.success()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.command("stop");
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn main_cf(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {dir}/spool\n\
         data_directory = {dir}/data\n\
         maillog_file = {dir}/maillog\n\
         maillog_file_prefixes = {dir}\n\
         myhostname = localhost\n\
         inet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\n\
         mynetworks = 127.0.0.0/8\n\
         mydestination =\n\
         local_recipient_maps =\n\
         alias_maps =\n\
         alias_database =\n\
         relay_domains = far.test\n\
         default_transport = discard\n\
         relay_transport = discard\n\
         smtpd_tls_chain_files = {dir}/etc/cert.pem\n\
         smtpd_tls_security_level = may\n\
         smtpd_tls_loglevel = 1\n\
         smtpd_authorized_xclient_hosts = 127.0.0.0/8\n"
    )
}

fn master_cf(port: u16) -> String {
    format!(
        "127.0.0.1:{port} inet n - n - - smtpd\n\
         pickup unix n - n 60 1 pickup\n\
         cleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\n\
         tlsmgr unix - - n 1000? 1 tlsmgr\n\
         rewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\n\
         verify unix - - n - 1 verify\n\
         flush unix n - n 1000? 0 flush\n\
         proxymap unix - - n - - proxymap\n\
         discard unix - - n - - discard\n\
         smtp unix - - n - - smtp\n\
         error unix - - n - - error\n\
         retry unix - - n - - error\n\
         anvil unix - - n - 1 anvil\n\
         scache unix - - n - 1 scache\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    )
}
