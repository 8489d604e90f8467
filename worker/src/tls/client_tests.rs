//! Kits: which certificate is shown, what is kept, and what is believed.

use std::collections::HashSet;

use super::*;
use crate::tls::testing::{Authority, Site, named, self_signed};

const MX: Host<'static> = Host {
    name: "MX.example.org.",
    ip: None,
};

fn kit(site: &Site) -> Arc<Kit> {
    let mut remarks = Vec::new();
    let kit = Kit::load(
        &site.source().dir,
        &site.source().ini.outbound(),
        &mut remarks,
    );
    assert_eq!(
        remarks
            .iter()
            .filter(|r| r.level <= haraka_shared::log::Level::Warn)
            .count(),
        0
    );
    Arc::new(kit)
}

// covers TLS-14
#[test]
fn authorities_and_name_decide_about_a_certificate() {
    let authority = Authority::new("Authority");
    let site = Site::new();
    site.write("ca.pem", &authority.pem);
    site.write("tls.ini", "[outbound]\nca=ca.pem\n");
    let kit = kit(&site);
    assert!(!kit.is_ready());
    kit.make_ready();
    assert!(kit.is_ready());
    let made = authority.issue_as_it_is(named("mx.example.org", &["mx.example.org"]));
    let verdict = |name: &str, chain: &[CertificateDer<'_>]| {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        kit.verdict(chain, &name, UnixTime::now())
    };
    let chain = [made.der];
    assert_eq!(verdict("mx.example.org", &chain), Ok(()));
    assert_eq!(
        verdict("mx.example.com", &chain),
        Err("ERR_TLS_CERT_ALTNAME_INVALID")
    );
    assert_eq!(
        verdict("192.0.2.1", &chain),
        Err("ERR_TLS_CERT_ALTNAME_INVALID")
    );
    assert_eq!(
        verdict("mx.example.org", &[]),
        Err("UNABLE_TO_GET_ISSUER_CERT")
    );
    let own = self_signed(&named("mx.example.org", &["mx.example.org"]));
    assert_eq!(
        verdict("mx.example.org", &[own.der]),
        Err("DEPTH_ZERO_SELF_SIGNED_CERT")
    );
}

// covers TLS-14
#[test]
fn configurations_are_made_once_and_judged_sessions_never_come_from_unjudged_ones() {
    let kit = Arc::new(Kit::default());
    let config = |judged| kit.kept(judged, None).unwrap();
    assert!(Arc::ptr_eq(&config(false), &config(false)));
    assert!(!Arc::ptr_eq(&config(false), &config(true)));
    for n in 0..2 * CONFIGS {
        let made = self_signed(&named(&n.to_string(), &[]));
        let site = Site::new();
        site.write("k", &made.key);
        site.write("c", &made.cert);
        site.write("tls.ini", "[outbound]\nkey=k\ncert=c\n");
        let shown = self::kit(&site).own.clone();
        assert!(shown.is_some());
        kit.kept(false, shown).unwrap();
    }
    assert_eq!(kit.configs.lock().unwrap().len(), CONFIGS);
}

#[test]
fn host_without_name_is_known_by_its_address_and_one_without_both_by_nothing() {
    let kit = Arc::new(Kit::default());
    let host = |name, ip: Option<&str>| Host {
        name,
        ip: ip.map(|ip| ip.parse().unwrap()),
    };
    assert_eq!(
        MX.server_name(),
        ServerName::try_from("MX.example.org").ok()
    );
    let by_address = host("not a name", Some("192.0.2.1"));
    assert!(matches!(
        by_address.server_name(),
        Some(ServerName::IpAddress(_))
    ));
    assert!(
        kit.begin(&host("/run/lmtp", None), &Judge::Nobody, None)
            .is_err()
    );
    assert!(kit.begin(&MX, &Judge::Nobody, None).is_ok());
}

// covers TLS-10, TLS-13
#[test]
fn shown_certificate_is_the_one_that_tls_ini_names_for_the_host() {
    let site = Site::with_default("default.test");
    for (name, key, cert) in [
        ("second.test", "tls/second.key", "tls/second.pem"),
        ("own.test", "own.key", "own.pem"),
    ] {
        let made = self_signed(&named(name, &[name]));
        site.write(key, &made.key);
        site.write(cert, &made.cert);
    }
    let ip = Some("192.0.2.1".parse().unwrap());
    for (ini, expected) in [
        ("", None),
        ("mutual_tls=true", Some("default.test")),
        ("[mutual_auth_hosts]\nmx.example.org", Some("default.test")),
        (
            "[mutual_auth_hosts]\nmx.example.org=second.test",
            Some("second.test"),
        ),
        (
            "[mutual_auth_hosts]\n192.0.2.1=second.test",
            Some("second.test"),
        ),
        (
            "mutual_tls=true\n[mutual_auth_hosts_exclude]\nmx.example.org",
            None,
        ),
        ("[outbound]\nkey=own.key\ncert=own.pem", Some("own.test")),
        ("key=own.key\ncert=own.pem", Some("own.test")),
        (
            "[outbound]\nkey=own.key\ncert=own.pem\n[mutual_auth_hosts_exclude]\n192.0.2.1",
            None,
        ),
    ] {
        site.write("tls.ini", ini);
        let contexts = site.load(None).0;
        let host = Host { ip, ..MX };
        let shown = contexts
            .outbound()
            .shown_to(&host, &site.source().ini, &contexts);
        let shown = shown.map(|key| describe(&key.cert[0]).subject.into_string());
        assert_eq!(shown.as_deref(), expected, "{ini}");
    }
}

// covers TLS-14
#[test]
fn files_of_outbound_are_watched_and_each_is_named_once() {
    let site = Site::with_default("default.test");
    let made = self_signed(&named("own.test", &["own.test"]));
    site.write("own.key", &made.key);
    site.write("own.pem", &made.cert);
    site.write("own_ca.pem", &made.cert);
    site.write(
        "tls.ini",
        "[outbound]\nkey=own.key\ncert=own.pem\nca=own_ca.pem\n",
    );
    let contexts = site.load(None).0;
    let sources: HashSet<_> = contexts.sources().iter().collect();
    assert_eq!(sources.len(), contexts.sources().len());
    for file in ["own.key", "own.pem", "own_ca.pem"] {
        assert!(sources.contains(&file.to_owned()), "{file}");
    }
}
