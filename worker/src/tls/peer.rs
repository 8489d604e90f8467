//! A certificate as plugins and log lines see it (TLS-21). Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use haraka_shared::tls::PeerCertificate;
use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::credential::parse;

/// Names of one certificate that are shown; a peer may send any number.
const MOST_NAMES: usize = 100;

/// Longest text that is shown of a name.
const LONGEST: usize = 256;

/// Describes a certificate. One that cannot be parsed has its fingerprints only.
#[must_use]
pub fn describe(certificate: &CertificateDer<'_>) -> PeerCertificate {
    let mut out = PeerCertificate {
        fingerprint: fingerprint(&SHA1_FOR_LEGACY_USE_ONLY, certificate),
        fingerprint256: fingerprint(&SHA256, certificate),
        ..PeerCertificate::default()
    };
    let Ok(parsed) = parse(certificate) else {
        return out;
    };
    out.subject = text(parsed.subject(), |name| name.iter_common_name().next());
    out.organization = text(parsed.subject(), |name| name.iter_organization().next());
    out.issuer = text(parsed.issuer(), |name| name.iter_common_name().next());
    out.issuer_organization = text(parsed.issuer(), |name| name.iter_organization().next());
    out.not_before = parsed.validity().not_before.timestamp();
    out.not_after = parsed.validity().not_after.timestamp();
    let alternative = parsed.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|a| &a.value.general_names);
    out.names = names.filter_map(shown).take(MOST_NAMES).collect();
    out
}

fn shown(name: &GeneralName<'_>) -> Option<Box<str>> {
    match name {
        GeneralName::DNSName(name) => Some(safe(name)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from);
            v4.or_else(v6).map(|ip| ip.to_string().into_boxed_str())
        }
        _ => None,
    }
}

fn text<'a>(
    name: &'a X509Name<'a>,
    pick: impl FnOnce(&'a X509Name<'a>) -> Option<&'a AttributeTypeAndValue<'a>>,
) -> Box<str> {
    let value = pick(name).and_then(|value| value.as_str().ok());
    value.map(safe).unwrap_or_default()
}

/// The peer chose the text: without control characters and not too long, it cannot forge log lines.
fn safe(text: &str) -> Box<str> {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(LONGEST).collect::<String>().into_boxed_str()
}

fn fingerprint(algorithm: &'static Algorithm, certificate: &CertificateDer<'_>) -> Box<str> {
    let mut out = String::new();
    for (at, byte) in digest(algorithm, certificate).as_ref().iter().enumerate() {
        if at > 0 {
            out.push(':');
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02X}");
    }
    out.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::tls::testing::{Authority, named};

    #[test]
    fn certificate_is_described_with_names_times_and_fingerprints() {
        // covers TLS-21
        let ours = Authority::new("Our CA");
        let mut params = named("client\u{7}\n.example.com", &["c.example.com", "192.0.2.1"]);
        let organization = rcgen::DnType::OrganizationName;
        params.distinguished_name.push(organization, "Example Inc.");
        let shown = describe(&ours.issue(params).der);
        assert_eq!(&*shown.subject, "client.example.com");
        assert_eq!(&*shown.organization, "Example Inc.");
        assert_eq!(&*shown.issuer, "Our CA");
        let names: Vec<&str> = shown.names.iter().map(|n| &**n).collect();
        assert_eq!(names, ["c.example.com", "192.0.2.1"]);
        assert!(shown.not_before < shown.not_after);
    }

    #[test]
    fn fingerprints_are_those_that_openssl_shows_also_of_rubbish() {
        let pem = include_bytes!("../../tests/data/version_1.pem");
        let shown = describe(&CertificateDer::from_pem_slice(pem).unwrap());
        assert_eq!(&*shown.subject, "old appliance");
        assert_eq!(
            &*shown.fingerprint,
            "93:C7:26:76:1E:C4:B6:9A:19:B4:20:32:36:64:93:52:92:F7:3D:61"
        );
        let sha256 = "48:1D:EA:41:90:AE:B3:4B:43:8B:34:A7:1F:E3:F3:E7\
                      :CF:BC:A2:1A:55:DB:02:80:39:74:22:F1:9F:AF:9E:F8";
        assert_eq!(&*shown.fingerprint256, sha256);
        let rubbish = describe(&CertificateDer::from(Vec::new()));
        assert!(rubbish.fingerprint.starts_with("DA:39:A3:EE"));
        assert!(rubbish.subject.is_empty());
    }
}
