//! How TLS is spoken with other servers (TLS-14, TLS-24): `[outbound]` of tls.ini, or the section
//! `[tls]` of a plugin's file, each over `[main]` of tls.ini.
//!
//! Values only; the files that are named here are read by the worker.

use std::fmt;
use std::net::IpAddr;

use super::ciphers::{Cipher, select};
use super::error::{At, ConfigError, Warning};
use super::ini::Ini;
use super::ip_range::IpRange;
use super::tls_ini::TlsIni;
use super::tls_kinds::{Curve, MinVersion, Version};

/// What is spoken, what is shown, and who is believed. Empty fields are not set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsClient {
    /// Files of private keys.
    pub key: Vec<String>,
    /// Files of certificates.
    pub cert: Vec<String>,
    /// Password of encrypted keys.
    pub passphrase: Option<String>,
    /// Files of authorities; empty for those of the system.
    pub ca: Vec<String>,
    /// Files of revoked certificates.
    pub crl: Vec<String>,
    /// Suites in order; `None` for all.
    pub ciphers: Option<Vec<Cipher>>,
    /// Lowest version.
    pub min_version: Option<MinVersion>,
    /// Groups in order; empty for all.
    pub curves: Vec<Curve>,
    /// The server's certificate must be one that can be trusted.
    pub reject_unauthorized: Option<bool>,
    /// Who is spoken to under TLS or not at all.
    pub force_tls_hosts: HostList,
    /// Who is spoken to in the clear.
    pub no_tls_hosts: HostList,
}

/// Without the password.
impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("key", &self.key)
            .field("cert", &self.cert)
            .field("ca", &self.ca)
            .field("reject_unauthorized", &self.reject_unauthorized)
            .finish_non_exhaustive()
    }
}

/// Keys of a plugin's section `[tls]`.
pub const TLS_CLIENT_KEYS: [&str; 13] = [
    "key",
    "cert",
    "passphrase",
    "ca",
    "ciphers",
    "minVersion",
    "rejectUnauthorized",
    "force_tls_hosts",
    "no_tls_hosts",
    // What a client has no use for.
    "requestCert",
    "honorCipherOrder",
    "dhparam",
    "ecdhCurve",
];

impl TlsClient {
    /// Reads a plugin's section. As in Haraka, `rejectUnauthorized` is off there unless it is set,
    /// whatever `[main]` says.
    ///
    /// # Errors
    /// A version that is none. One that is not spoken here is warned about.
    pub fn of_section(
        ini: &Ini,
        section: &str,
        warnings: &mut Vec<Warning>,
    ) -> Result<TlsClient, ConfigError> {
        let many = |key| -> Vec<String> {
            let values = ini.array(section, key).iter();
            values
                .map(|value| value.text.trim().to_owned())
                .filter(|text| !text.is_empty())
                .collect()
        };
        let mut told = |key: &str, why: String| {
            let line = ini.get(section, key).map_or(0, |value| value.line);
            let text = format!("[{section}] {key}: {why}");
            warnings.push(At::line(ini.file(), line).warn(text));
        };
        let ciphers = match ini.text(section, "ciphers").map(select) {
            None => None,
            Some(Ok(selection)) => {
                if !selection.ignored.is_empty() {
                    told(
                        "ciphers",
                        format!("not here: {}", selection.ignored.join(":")),
                    );
                }
                Some(selection.suites)
            }
            Some(Err(why)) => {
                told("ciphers", format!("{why}; all of ours are offered"));
                None
            }
        };
        let min_version = match ini.read(section, "minVersion", &Version) {
            Ok(version) => version,
            Err(e) => {
                told("minVersion", format!("{e}; TLSv1.2 applies"));
                Some(MinVersion::Tls12)
            }
        };
        Ok(TlsClient {
            key: many("key"),
            cert: many("cert"),
            passphrase: ini.text(section, "passphrase").map(str::to_owned),
            ca: many("ca"),
            crl: Vec::new(),
            ciphers,
            min_version,
            curves: Vec::new(),
            reject_unauthorized: Some(ini.bool(section, "rejectUnauthorized", false)),
            force_tls_hosts: HostList::new(&many("force_tls_hosts")),
            no_tls_hosts: HostList::new(&many("no_tls_hosts")),
        })
    }

    /// With what is not set as `[main]` has it. `no_tls_hosts` is not there: in `[main]` it is about
    /// clients. Neither is the certificate that the server shows by default, as Haraka shows it to
    /// other servers only where tls.ini names it.
    #[must_use]
    pub fn over(mut self, main: &TlsIni) -> TlsClient {
        if self.cert.is_empty() && self.key.is_empty() && main.names_its_certificate() {
            self.key.clone_from(&main.key);
            self.cert.clone_from(&main.cert);
        }
        if self.passphrase.is_none() {
            self.passphrase.clone_from(&main.passphrase);
        }
        if self.ca.is_empty() {
            self.ca.clone_from(&main.ca);
        }
        if self.crl.is_empty() {
            self.crl.clone_from(&main.crl);
        }
        if self.ciphers.is_none() {
            self.ciphers.clone_from(&main.ciphers);
        }
        if self.curves.is_empty() {
            self.curves.clone_from(&main.curves);
        }
        self.min_version.get_or_insert(main.min_version);
        self.reject_unauthorized
            .get_or_insert(main.reject_unauthorized);
        if self.force_tls_hosts.is_empty() {
            self.force_tls_hosts = HostList::new(&main.force_tls_hosts);
        }
        self
    }
}

impl TlsIni {
    /// What counts for deliveries to other servers: `[outbound]` over `[main]`.
    #[must_use]
    pub fn outbound(&self) -> TlsClient {
        let own = TlsClient {
            key: self.outbound_key.clone(),
            cert: self.outbound_cert.clone(),
            passphrase: self.outbound_passphrase.clone(),
            ca: self.outbound_ca.clone(),
            crl: Vec::new(),
            ciphers: self.outbound_ciphers.clone(),
            min_version: self.outbound_min_version,
            curves: self.outbound_curves.clone(),
            reject_unauthorized: self.outbound_reject_unauthorized,
            force_tls_hosts: HostList::new(&self.outbound_force_tls_hosts),
            no_tls_hosts: HostList::new(&self.outbound_no_tls_hosts),
        };
        own.over(self)
    }

    /// Whether tls.ini names another certificate than the one that counts without it.
    fn names_its_certificate(&self) -> bool {
        self.cert != ["tls_cert.pem"] || self.key != ["tls_key.pem"]
    }
}

/// Hosts by name, address or block of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostList {
    names: Vec<Box<str>>,
    ranges: Vec<IpRange>,
}

impl HostList {
    /// From words as they are written in a file; what is no address or block is a name.
    #[must_use]
    pub fn new(words: &[String]) -> HostList {
        let mut list = HostList::default();
        for word in words {
            match word.parse() {
                Ok(range) => list.ranges.push(range),
                Err(_) => list.names.push(plain(word).into_boxed_str()),
            }
        }
        list
    }

    /// Whether a host or domain of this name is in it.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        !self.names.is_empty() && {
            let name = plain(name);
            self.names.iter().any(|own| **own == *name)
        }
    }

    /// Whether this address is in it, alone or in a block.
    #[must_use]
    pub fn has_address(&self, ip: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(ip))
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.ranges.is_empty()
    }
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Problems;
    use crate::config::testing::TestDir;

    fn ini(text: &str) -> TlsIni {
        let t = TestDir::new();
        t.write("tls.ini", text);
        TlsIni::load(t.dir(), &mut Problems::default()).unwrap()
    }

    // covers TLS-14
    #[test]
    fn outbound_is_as_main_where_it_says_nothing_and_never_shows_the_default_certificate() {
        let plain = ini("rejectUnauthorized=true\nminVersion=TLSv1.3\nca=ca.pem\n").outbound();
        assert_eq!(plain.reject_unauthorized, Some(true));
        assert_eq!(plain.min_version, Some(MinVersion::Tls13));
        assert_eq!(plain.ca, ["ca.pem"]);
        assert!(plain.key.is_empty() && plain.cert.is_empty());

        let named = ini("key=k.pem\ncert=c.pem\nforce_tls_hosts[]=all.test\n").outbound();
        assert_eq!(
            (&*named.key, &*named.cert),
            (&["k.pem".to_owned()][..], &["c.pem".to_owned()][..])
        );
        assert!(named.force_tls_hosts.has_name("all.test"));

        let own = ini(
            "key=k.pem\ncert=c.pem\nrejectUnauthorized=true\nforce_tls_hosts[]=all.test\n\
                       [outbound]\nkey=ok.pem\ncert=oc.pem\nrejectUnauthorized=false\nca=o.pem\n\
                       force_tls_hosts[]=some.test\nno_tls_hosts[]=192.0.2.0/24\n",
        )
        .outbound();
        assert_eq!(
            (&*own.key[0], &*own.cert[0], &*own.ca[0]),
            ("ok.pem", "oc.pem", "o.pem")
        );
        assert_eq!(own.reject_unauthorized, Some(false));
        assert!(
            own.force_tls_hosts.has_name("some.test") && !own.force_tls_hosts.has_name("all.test")
        );
        assert!(own.no_tls_hosts.has_address("192.0.2.7".parse().unwrap()));
    }

    // covers TLS-24
    #[test]
    fn section_of_a_plugin_is_over_main_and_trusts_everybody_unless_told_otherwise() {
        let main = ini(
            "rejectUnauthorized=true\nciphers=ECDHE-RSA-AES256-GCM-SHA384\n\
                        no_tls_hosts=main.test\n",
        );
        let read = |text: &str| {
            let mut warnings = Vec::new();
            let ini = Ini::parse("smtp_forward.ini", text.as_bytes());
            let options = TlsClient::of_section(&ini, "tls", &mut warnings).unwrap();
            (options.over(&main), warnings)
        };
        let (bare, warnings) = read("host=a\n");
        assert!(warnings.is_empty());
        assert_eq!(bare.reject_unauthorized, Some(false));
        assert_eq!(bare.ciphers, main.ciphers);
        assert!(bare.no_tls_hosts.is_empty());
        let (own, warnings) = read(
            "[tls]\nrejectUnauthorized=true\nno_tls_hosts[]=10.0.0.1\nno_tls_hosts[]=b.test\n\
             minVersion=TLSv1.1\nkey=k\ncert=c\n",
        );
        assert_eq!(own.reject_unauthorized, Some(true));
        assert!(own.no_tls_hosts.has_name("B.test."));
        assert_eq!((own.key.len(), own.cert.len()), (1, 1));
        assert_eq!(own.min_version, Some(MinVersion::Tls12));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }

    #[test]
    fn hosts_are_found_by_name_address_and_block() {
        let words = [
            "mx.example.org",
            "172.17.123.1",
            "172.17.124.0/24",
            "[2001:db8::1]",
        ];
        let list = HostList::new(&words.map(str::to_owned));
        assert!(list.has_name("MX.example.org.") && !list.has_name("example.org"));
        for (ip, is_in) in [
            ("172.17.123.1", true),
            ("172.17.123.2", false),
            ("172.17.124.9", true),
            ("2001:db8::1", true),
        ] {
            assert_eq!(list.has_address(ip.parse().unwrap()), is_in, "{ip}");
        }
        assert!(HostList::default().is_empty() && !list.is_empty());
    }

    #[test]
    fn password_is_not_shown() {
        let options = TlsClient {
            passphrase: Some("geheim".into()),
            ..TlsClient::default()
        };
        assert!(!format!("{options:?}").contains("geheim"));
    }
}
