//! Tests of the settings of tls.ini.

use super::*;
use crate::config::testing::TestDir;

fn load(text: &str) -> (TlsIni, Vec<String>) {
    let t = TestDir::new();
    t.write("tls.ini", text);
    let mut problems = Problems::default();
    let ini = TlsIni::load(t.dir(), &mut problems).unwrap();
    assert!(problems.errors.is_empty(), "{problems:?}");
    let told = problems.warnings.iter().map(ToString::to_string);
    (ini, told.collect())
}

#[test]
fn missing_file_means_defaults() {
    // covers TLS-01 TLS-05 TLS-06 TLS-07 TLS-08 TLS-09 TLS-10 TLS-16
    let mut problems = Problems::default();
    let t = TestDir::new();
    let ini = TlsIni::load(t.dir(), &mut problems).unwrap();
    assert!(problems.warnings.is_empty() && problems.errors.is_empty());
    let inbound = ini.inbound();
    assert_eq!(inbound.key, ["tls_key.pem"]);
    assert_eq!(inbound.cert, ["tls_cert.pem"]);
    assert_eq!(inbound.min_version, MinVersion::Tls12);
    assert!(inbound.request_cert && inbound.honor_cipher_order);
    assert!(!inbound.reject_unauthorized && !inbound.request_ocsp && !ini.mutual_tls);
    assert!(inbound.ca.is_empty() && inbound.ciphers.is_none() && inbound.curves.is_empty());
    assert!(ini.require_authorized.is_empty() && ini.no_starttls_ports.is_empty());
    assert!(!ini.disable_for_failed_hosts && ini.session_tickets);
    assert_eq!(ini.disable_inbound_expiry, Duration::from_secs(3600));
    assert_eq!(ini.disable_expiry, Duration::from_secs(604_800));
}

#[test]
fn one_file_and_lists_of_files_are_taken_without_complaint() {
    // covers TLS-01
    let (ini, told) = load("key=a.pem\ncert[]=/x/b.pem\ncert[]=c.pem\n");
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(ini.key, ["a.pem"]);
    assert_eq!(ini.cert, ["/x/b.pem", "c.pem"]);
}

#[test]
fn sections_for_clients_go_before_main_and_the_star_before_both() {
    // covers TLS-15 PB-58
    let (ini, told) = load(
        "rejectUnauthorized=true\nminVersion=TLSv1.3\n[inbound]\nrejectUnauthorized=false\n\
         key=in.pem\nrequestCert=no\n[*]\nkey=star.pem\n",
    );
    assert_eq!(told, Vec::<String>::new());
    let inbound = ini.inbound();
    assert_eq!(inbound.key, ["star.pem"]);
    assert!(!inbound.reject_unauthorized && !inbound.request_cert);
    assert_eq!(inbound.min_version, MinVersion::Tls13);
    assert!(ini.reject_unauthorized);
}

#[test]
fn sections_named_after_certificates_are_about_these() {
    // covers TLS-15
    let (ini, told) = load(
        "[mx.example.com]\nkey=a.key\ncert=a.pem\nrequestOCSP=true\n[b.example.com]\n\
         ciphers=HIGH\nunknwon=1\n",
    );
    assert_eq!(ini.named().collect::<Vec<_>>(), ["mx.example.com"]);
    assert!(ini.request_ocsp_for("mx.example.com") && !ini.request_ocsp_for("b.example.com"));
    assert_eq!(
        told,
        [
            "tls.ini:7: unknown setting [b.example.com] unknwon",
            "tls.ini:6: [b.example.com] ciphers: has no effect for one certificate; set it in \
             [main], [inbound] or [*]",
        ]
    );
}

#[test]
fn what_cannot_be_done_is_told_once_with_what_is_done_instead() {
    // covers TLS-02 TLS-03 TLS-04
    let (ini, told) = load(
        "dhparam=dhparams.pem\nsecureProtocol=TLSv1_method\nminVersion=TLSv1\n\
         ciphers=AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256\necdhCurve=secp521r1:prime256v1\n\
         pfx=a.pfx\n[outbund]\nkey=a\n",
    );
    assert_eq!(ini.min_version, MinVersion::Tls12);
    assert_eq!(ini.curves, [Curve::P256]);
    assert_eq!(ini.ciphers.as_ref().map(Vec::len), Some(4));
    assert_eq!(
        told,
        [
            "tls.ini:1: dhparam has no effect; keys are agreed on with elliptic curves only",
            "tls.ini:2: secureProtocol has no effect; set minVersion",
            "tls.ini:6: pfx has no effect; turn it into PEM for key and cert: openssl pkcs12 -in FILE \
             -nodes -nocerts -out tls_key.pem; openssl pkcs12 -in FILE -nokeys -out tls_cert.pem",
            "tls.ini:7: unknown section [outbund]; is [outbound] meant?",
            "tls.ini:4: ciphers: not here: AES128-SHA; used are TLS_AES_256_GCM_SHA384:\
             TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:ECDHE-RSA-AES128-GCM-SHA256",
            "tls.ini:3: minVersion: TLSv1 is not spoken here (RFC 8996); TLSv1.2 applies",
            "tls.ini:5: ecdhCurve: not here: secp521r1; the others are offered",
        ]
    );
}

#[test]
fn bare_hosts_and_ranges_count_and_odd_ones_are_told() {
    // covers TLS-12 TLS-13
    let (ini, told) = load(
        "[no_tls_hosts]\n192.168.1.3\n172.16.0.0/16\nnonsense\n[mutual_auth_hosts]\nMX.example.org\n\
         b.example.org=cn.example.com\n[mutual_auth_hosts_exclude]\nc.example.org\n",
    );
    assert_eq!(ini.no_tls_hosts.len(), 2);
    assert!(ini.no_tls_hosts[1].contains("172.16.9.9".parse().unwrap()));
    let hosts: Vec<_> = ini.mutual_auth_hosts.iter().collect();
    assert_eq!(hosts[0].0, "b.example.org");
    assert_eq!(hosts[0].1, "cn.example.com");
    assert_eq!(
        (hosts[1].0.as_str(), hosts[1].1.as_str()),
        ("mx.example.org", "")
    );
    assert!(ini.mutual_auth_hosts_exclude.contains_key("c.example.org"));
    assert_eq!(
        told,
        [
            "tls.ini:4: [no_tls_hosts]: \"nonsense\" is not an IP address or CIDR block; it does not count"
        ]
    );
}

#[test]
fn older_name_of_stapling_counts_and_is_told() {
    // covers TLS-09
    let (ini, told) = load("\nenableOCSPStapling=true\nrequestOCSP=false\n");
    assert!(ini.inbound().request_ocsp);
    assert_eq!(
        told,
        ["tls.ini:2: enableOCSPStapling: is the older name of requestOCSP, and goes before it"]
    );
}

#[test]
fn redis_that_is_not_asked_is_told() {
    // covers TLS-16, PB-59
    let (ini, told) = load("[redis]\ndisable_for_failed_hosts=true\nhost=::1\nport=6380\ndb=2\n");
    assert!(ini.disable_for_failed_hosts);
    let unused = "has no effect; each worker remembers by itself";
    let line = |n, key| format!("tls.ini:{n}: [redis] {key} {unused}");
    assert_eq!(told, [line(3, "host"), line(4, "port"), line(5, "db")]);
}

#[test]
fn lists_of_ports_and_of_hosts_are_read() {
    // covers TLS-08 TLS-11 TLS-14
    let (ini, told) = load(
        "requireAuthorized[]=465\nrequireAuthorized[]=587\nno_starttls_ports[]=2525\n[outbound]\n\
         force_tls_hosts[]=mx.example.org\nno_tls_hosts[]=10.0.0.0/8\nrejectUnauthorized=true\n",
    );
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(ini.require_authorized, [465, 587]);
    assert_eq!(ini.no_starttls_ports, [2525]);
    assert_eq!(ini.outbound_force_tls_hosts, ["mx.example.org"]);
    assert_eq!(ini.outbound_no_tls_hosts, ["10.0.0.0/8"]);
    assert_eq!(ini.outbound_reject_unauthorized, Some(true));
}
