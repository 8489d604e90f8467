//! `net-utils.ini`: DNS (KEY-58).

use std::net::SocketAddr;
use std::time::Duration;

use super::dir::ConfigDir;
use super::error::Problems;
use super::kinds::{Count, Milliseconds, Servers};
use super::reader::Reader;
use super::row::{Row, settings};

settings! {
    /// How names are looked up.
    DnsIni, NET_UTILS_INI = "net-utils.ini";
    sections {
        "dns" => "",
    }
    gone {}
    rows {
        /// How long to wait for an answer, at each try.
        timeout: Duration = Row::new("dns", "timeout", "25000").zero_is_default(),
            Milliseconds { min: 1, max: 600_000 };
        /// How often to ask before giving up.
        tries: u32 = Row::new("dns", "tries", "1").zero_is_default(), Count::<u32>::new(1, 20);
        /// DNS servers to ask; those of the system if not set.
        servers: Vec<SocketAddr> = Row::new("dns", "servers", "")
            .example("192.0.2.53, [2001:db8::53]:5353").ours(), Servers { default_port: 53 };
    }
    derived {}
}

impl DnsIni {
    /// Reads the file; a missing one means defaults.
    pub fn load(dir: &ConfigDir, problems: &mut Problems) -> Option<DnsIni> {
        DnsIni::read(&mut Reader::open(dir, &NET_UTILS_INI, problems)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::TestDir;

    fn load(text: &str) -> (Option<DnsIni>, Problems) {
        let t = TestDir::new();
        t.write("net-utils.ini", text);
        let mut problems = Problems::default();
        (DnsIni::load(t.dir(), &mut problems), problems)
    }

    #[test]
    fn dns_settings_have_defaults_and_take_servers() {
        // covers KEY-58
        let ini = load("").0.unwrap();
        assert_eq!((ini.timeout, ini.tries), (Duration::from_secs(25), 1));
        assert!(ini.servers.is_empty());
        let ini = load("[dns]\ntimeout=500\ntries=3\nservers=127.0.0.1:5353, ::1")
            .0
            .unwrap();
        assert_eq!((ini.timeout, ini.tries), (Duration::from_millis(500), 3));
        let servers: Vec<_> = ini.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.1:5353", "[::1]:53"]);
    }

    #[test]
    fn dns_server_by_name_is_refused() {
        let (ini, problems) = load("[dns]\nservers = ns.example\n");
        assert!(ini.is_none());
        assert_eq!(
            problems.errors[0].to_string(),
            "net-utils.ini:2: [dns] servers: \"ns.example\" is not an IP address and port"
        );
    }
}
