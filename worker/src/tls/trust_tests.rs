//! Tests of verdicts; the codes were compared with those of Node 20.

use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, IsCa};

use super::super::suites::provider;
use super::super::testing::{Authority, named, self_signed, until};
use super::*;

fn trust(own: &[&CertificateDer<'static>]) -> Trust {
    let own = own.iter().map(|der| (*der).clone()).collect();
    Trust::new(provider(None, &[]), own, Vec::new())
}

fn judged(trust: &Trust, chain: &[&CertificateDer<'static>]) -> &'static str {
    let chain: Vec<_> = chain.iter().map(|der| (*der).clone()).collect();
    match trust.judge_client(&chain, UnixTime::now()) {
        Ok(()) => "trusted",
        Err(verdict) => verdict.code,
    }
}

// covers TLS-07 TLS-08
#[test]
fn verdicts_are_those_that_node_gives() {
    let (ours, other) = (Authority::new("Our CA"), Authority::new("Other CA"));
    let trust = trust(&[&ours.der]);
    let good = ours.issue(named("client", &["client.example.com"]));
    assert_eq!(judged(&trust, &[&good.der]), "trusted");
    assert_eq!(judged(&trust, &[&good.der, &ours.der]), "trusted");
    assert_eq!(judged(&trust, &[]), "UNABLE_TO_GET_ISSUER_CERT");
    let alone = self_signed(&named("self", &["self.example.com"]));
    assert_eq!(judged(&trust, &[&alone.der]), "DEPTH_ZERO_SELF_SIGNED_CERT");
    let strange = other.issue(named("client", &["c.example.com"]));
    assert_eq!(
        judged(&trust, &[&strange.der]),
        "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
    );
    assert_eq!(
        judged(&trust, &[&strange.der, &other.der]),
        "SELF_SIGNED_CERT_IN_CHAIN"
    );
    assert_eq!(
        judged(&trust, &[&strange.der, &strange.der]),
        "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"
    );
}

#[test]
fn time_and_purpose_of_a_certificate_count() {
    let ours = Authority::new("Our CA");
    let trust = trust(&[&ours.der]);
    let old = ours.issue(until(named("old", &["o.example.com"]), -2));
    assert_eq!(judged(&trust, &[&old.der]), "CERT_HAS_EXPIRED");
    let old_alone = self_signed(&until(named("old", &["o.example.com"]), -2));
    assert_eq!(judged(&trust, &[&old_alone.der]), "CERT_HAS_EXPIRED");
    let good = ours.issue(named("client", &["client.example.com"]));
    let long_ago = UnixTime::since_unix_epoch(Duration::from_secs(1));
    let verdict = trust.judge_client(&[good.der], long_ago).unwrap_err();
    assert_eq!(verdict.code, "CERT_NOT_YET_VALID");

    let mut server = named("server", &["s.example.com"]);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = ours.issue_as_it_is(server);
    assert_eq!(judged(&trust, &[&server.der]), "INVALID_PURPOSE");
}

#[test]
fn certificate_that_vouches_for_itself_is_trusted_if_ca_names_it() {
    let mut params = named("self", &["self.example.com"]);
    // As `openssl req -x509` makes it.
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let alone = self_signed(&params);
    assert_eq!(judged(&trust(&[&alone.der]), &[&alone.der]), "trusted");
    let ours = Authority::new("Our CA");
    let code = judged(&trust(&[&ours.der]), &[&alone.der]);
    assert_eq!(code, "DEPTH_ZERO_SELF_SIGNED_CERT");
    let old = self_signed(&until(params, -1));
    assert_eq!(judged(&trust(&[&old.der]), &[&old.der]), "CERT_HAS_EXPIRED");
}

#[test]
fn revoked_certificates_are_refused_and_others_not() {
    // covers TLS-03
    let ours = Authority::new("Our CA");
    let mut params = named("bad", &["b.example.com"]);
    params.serial_number = Some(7.into());
    let (bad, good) = (
        ours.issue(params),
        ours.issue(named("good", &["g.example.com"])),
    );
    let crl = ours.revoke(7);
    let trust = Trust::new(provider(None, &[]), vec![ours.der.clone()], vec![crl]);
    assert_eq!(judged(&trust, &[&bad.der]), "CERT_REVOKED");
    assert_eq!(judged(&trust, &[&good.der]), "trusted");
}

#[test]
fn without_an_authority_nobody_is_trusted() {
    let alone = self_signed(&named("self", &["self.example.com"]));
    let nobody = Trust::nobody(provider(None, &[]));
    assert_eq!(
        judged(&nobody, &[&alone.der]),
        "DEPTH_ZERO_SELF_SIGNED_CERT"
    );
    let rubbish = CertificateDer::from(vec![1, 2, 3]);
    assert_eq!(
        judged(&nobody, &[&rubbish]),
        "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
    );
}
