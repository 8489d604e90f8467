//! `smtp.ini`: listeners, processes, privileges (KEY-01 to KEY-12).

use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::dir::ConfigDir;
use super::error::Problems;
use super::kinds::{Bool, Endpoints, FilePath, OptionalIp, OptionalPort, OptionalText, Seconds};
use super::listen::{Endpoint, ListenAddr, parse_endpoint};
use super::reader::Reader;
use super::row::{Describe, Kind, Row, settings};

/// Port of SMTP.
const SMTP_PORT: u16 = 25;

/// Worker processes beyond this number only cost memory; a larger one is a typing error.
const MOST_NODES: usize = 1024;

settings! {
    /// Where the server listens, how many processes serve, and under which user.
    SmtpIni, SMTP_INI = "smtp.ini";
    sections {
        "main" => "",
    }
    gone {
        "main", "spool_dir" => "set spool_dir in connection.ini",
        "main", "spool_after" => "set spool_after in connection.ini",
        "main", "strict_rfc1869" => "set strict_rfc1869 in connection.ini",
        "main", "smtputf8" => "set smtputf8 in connection.ini",
        "headers", "*" => "set section [headers] in connection.ini",
    }
    rows {
        /// Addresses to listen on. A number alone is a port on all IPv6 and IPv4 addresses; a name
        /// is looked up once, at start. Without a setting, all IPv4 addresses are used on a
        /// machine without IPv6.
        listen_items: Vec<Endpoint> = Row::new("main", "listen", "[::0]:25")
            .example("127.0.0.1:2525, [::1]:2525, /run/haraka.sock:660"),
            Endpoints { default_port: SMTP_PORT };
        /// Port to listen on besides those of `listen`. Kept for old installations; use `listen`.
        port: Option<u16> = Row::new("main", "port", "0").example("2526"), OptionalPort;
        /// Address that belongs to `port`; all addresses if not set. Use `listen`.
        listen_host: Option<String> = Row::new("main", "listen_host", "").example("127.0.0.1"),
            OptionalText;
        /// Port whose listeners speak TLS from the first byte.
        smtps_port: Option<u16> = Row::new("main", "smtps_port", "465"), OptionalPort;
        /// The server's address as others see it, when it is behind address translation.
        public_ip: Option<IpAddr> = Row::new("main", "public_ip", "").example("192.0.2.1"),
            OptionalIp;
        /// How long a client may be silent before its connection is closed.
        inactivity_timeout: Duration = Row::new("main", "inactivity_timeout", "300").live()
            .zero_is_default(), Seconds { min: 1, max: 86400 };
        /// Worker processes: a number, or `cpus` for one per processor. 0 runs everything in one
        /// process.
        nodes: Nodes = Row::new("main", "nodes", "1").shipped("cpus"), NodesKind;
        /// User, by name or number, that serves once the ports are bound.
        user: Option<String> = Row::new("main", "user", "").example("smtp"), OptionalText;
        /// Group, by name or number, that serves once the ports are bound.
        group: Option<String> = Row::new("main", "group", "").example("smtp"), OptionalText;
        /// Start without the plugins that cannot be loaded instead of not at all.
        ignore_bad_plugins: bool = Row::new("main", "ignore_bad_plugins", "false"), Bool;
        /// Run in the background.
        daemonize: bool = Row::new("main", "daemonize", "false"), Bool;
        /// Where a server in the background writes its log.
        daemon_log_file: PathBuf = Row::new("main", "daemon_log_file", "/var/log/haraka.log"),
            FilePath;
        /// Where a server in the background writes its process number.
        daemon_pid_file: PathBuf = Row::new("main", "daemon_pid_file", "/var/run/haraka.pid"),
            FilePath;
        /// Let open connections and deliveries end before the server stops.
        graceful_shutdown: bool = Row::new("main", "graceful_shutdown", "false"), Bool;
        /// How long a graceful stop may take before what is left is cut.
        force_shutdown_timeout: Duration = Row::new("main", "force_shutdown_timeout", "30"),
            Seconds { min: 0, max: 86400 };
    }
    derived {
        /// Where to listen: `listen_host:port` if `port` is set, then `listen`, each once. Never
        /// empty.
        listen: Vec<ListenAddr> = Vec::new();
        /// The first address is every IPv6 address because nothing else was asked for: where the
        /// system has no IPv6, every IPv4 address takes its place (PA-38).
        listen_is_default: bool = false;
        /// `nodes` is not set; Haraka warns of that at start.
        nodes_unset: bool = false;
    }
}

impl SmtpIni {
    /// Reads the file; a missing one means defaults.
    pub fn load(dir: &ConfigDir, problems: &mut Problems) -> Option<SmtpIni> {
        let mut reader = Reader::open(dir, &SMTP_INI, problems)?;
        let mut this = SmtpIni::read(&mut reader)?;
        this.nodes_unset = reader.ini.get("main", "nodes").is_none();
        this.resolve_listeners(&mut reader)?;
        Some(this)
    }

    /// Takes what counts while the server runs from a newer reading.
    pub(super) fn adopt(&mut self, newer: &SmtpIni) {
        self.adopt_live(newer);
    }

    fn resolve_listeners(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let listen_is_set =
            reader.ini.text("main", "listen").is_some() && !self.listen_items.is_empty();
        let all = |port| ListenAddr::Tcp((Ipv6Addr::UNSPECIFIED, port).into());
        let mut listen = Vec::new();
        if let Some(port) = self.port {
            match &self.listen_host {
                None => {
                    self.listen_is_default = true;
                    listen.push(all(port));
                }
                Some(host) => match parse_endpoint(&format!("{host}:{port}"), port) {
                    Ok(item) => listen.push(look_up(&item, "listen_host", reader)?),
                    Err(why) => {
                        reader.fail("main", "listen_host", why);
                        return None;
                    }
                },
            }
        }
        if listen_is_set {
            for item in &self.listen_items {
                listen.push(look_up(item, "listen", reader)?);
            }
        } else if listen.is_empty() {
            self.listen_is_default = true;
            listen.push(all(SMTP_PORT));
        }
        for addr in listen {
            let any_port = matches!(&addr, ListenAddr::Tcp(a) if a.port() == 0);
            if self.listen.contains(&addr) && !any_port {
                reader.warn("main", "listen", format!("{addr} is there twice"));
            } else {
                self.listen.push(addr);
            }
        }
        Some(())
    }
}

/// The address of an endpoint. A name is asked of the system, as Haraka does when it binds.
fn look_up(item: &Endpoint, key: &str, reader: &mut Reader<'_>) -> Option<ListenAddr> {
    match item {
        Endpoint::Addr(addr) => Some(addr.clone()),
        Endpoint::Name(name, port) => {
            let found = (name.as_str(), *port).to_socket_addrs();
            let first = found.ok().and_then(|mut addrs| addrs.next());
            if first.is_none() {
                reader.fail("main", key, format!("\"{name}\" has no address"));
            }
            first.map(ListenAddr::Tcp)
        }
    }
}

/// How many processes serve (KEY-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// Everything in one process.
    One,
    /// This many workers under a master.
    Count(NonZeroUsize),
    /// One worker per processor, under a master.
    Cpus,
}

impl Nodes {
    /// Number of processes that serve.
    pub fn count(self) -> usize {
        match self {
            Nodes::One => 1,
            Nodes::Count(n) => n.get(),
            Nodes::Cpus => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }
}

struct NodesKind;

impl Describe for NodesKind {
    fn describe(&self) -> String {
        format!("number, 0 to {MOST_NODES}, or cpus")
    }
}

impl Kind for NodesKind {
    type Out = Nodes;
    fn parse(&self, text: &str) -> Result<Nodes, String> {
        if text.eq_ignore_ascii_case("cpus") {
            return Ok(Nodes::Cpus);
        }
        let number: usize = text
            .parse()
            .map_err(|_| format!("\"{text}\" is neither a number nor cpus"))?;
        if number > MOST_NODES {
            return Err(format!("{number} is not within 0 to {MOST_NODES}"));
        }
        Ok(NonZeroUsize::new(number).map_or(Nodes::One, Nodes::Count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::TestDir;

    fn load(text: &str) -> SmtpIni {
        let t = TestDir::new();
        t.write("smtp.ini", text);
        let mut problems = Problems::default();
        SmtpIni::load(t.dir(), &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
    }

    fn listen(ini: &SmtpIni) -> Vec<String> {
        ini.listen.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn empty_file_means_hararkas_defaults() {
        // covers KEY-01 KEY-03 KEY-05 KEY-06 KEY-07 KEY-09 KEY-10
        let ini = load("");
        assert_eq!(listen(&ini), ["[::0]:25"]);
        assert!(ini.listen_is_default && ini.nodes_unset);
        assert_eq!(ini.nodes.count(), 1);
        assert_ne!(ini.nodes, Nodes::One);
        assert_eq!(ini.smtps_port, Some(465));
        assert_eq!(ini.inactivity_timeout, Duration::from_secs(300));
        assert_eq!((ini.user, ini.group), (None, None));
        assert!(!ini.daemonize && !ini.graceful_shutdown && !ini.ignore_bad_plugins);
        assert_eq!(ini.force_shutdown_timeout, Duration::from_secs(30));
    }

    #[test]
    fn listeners_come_from_listen_and_from_the_old_keys() {
        // covers KEY-01 KEY-02
        let ini = load("listen = 127.0.0.1:2525; [::1]:2525, /run/h.sock:660, 127.0.0.1:2525");
        assert_eq!(
            listen(&ini),
            ["127.0.0.1:2525", "[::1]:2525", "/run/h.sock:660"]
        );
        assert!(!ini.listen_is_default);
        let ini = load("listen = 127.0.0.1:2525\nport = 26\nlisten_host = 127.0.0.2");
        assert_eq!(listen(&ini), ["127.0.0.2:26", "127.0.0.1:2525"]);
        assert!(!ini.listen_is_default);
        let ini = load("port = 26\nlisten_host = [::1]");
        assert_eq!(listen(&ini), ["[::1]:26"]);
        let ini = load("port = 26");
        assert_eq!(listen(&ini), ["[::0]:26"]);
        assert!(ini.listen_is_default);
        let ini = load("listen = ,");
        assert_eq!(listen(&ini), ["[::0]:25"]);
        let ini = load("listen = localhost:25");
        assert!(matches!(ini.listen[..], [ListenAddr::Tcp(a)] if a.ip().is_loopback()));
        // Two listeners on any free port are two listeners.
        let ini = load("listen = 127.0.0.1:0,127.0.0.1:0");
        assert_eq!(ini.listen.len(), 2);
    }

    #[test]
    fn nodes_are_a_number_or_one_per_processor() {
        // covers KEY-06
        assert_eq!(load("nodes = 0").nodes, Nodes::One);
        assert_eq!(load("nodes = 3").nodes.count(), 3);
        assert_eq!(load("nodes = CPUS").nodes, Nodes::Cpus);
        assert!(load("nodes = cpus").nodes.count() >= 1);
    }

    #[test]
    fn ignore_bad_plugins_understands_false() {
        // covers KEY-08; Haraka takes every text for yes (PB-60)
        assert!(!load("ignore_bad_plugins = false").ignore_bad_plugins);
        assert!(load("ignore_bad_plugins = 1").ignore_bad_plugins);
    }
}
