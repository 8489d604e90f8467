//! Tests of contexts, by handshakes in memory.

use haraka_shared::config::{Cipher, MinVersion};
use rustls::SignatureScheme;

use super::super::testing::{
    Authority, Client, RSA_KEY, Shaken, Site, named, self_signed, self_signed_rsa,
};
use super::*;

fn default_of(contexts: &Contexts) -> Arc<ServerConfig> {
    contexts.server(25).expect("TLS is offered")
}

fn name_served(contexts: &Contexts, asked: &str) -> String {
    let shaken = Client::new().shake(default_of(contexts), asked);
    shaken.unwrap().common_name()
}

fn is_rsa(scheme: SignatureScheme) -> bool {
    format!("{scheme:?}").starts_with("RSA")
}

#[test]
fn certificate_of_the_default_files_is_served() {
    // covers TLS-01 TLS-06 TLS-18
    let site = Site::with_default("mx.example.com");
    let (contexts, told) = site.load(None);
    assert_eq!(told, Vec::<String>::new());
    let shaken = Client::new().shake(default_of(&contexts), "other.example.org");
    let shaken = shaken.unwrap();
    assert_eq!(shaken.common_name(), "mx.example.com");
    assert!(shaken.client.is_empty() && shaken.staple.is_empty());
    let own = contexts.own_certificate(None).unwrap();
    assert_eq!(own.cert, shaken.chain);
}

#[test]
fn without_a_usable_certificate_tls_is_not_offered_and_the_reason_is_told() {
    // covers TLS-01
    let none = "no usable default certificate (key and cert of tls.ini): TLS is not offered";
    let site = Site::new();
    let (contexts, told) = site.load(None);
    assert!(contexts.server(25).is_none());
    let both = [
        "tls key tls_key.pem could not be loaded.",
        "tls cert tls_cert.pem could not be loaded.",
        none,
    ];
    assert_eq!(told, both);

    let (one, two) = (self_signed(&named("a", &[])), self_signed(&named("b", &[])));
    site.write("tls_key.pem", &one.key);
    site.write("tls_cert.pem", &two.cert);
    let (contexts, told) = site.load(None);
    assert!(contexts.server(25).is_none());
    let mismatch = "tls cert tls_cert.pem: no key belongs to the certificate";
    assert_eq!(told, [mismatch, none]);

    site.write("tls_cert.pem", "rubbish");
    let told = site.load(None).1;
    let empty = "tls cert tls_cert.pem could not be loaded: no PEM in it";
    assert_eq!(told, [empty, none]);
}

#[test]
fn nobody_hears_of_tls_that_nobody_asked_for() {
    let site = Site::new();
    let mut source = site.source();
    source.wanted = false;
    let mut remarks = Vec::new();
    assert!(
        Contexts::load(&source, None, &mut remarks)
            .server(25)
            .is_none()
    );
    assert!(
        remarks
            .iter()
            .all(|r| r.level > haraka_shared::log::Level::Warn)
    );
}

#[test]
fn of_two_kinds_each_client_gets_the_one_that_it_can_read() {
    // covers TLS-01
    let site = Site::new();
    let rsa = self_signed_rsa(&named("rsa", &[]));
    let ecdsa = self_signed(&named("ecdsa", &[]));
    site.write("r.key", RSA_KEY);
    site.write("r.pem", &rsa.cert);
    site.write("e.key", &ecdsa.key);
    site.write("e.pem", &ecdsa.cert);
    site.write(
        "tls.ini",
        "key[]=r.key\nkey[]=e.key\ncert[]=r.pem\ncert[]=e.pem\n",
    );
    let (contexts, told) = site.load(None);
    assert_eq!(told, Vec::<String>::new());
    let served = |client: Client| -> Shaken {
        let shaken = client.shake(default_of(&contexts), "x.example");
        shaken.unwrap()
    };
    assert_eq!(served(Client::new()).common_name(), "ecdsa");
    let reads_rsa = Client::with(MinVersion::Tls12, None, None, is_rsa);
    assert_eq!(served(reads_rsa).common_name(), "rsa");
    // Before TLS 1.3 the cipher decides as well.
    let ciphers = [Cipher::RsaAes128Gcm, Cipher::RsaAes256Gcm];
    let old = Client::with(MinVersion::Tls12, Some(&ciphers), None, |_| true);
    assert_eq!(served(old).common_name(), "rsa");
}

#[test]
fn clients_get_the_certificate_of_the_name_that_they_ask_for() {
    // covers TLS-15 TLS-17 TLS-18 PB-58
    let site = Site::with_default("default");
    for (file, common, names) in [
        ("one", "one.example.com", &["alias.example.com"][..]),
        ("wild", "wild", &["*.example.net"]),
    ] {
        let made = self_signed(&named(common, names));
        let bundle = made.key.clone() + &made.cert;
        site.write(&format!("tls/{file}.pem"), bundle);
    }
    let own = self_signed(&named("section", &[]));
    site.write("s.key", &own.key);
    site.write("s.pem", &own.cert);
    site.write("tls.ini", "[sec.example.com]\nkey=s.key\ncert=s.pem\n");
    let (contexts, told) = site.load(None);
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(contexts.names(), 5);
    for (asked, served) in [
        ("one.example.com", "one.example.com"),
        ("alias.example.com", "one.example.com"),
        ("mx.example.net", "wild"),
        ("a.mx.example.net", "default"),
        ("example.net", "default"),
        ("sec.example.com", "section"),
        ("nobody.example.org", "default"),
    ] {
        assert_eq!(name_served(&contexts, asked), served, "{asked}");
    }
    // For mutual TLS the name counts as it is.
    let own = |name| contexts.own_certificate(Some(name)).unwrap();
    let common = |name| super::super::describe(&own(name).cert[0]).subject;
    assert_eq!(&*common("ONE.example.com"), "one.example.com");
    assert_eq!(&*common("mx.example.net"), "default");
}

#[test]
fn any_certificate_of_a_client_is_taken_and_judged_afterwards() {
    // covers TLS-06 TLS-07
    let site = Site::with_default("mx");
    let ours = Authority::new("Our CA");
    site.write("ca.pem", &ours.pem);
    site.write("tls.ini", "ca=ca.pem\n");
    let (contexts, _) = site.load(None);
    let alone = self_signed(&named("self", &[]));
    let shaken = Client::showing(&alone).shake(default_of(&contexts), "mx");
    let shown = shaken.unwrap().client;
    assert_eq!(shown, [alone.der]);
    let verdict = contexts.verify_peer(&shown);
    assert_eq!(verdict, Err("DEPTH_ZERO_SELF_SIGNED_CERT"));
    let good = ours.issue(named("client", &[]));
    let shaken = Client::showing(&good).shake(default_of(&contexts), "mx");
    assert_eq!(contexts.verify_peer(&shaken.unwrap().client), Ok(()));

    site.write("tls.ini", "requestCert=false\n");
    let (contexts, _) = site.load(None);
    let shaken = Client::showing(&good).shake(default_of(&contexts), "mx");
    assert!(shaken.unwrap().client.is_empty());
}

#[test]
fn client_must_have_the_key_of_what_it_shows() {
    let site = Site::with_default("mx");
    let (contexts, _) = site.load(None);
    let (mine, theirs) = (
        self_signed(&named("mine", &[])),
        self_signed(&named("theirs", &[])),
    );
    let stolen = super::super::testing::Made {
        key: mine.key,
        ..theirs
    };
    let refused = Client::new()
        .and_shows_unchecked(&stolen)
        .shake(default_of(&contexts), "mx");
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn ports_that_require_it_take_trusted_certificates_only() {
    // covers TLS-07 TLS-08
    let site = Site::with_default("mx");
    let ours = Authority::new("Our CA");
    site.write("ca.pem", &ours.pem);
    let (good, alone) = (
        ours.issue(named("client", &[])),
        self_signed(&named("self", &[])),
    );
    for (ini, port) in [
        ("ca=ca.pem\nrequireAuthorized[]=465\n", 465),
        (
            "ca=ca.pem\nrequireAuthorized[]=465\nrequestCert=false\n",
            465,
        ),
        ("ca=ca.pem\nrejectUnauthorized=true\n", 25),
    ] {
        site.write("tls.ini", ini);
        let (contexts, _) = site.load(None);
        let shake = |client: Client| client.shake(contexts.server(port).unwrap(), "mx");
        assert!(shake(Client::showing(&good)).is_ok(), "{ini}");
        assert!(shake(Client::showing(&alone)).is_err(), "{ini}");
        assert!(shake(Client::new()).is_err(), "{ini}");
    }
    // Elsewhere anybody may come, and without being asked nobody can be refused.
    for ini in [
        "ca=ca.pem\nrequireAuthorized[]=465\n",
        "rejectUnauthorized=true\nrequestCert=false\n",
    ] {
        site.write("tls.ini", ini);
        let (contexts, _) = site.load(None);
        assert!(Client::new().shake(default_of(&contexts), "mx").is_ok());
    }
}

#[test]
fn authorities_that_cannot_be_read_leave_nobody_trusted() {
    let site = Site::with_default("mx");
    site.write("tls.ini", "ca=missing.pem\nrequireAuthorized[]=465\n");
    let (contexts, told) = site.load(None);
    assert_eq!(
        told,
        [
            "tls ca missing.pem could not be loaded.",
            "no authority in ca of tls.ini: no certificate of a client is trusted"
        ]
    );
    let strict = contexts.server(465).unwrap();
    let alone = self_signed(&named("self", &[]));
    assert!(Client::showing(&alone).shake(strict, "mx").is_err());
}

#[test]
fn session_goes_on_at_another_worker_but_not_at_a_stricter_port() {
    // covers TLS-08
    let site = Site::with_default("mx");
    site.write("tls.ini", "requireAuthorized[]=465\n");
    let (one, two) = (site.load(None).0, site.load(None).0);
    for lowest in [None, Some(&[Cipher::EcdsaAes128Gcm][..])] {
        let alone = self_signed(&named("self", &[]));
        let client = Client::with(MinVersion::Tls12, lowest, Some(&alone), |_| true);
        assert!(!client.shake(default_of(&one), "mx").unwrap().resumed);
        let again = client.shake(default_of(&two), "mx").unwrap();
        assert!(again.resumed);
        assert_eq!(again.client, std::slice::from_ref(&alone.der));
        // The ticket says that it has shown a certificate, not that it was trusted.
        assert!(client.shake(two.server(465).unwrap(), "mx").is_err());
    }
    site.write("tls.ini", "session_tickets=false\n");
    let (contexts, _) = site.load(None);
    let client = Client::new();
    for _ in 0..2 {
        assert!(!client.shake(default_of(&contexts), "mx").unwrap().resumed);
    }
}

#[test]
fn versions_and_order_of_ciphers_are_as_set() {
    // covers TLS-04 TLS-05
    let site = Site::with_default("mx");
    let old = || {
        let ciphers = [Cipher::EcdsaChaCha20, Cipher::EcdsaAes256Gcm];
        Client::with(MinVersion::Tls12, Some(&ciphers), None, |_| true)
    };
    let suite = |ini: &str| {
        site.write("tls.ini", ini);
        let shaken = old().shake(default_of(&site.load(None).0), "mx");
        shaken.map(|s| s.suite)
    };
    assert!(suite("minVersion=TLSv1.3\n").is_err());
    let aes = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    let list = "ciphers=ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305\n";
    assert_eq!(suite(list), Ok(aes));
    let chacha = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    assert_eq!(
        suite(&format!("{list}honorCipherOrder=false\n")),
        Ok(chacha)
    );
    assert!(suite("ciphers=TLS_AES_128_GCM_SHA256\n").is_err());
}

#[test]
fn response_beside_the_certificate_is_stapled_if_set() {
    // covers TLS-09
    let response = include_bytes!("../../tests/data/response.ocsp");
    let site = Site::with_default("mx");
    let staple = |site: &Site| {
        let (contexts, told) = site.load(None);
        let shaken = Client::new().shake(default_of(&contexts), "mx");
        (shaken.unwrap().staple, told)
    };
    site.write("tls.ini", "requestOCSP=true\n");
    let none = "requestOCSP: nothing to staple: no file tls_cert.pem.ocsp or tls_cert.ocsp";
    assert_eq!(staple(&site), (Vec::new(), vec![none.to_owned()]));
    site.write("tls_cert.ocsp", response);
    assert_eq!(staple(&site), (response.to_vec(), Vec::new()));
    site.write("tls_cert.pem.ocsp", [0x30, 3, 0x0a, 1, 3]);
    let refused = "tls_cert.pem.ocsp: not stapled: the response is an error of the authority";
    assert_eq!(staple(&site), (Vec::new(), vec![refused.to_owned()]));
    site.write("tls.ini", "requestOCSP=false\n");
    assert_eq!(staple(&site), (Vec::new(), Vec::new()));
}

#[test]
fn what_cannot_be_read_any_more_stays_as_it_was() {
    // covers PB-58
    let site = Site::with_default("first");
    let made = self_signed(&named("one.example.com", &[]));
    site.write("tls/one.pem", made.key.clone() + &made.cert);
    let (earlier, _) = site.load(None);
    site.write("tls_cert.pem", "half of");
    site.write("tls/one.pem", "half of");
    let (contexts, told) = site.load(Some(&earlier));
    assert!(told.contains(&"tls/one.pem: the earlier certificate stays".to_owned()));
    assert!(told.contains(&"tls_cert.pem: the earlier certificate stays".to_owned()));
    assert_eq!(name_served(&contexts, "x.example"), "first");
    assert_eq!(name_served(&contexts, "one.example.com"), "one.example.com");
    // What was taken away is gone.
    let second = self_signed(&named("second", &[]));
    site.write("tls_key.pem", &second.key);
    site.write("tls_cert.pem", &second.cert);
    std::fs::remove_file(site.path("tls/one.pem")).unwrap();
    let (contexts, told) = site.load(Some(&contexts));
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(name_served(&contexts, "one.example.com"), "second");
}

#[test]
fn all_files_and_directories_that_count_are_named() {
    // covers PB-58
    let site = Site::with_default("mx");
    site.write("tls/deep/er/x.pem", "");
    std::fs::create_dir_all(site.path("tls/empty")).unwrap();
    site.write(
        "tls.ini",
        "ca=/etc/ca.pem\nkey=../outside\n[a.example]\ncert=a.pem\n",
    );
    let (contexts, _) = site.load(None);
    let sources = contexts.sources();
    for file in [
        "tls.ini",
        "tls",
        "tls/deep",
        "tls/deep/er",
        "tls/deep/er/x.pem",
        "tls/empty",
        "tls_cert.pem",
        "tls_cert.pem.ocsp",
        "tls_cert.ocsp",
        "/etc/ca.pem",
        "a.pem",
    ] {
        assert!(sources.iter().any(|s| s == file), "{file} of {sources:?}");
    }
    assert!(!sources.iter().any(|s| s == "../outside"));
}
