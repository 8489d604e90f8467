//! `tls.ini`: certificates, what of TLS is spoken, and with whom (TLS-01 to TLS-17).
//!
//! Section `<name>` stands for every section that is named after a certificate, and for `[*]` and
//! `[inbound]`. Reading the files that are named here, and what becomes of them, is the worker's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ciphers::Cipher;
use super::dir::ConfigDir;
use super::error::Problems;
use super::ip_range::IpRange;
use super::kinds::{Bool, Count, Many, OptionalText, Seconds, Text};
use super::reader::Reader;
use super::row::{Row, settings};
use super::tls_kinds::{
    BySection, Ciphers, Curve, Curves, Files, Hosts, MinVersion, Optional, Ranges, SWITCH, Version,
};

/// How long a host may be remembered as one without working TLS.
const EXPIRY: Seconds = Seconds {
    min: 1,
    max: 31_536_000,
};

settings! {
    /// TLS, for clients and towards other servers. Files count from `config/` unless their names are
    /// absolute. Certificates may also be put into the directory `config/tls`; see docs/tls.md.
    TlsIni, TLS_INI = "tls.ini";
    sections {
        "main" => "For both directions, unless another section says otherwise.",
        "outbound" => "Deliveries to other servers; what is not set is as in [main].",
        "redis" => "Hosts with which TLS failed.",
        "no_tls_hosts" => "Clients that are not offered STARTTLS.",
        "mutual_auth_hosts" => "Servers that are shown our certificate: the default one, or that of \
                                the name behind the host.",
        "mutual_auth_hosts_exclude" => "Servers that are never shown our certificate.",
        "<name>" => "Sections named after a certificate are about that one: key, cert, passphrase and \
                     requestOCSP. [inbound] and, before it, [*] are about all clients, and may have \
                     all that is below.",
    }
    gone {
        "redis", "host" => "each worker remembers by itself",
        "redis", "port" => "each worker remembers by itself",
        "redis", "db" => "each worker remembers by itself",
        "main", "dhparam" => "keys are agreed on with elliptic curves only",
        "main", "pfx" => "turn it into PEM for key and cert: openssl pkcs12 -in FILE -nodes -nocerts -out \
                          tls_key.pem; openssl pkcs12 -in FILE -nokeys -out tls_cert.pem",
        "main", "secureProtocol" => "set minVersion",
        "main", "secureOptions" => "what they turn off is not there",
        "main", "sessionIdContext" => "tickets are bound to the settings of a port",
        "outbound", "dhparam" => "keys are agreed on with elliptic curves only",
        "outbound", "secureProtocol" => "set minVersion",
        "outbound", "secureOptions" => "what they turn off is not there",
        "outbound", "requestCert" => "servers show their certificates unasked",
        "<name>", "dhparam" => "keys are agreed on with elliptic curves only",
        "<name>", "secureProtocol" => "set minVersion",
        "<name>", "secureOptions" => "what they turn off is not there",
        "<name>", "sessionIdContext" => "tickets are bound to the settings of a port",
    }
    rows {
        /// Private keys in PEM form, one for each certificate of `cert`.
        key: Vec<String> = Row::new("main", "key", "tls_key.pem").live(), Files;
        /// Certificates in PEM form, each followed by those that lead from it to its authority. With
        /// several, such as one for ECDSA and one for RSA, each client gets the one that it can read.
        cert: Vec<String> = Row::new("main", "cert", "tls_cert.pem").live(), Files;
        /// Password of encrypted private keys.
        passphrase: Option<String> = Row::new("main", "passphrase", "").live().secret(), OptionalText;
        /// File of the authorities that peers are to be certified by. Without it, those of the system.
        ca: Vec<String> = Row::new("main", "ca", "").live().example("ca.pem"), Files;
        /// File of revoked certificates (CRL), in PEM form.
        crl: Vec<String> = Row::new("main", "crl", "").live().example("crl.pem"), Files;
        /// Ciphers in OpenSSL's words. Those that are not here are warned about; the ciphers of TLS 1.3
        /// count unless some of them are named. Without it, all that are here.
        ciphers: Option<Vec<Cipher>> = Row::new("main", "ciphers", "").live()
            .example("ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"), Ciphers;
        /// Lowest version that is spoken.
        min_version: MinVersion = Row::new("main", "minVersion", "TLSv1.2").live().lenient(), Version;
        /// Take the first of our ciphers that the client has, not the first of the client's.
        honor_cipher_order: bool = Row::new("main", "honorCipherOrder", "true").live(), Bool;
        /// Groups for agreeing on keys, the best first. Without it, all that are here.
        curves: Vec<Curve> = Row::new("main", "ecdhCurve", "").live().example("X25519:prime256v1"), Curves;
        /// Ask clients for a certificate. Any is accepted, and whether it can be trusted is noted.
        request_cert: bool = Row::new("main", "requestCert", "true").live(), Bool;
        /// Refuse peers without a certificate that can be trusted: clients, if `requestCert` is on, and
        /// servers.
        reject_unauthorized: bool = Row::new("main", "rejectUnauthorized", "false").live(), Bool;
        /// Ports on which clients need a certificate that can be trusted, whatever the settings above.
        require_authorized: Vec<u16> = Row::new("main", "requireAuthorized", "").live().example("465"),
            Many(Count::<u16>::new(1, 65535));
        /// Show clients that ask for it the authority's word that the certificate is not revoked
        /// (OCSP), from the file with `.ocsp` behind the certificate's name.
        request_ocsp_set: Option<bool> = Row::new("main", "requestOCSP", "").live(), SWITCH;
        /// Older name of `requestOCSP`.
        enable_ocsp_stapling: Option<bool> = Row::new("main", "enableOCSPStapling", "").live(), SWITCH;
        /// Show our certificate to every server that asks for one.
        mutual_tls: bool = Row::new("main", "mutual_tls", "false").live(), Bool;
        /// Ports on which STARTTLS is not offered.
        no_starttls_ports: Vec<u16> = Row::new("main", "no_starttls_ports", "").live().example("2525"),
            Many(Count::<u16>::new(1, 65535));
        /// As in `[outbound]`.
        force_tls_hosts: Vec<String> = Row::new("main", "force_tls_hosts", "").live()
            .example("mx.example.org"), Many(Text);
        /// Let clients come back without a full handshake (RFC 5077, RFC 8446 section 4.6.1). The key of
        /// the tickets changes every 12 hours and never leaves memory.
        session_tickets: bool = Row::new("main", "session_tickets", "true").live().ours(), Bool;

        /// Private keys.
        outbound_key: Vec<String> = Row::new("outbound", "key", "").live(), Files;
        /// Certificates.
        outbound_cert: Vec<String> = Row::new("outbound", "cert", "").live(), Files;
        /// File of the authorities that servers are to be certified by.
        outbound_ca: Vec<String> = Row::new("outbound", "ca", "").live(), Files;
        /// Password of encrypted private keys.
        outbound_passphrase: Option<String> = Row::new("outbound", "passphrase", "").live().secret(),
            OptionalText;
        /// Ciphers.
        outbound_ciphers: Option<Vec<Cipher>> = Row::new("outbound", "ciphers", "").live(), Ciphers;
        /// Lowest version that is spoken.
        outbound_min_version: Option<MinVersion> = Row::new("outbound", "minVersion", "").live().lenient(),
            Optional(Version);
        /// Groups for agreeing on keys.
        outbound_curves: Vec<Curve> = Row::new("outbound", "ecdhCurve", "").live(), Curves;
        /// Put our ciphers in the order of the list.
        outbound_honor_cipher_order: Option<bool> = Row::new("outbound", "honorCipherOrder", "").live(),
            SWITCH;
        /// Deliver only to servers whose certificate can be trusted.
        outbound_reject_unauthorized: Option<bool> = Row::new("outbound", "rejectUnauthorized", "").live(),
            SWITCH;
        /// Hosts and domains to which nothing is delivered without TLS and a certificate that can be
        /// trusted: names, addresses and blocks.
        outbound_force_tls_hosts: Vec<String> = Row::new("outbound", "force_tls_hosts", "").live()
            .example("mx.example.org"), Many(Text);
        /// Hosts and domains to which nothing is delivered with TLS.
        outbound_no_tls_hosts: Vec<String> = Row::new("outbound", "no_tls_hosts", "").live()
            .example("192.0.2.0/24"), Many(Text);

        /// Remember hosts with which TLS failed, and do without it the next time.
        disable_for_failed_hosts: bool = Row::new("redis", "disable_for_failed_hosts", "false").live(), Bool;
        /// How long a client is remembered.
        disable_inbound_expiry: Duration = Row::new("redis", "disable_inbound_expiry", "3600").live()
            .zero_is_default(), EXPIRY;
        /// How long a server is remembered.
        disable_expiry: Duration = Row::new("redis", "disable_expiry", "604800").live().zero_is_default(),
            EXPIRY;

        /// Addresses and blocks of addresses.
        no_tls_hosts: Vec<IpRange> = Row::new("no_tls_hosts", "*", "").live().example("172.16.0.0/16"),
            Ranges;
        /// Names or addresses of servers.
        mutual_auth_hosts: BTreeMap<String, String> = Row::new("mutual_auth_hosts", "*", "").live()
            .example("mx.example.org = mail.example.com"), Hosts;
        /// Names or addresses of servers.
        mutual_auth_hosts_exclude: BTreeMap<String, String> =
            Row::new("mutual_auth_hosts_exclude", "*", "").live().example("mx.example.net"), Hosts;

        /// Private keys.
        key_of: BTreeMap<String, Vec<String>> = Row::new("<name>", "key", "").live(), BySection(Files);
        /// Certificates.
        cert_of: BTreeMap<String, Vec<String>> = Row::new("<name>", "cert", "").live(), BySection(Files);
        /// Password of encrypted private keys.
        passphrase_of: BTreeMap<String, Option<String>> = Row::new("<name>", "passphrase", "").live()
            .secret(), BySection(OptionalText);
        /// Whether the authority's word (OCSP) is shown.
        request_ocsp_of: BTreeMap<String, Option<bool>> = Row::new("<name>", "requestOCSP", "").live(),
            BySection(SWITCH);
        /// File of authorities.
        ca_of: BTreeMap<String, Vec<String>> = Row::new("<name>", "ca", "").live(), BySection(Files);
        /// File of revoked certificates.
        crl_of: BTreeMap<String, Vec<String>> = Row::new("<name>", "crl", "").live(), BySection(Files);
        /// Ciphers.
        ciphers_of: BTreeMap<String, Option<Vec<Cipher>>> = Row::new("<name>", "ciphers", "").live(),
            BySection(Ciphers);
        /// Lowest version that is spoken.
        min_version_of: BTreeMap<String, Option<MinVersion>> = Row::new("<name>", "minVersion", "").live()
            .lenient(), BySection(Optional(Version));
        /// Our order of the ciphers counts.
        honor_cipher_order_of: BTreeMap<String, Option<bool>> =
            Row::new("<name>", "honorCipherOrder", "").live(), BySection(SWITCH);
        /// Groups for agreeing on keys.
        curves_of: BTreeMap<String, Vec<Curve>> = Row::new("<name>", "ecdhCurve", "").live(),
            BySection(Curves);
        /// Ask clients for a certificate.
        request_cert_of: BTreeMap<String, Option<bool>> = Row::new("<name>", "requestCert", "").live(),
            BySection(SWITCH);
        /// Refuse clients without a certificate that can be trusted.
        reject_unauthorized_of: BTreeMap<String, Option<bool>> =
            Row::new("<name>", "rejectUnauthorized", "").live(), BySection(SWITCH);
    }
    derived {}
}

/// What counts for clients: `[*]`, else `[inbound]`, else `[main]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
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
    pub min_version: MinVersion,
    /// Our order counts.
    pub honor_cipher_order: bool,
    /// Groups in order; empty for all.
    pub curves: Vec<Curve>,
    /// Clients are asked for a certificate.
    pub request_cert: bool,
    /// Clients that are asked need one that can be trusted.
    pub reject_unauthorized: bool,
    /// Responses are stapled.
    pub request_ocsp: bool,
}

/// Sections that are about all clients, the first one first.
const ABOUT_ALL: [&str; 2] = ["*", "inbound"];

impl TlsIni {
    /// Reads the file. What this server does not have is warned about, with what counts instead.
    pub fn load(dir: &ConfigDir, problems: &mut Problems) -> Option<TlsIni> {
        let mut reader = Reader::open(dir, &TLS_INI, problems)?;
        let this = TlsIni::read(&mut reader)?;
        this.complain(&mut reader);
        Some(this)
    }

    /// What counts for clients.
    #[must_use]
    pub fn inbound(&self) -> Inbound {
        Inbound {
            key: overridden(&self.key_of).unwrap_or_else(|| self.key.clone()),
            cert: overridden(&self.cert_of).unwrap_or_else(|| self.cert.clone()),
            passphrase: overridden(&self.passphrase_of)
                .flatten()
                .or_else(|| self.passphrase.clone()),
            ca: overridden(&self.ca_of).unwrap_or_else(|| self.ca.clone()),
            crl: overridden(&self.crl_of).unwrap_or_else(|| self.crl.clone()),
            ciphers: overridden(&self.ciphers_of)
                .flatten()
                .or_else(|| self.ciphers.clone()),
            min_version: overridden(&self.min_version_of)
                .flatten()
                .unwrap_or(self.min_version),
            honor_cipher_order: overridden(&self.honor_cipher_order_of)
                .flatten()
                .unwrap_or(self.honor_cipher_order),
            curves: overridden(&self.curves_of).unwrap_or_else(|| self.curves.clone()),
            request_cert: overridden(&self.request_cert_of)
                .flatten()
                .unwrap_or(self.request_cert),
            reject_unauthorized: overridden(&self.reject_unauthorized_of)
                .flatten()
                .unwrap_or(self.reject_unauthorized),
            request_ocsp: overridden(&self.request_ocsp_of)
                .flatten()
                .unwrap_or(self.request_ocsp()),
        }
    }

    /// Whether responses of the authority are stapled to a certificate of this name.
    #[must_use]
    pub fn request_ocsp_for(&self, name: &str) -> bool {
        let own = self.request_ocsp_of.get(name).copied().flatten();
        own.unwrap_or_else(|| self.inbound().request_ocsp)
    }

    /// Names of certificates whose files are given in sections of their own.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        let named = self.cert_of.keys().map(String::as_str);
        named.filter(|name| !ABOUT_ALL.contains(name))
    }

    /// `requestOCSP`, else its older name.
    fn request_ocsp(&self) -> bool {
        let older = self.enable_ocsp_stapling;
        older.or(self.request_ocsp_set).unwrap_or(false)
    }

    /// What is read and does nothing, or not what it says.
    fn complain(&self, reader: &mut Reader<'_>) {
        if self.enable_ocsp_stapling.is_some() {
            let text = "is the older name of requestOCSP, and goes before it";
            reader.warn("main", "enableOCSPStapling", text);
        }
        if !self.require_authorized.is_empty() && !self.inbound().request_cert {
            let text = "clients are asked for a certificate on these ports in spite of requestCert";
            reader.warn("main", "requireAuthorized", text);
        }
        let only_for_all = [
            ("ca", keys(&self.ca_of)),
            ("crl", keys(&self.crl_of)),
            ("ciphers", keys(&self.ciphers_of)),
            ("minVersion", keys(&self.min_version_of)),
            ("honorCipherOrder", keys(&self.honor_cipher_order_of)),
            ("ecdhCurve", keys(&self.curves_of)),
            ("requestCert", keys(&self.request_cert_of)),
            ("rejectUnauthorized", keys(&self.reject_unauthorized_of)),
        ];
        for (key, sections) in only_for_all {
            for section in sections {
                let text = "has no effect for one certificate; set it in [main], [inbound] or [*]";
                reader.warn(&section, key, text);
            }
        }
        for section in self.named() {
            if !self.key_of.contains_key(section) {
                reader.warn(
                    section,
                    "cert",
                    "has no key beside it; that of [main] counts",
                );
            }
        }
    }
}

/// What `[*]` says, else `[inbound]`.
fn overridden<T: Clone>(of: &BTreeMap<String, T>) -> Option<T> {
    ABOUT_ALL.iter().find_map(|name| of.get(*name)).cloned()
}

/// The sections that are about one certificate.
fn keys<T>(of: &BTreeMap<String, T>) -> Vec<String> {
    let about_one = of.keys().filter(|name| !ABOUT_ALL.contains(&name.as_str()));
    about_one.cloned().collect()
}

#[cfg(test)]
#[path = "tls_ini_tests.rs"]
mod tests;
