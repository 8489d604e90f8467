//! Tests of the directory of certificates.

use super::super::testing::{
    Authority, Client, RSA_KEY, Site, named, self_signed, self_signed_rsa, until,
};

fn served(site: &Site, asked: &str) -> String {
    let (contexts, _) = site.load(None);
    let shaken = Client::new().shake(contexts.server(25).unwrap(), asked);
    shaken.unwrap().common_name()
}

// covers TLS-17
#[test]
fn keys_and_certificates_find_each_other_by_content_and_by_file_name() {
    let site = Site::with_default("default");
    let a = self_signed(&named("a.example.com", &[]));
    site.write("tls/whatever.crt", &a.cert);
    site.write("tls/a.example.com.key", &a.key);
    let b = self_signed(&named("b.example.com", &["c.example.com"]));
    site.write("tls/sub/b.pem", &b.cert);
    site.write("tls/c.example.com.key", &b.key);
    let w = self_signed(&named("*.w.example.com", &[]));
    site.write("tls/w.pem", &w.cert);
    site.write("tls/_.w.example.com.key", &w.key);
    site.write("tls/README", "nothing of interest");
    let (_, told) = site.load(None);
    assert_eq!(told, Vec::<String>::new());
    for (asked, name) in [
        ("a.example.com", "a.example.com"),
        ("b.example.com", "b.example.com"),
        ("c.example.com", "b.example.com"),
        ("x.w.example.com", "*.w.example.com"),
    ] {
        assert_eq!(served(&site, asked), name, "{asked}");
    }
}

// covers TLS-17
#[test]
fn first_file_of_a_name_counts_for_each_kind_of_key() {
    let site = Site::with_default("default");
    for (file, org) in [("1", "first"), ("2", "second")] {
        let mut params = named("n.example.com", &[]);
        let organization = rcgen::DnType::OrganizationName;
        params.distinguished_name.push(organization, org);
        let made = self_signed(&params);
        site.write(&format!("tls/{file}.pem"), made.key + &made.cert);
    }
    let rsa = self_signed_rsa(&named("n.example.com", &[]));
    site.write("tls/0.pem", RSA_KEY.to_owned() + &rsa.cert);
    let (contexts, _) = site.load(None);
    let shaken = Client::new().shake(contexts.server(25).unwrap(), "n.example.com");
    let shown = super::super::describe(&shaken.unwrap().chain[0]);
    assert_eq!(&*shown.organization, "first");
}

// covers TLS-17
#[test]
fn whole_chain_of_a_bundle_is_sent() {
    let site = Site::with_default("default");
    let ours = Authority::new("Our CA");
    let made = ours.issue(named("n.example.com", &[]));
    site.write("tls/n.pem", made.key.clone() + &made.cert + &ours.pem);
    let (contexts, _) = site.load(None);
    let shaken = Client::new().shake(contexts.server(25).unwrap(), "n.example.com");
    assert_eq!(shaken.unwrap().chain, [made.der, ours.der]);
}

#[test]
fn directory_as_programs_for_renewal_lay_it_out_is_understood() {
    // covers TLS-17
    let site = Site::with_default("default");
    let ours = Authority::new("Our CA");
    let made = ours.issue(named("n.example.com", &[]));
    site.write("tls/n/cert.pem", &made.cert);
    site.write("tls/n/chain.pem", &ours.pem);
    site.write("tls/n/fullchain.pem", made.cert.clone() + &ours.pem);
    site.write("tls/n/privkey.pem", &made.key);
    let (contexts, told) = site.load(None);
    assert_eq!(told, Vec::<String>::new());
    let shaken = Client::new().shake(contexts.server(25).unwrap(), "n.example.com");
    assert_eq!(shaken.unwrap().chain, [made.der, ours.der]);
}

// covers TLS-17
#[test]
fn old_certificates_are_told_and_used() {
    let site = Site::with_default("default");
    for (days, name) in [(-1, "old.example.com"), (5, "ageing.example.com")] {
        let made = self_signed(&until(named(name, &[]), days));
        site.write(&format!("tls/{name}.pem"), made.key + &made.cert);
    }
    let (_, told) = site.load(None);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("tls/ageing.example.com.pem expires on 20"));
    assert!(told[0].ends_with("Z, in 5 days"), "{told:?}");
    assert!(told[1].starts_with("tls/old.example.com.pem expired on 20"));
    assert_eq!(served(&site, "old.example.com"), "old.example.com");
}

// covers TLS-17
#[test]
fn what_does_not_belong_together_is_told_and_the_rest_counts() {
    let site = Site::with_default("default");
    let made = |name| self_signed(&named(name, &[]));
    site.write("tls/lonely.key", made("x").key);
    site.write("tls/keyless.pem", made("keyless.example.com").cert);
    site.write("tls/other/wrong.pem", made("wrong.example.com").cert);
    site.write("tls/wrong.example.com.key", made("y").key);
    site.write(
        "tls/broken.pem",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    let good = made("good.example.com");
    site.write("tls/good.pem", good.key + &good.cert);
    let (_, mut told) = site.load(None);
    told.sort();
    let broken = told.remove(1);
    let start = "tls/broken.pem: CERTIFICATE cannot be read: ";
    assert!(broken.starts_with(start), "{broken}");
    assert_eq!(
        told,
        [
            "CN 'wrong.example.com' loading got: the key in tls/wrong.example.com.key is not that \
             of tls/other/wrong.pem",
            "tls/keyless.pem: no key for its certificate 'keyless.example.com'",
            "tls/lonely.key: no certificate for its key",
            "tls/wrong.example.com.key: no certificate for its key",
        ]
    );
    assert_eq!(served(&site, "good.example.com"), "good.example.com");
}

#[test]
fn numbers_of_keys_and_certificates_that_differ_are_told() {
    // covers TLS-01
    let site = Site::with_default("default");
    site.write("tls.ini", "key[]=tls_key.pem\nkey[]=tls_key.pem\n");
    let (contexts, told) = site.load(None);
    assert_eq!(told, ["number of keys (2) not equal to certs (1)."]);
    assert!(contexts.server(25).is_some());
}
