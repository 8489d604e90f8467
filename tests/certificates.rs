//! Certificates and keys of an installation: told by `--check`, followed while the server runs, read
//! before workers give up their rights.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use harness::{DEADLINE, Install, Server, skip};
use nix::unistd::geteuid;
use rcgen::{CertificateParams, DnType, KeyPair};

/// A key and a certificate of this common name.
fn made(common: &str) -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (key.serialize_pem(), certificate.pem())
}

fn install() -> Install {
    let (key, certificate) = made("default");
    Install::new()
        .set("log.ini", "main", "level", "info")
        .config("tls_key.pem", &key)
        .config("tls_cert.pem", &certificate)
}

/// What `--check` says, and its status.
fn check(install: &Install) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args(["--check", "-c"])
        .arg(install.path())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let root = format!("{}/", install.path().display());
    (out.status.code().unwrap(), text.replace(&root, ""))
}

// covers TLS-01, TLS-04
#[test]
fn check_tells_what_is_wrong_with_certificates_and_settings() {
    let sound = install();
    assert_eq!(check(&sound), (0, "0 errors, 0 warnings\n".to_owned()));
    sound.write("config/tls_key.pem", made("other").0.as_bytes());
    sound.write("config/tls.ini", b"minVersion=TLSv1.1\n");
    let (status, text) = check(&sound);
    assert_eq!(status, 1);
    assert_eq!(
        text,
        "error: tls cert config/tls_cert.pem: no key belongs to the certificate\n\
         error: no usable default certificate (key and cert of tls.ini): TLS is not offered\n\
         warning: tls.ini:1: minVersion: TLSv1.1 is not spoken here (RFC 8996); TLSv1.2 applies\n\
         2 errors, 1 warning\n"
    );
}

// covers TLS-17, PB-58
#[test]
fn certificates_that_come_and_change_are_noticed_wherever_they_are() {
    let server = Server::start(install());
    let write = |name: &str, text: &str| server.install().write(name, text.as_bytes());
    let bundle = |name: &str| {
        let (key, certificate) = made(name);
        key + &certificate
    };
    write("config/tls/one.pem", &bundle("one.example.com"));
    server.wait_for_log("found 1 TLS certs in config/tls", DEADLINE);
    // A directory is made first, and filled later.
    std::fs::create_dir_all(server.install().path().join("config/tls/deep/er")).unwrap();
    // Who has seen this has seen the directory.
    write("config/tls/sign.pem", &bundle("sign.example.com"));
    server.wait_for_log("found 2 TLS certs in config/tls", DEADLINE);
    write("config/tls/deep/er/two.pem", &bundle("two.example.com"));
    server.wait_for_log("found 3 TLS certs in config/tls", DEADLINE);
    write(
        "config/tls/deep/er/two.pem",
        "-----BEGIN CERTIFICATE-----\n",
    );
    server.wait_for_log(
        "tls/deep/er/two.pem: the earlier certificate stays",
        DEADLINE,
    );
    // The default ones, without a change of tls.ini.
    write("config/tls_cert.pem", &made("renewed").1);
    let wrong = "config/tls_cert.pem: no key belongs to the certificate";
    server.wait_for_log(wrong, DEADLINE);
    server.wait_for_log("tls_cert.pem: the earlier certificate stays", DEADLINE);
}

// covers TLS-01
#[test]
fn keys_that_are_roots_are_read_before_workers_become_somebody_else() {
    if !geteuid().is_root() {
        return skip("only root has keys of its own");
    }
    let install = install().set("smtp.ini", "main", "user", "nobody");
    let key = install.path().join("config/tls_key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start(install);
    server.wait_for_log("New uid: ", DEADLINE);
    let (key, certificate) = made("one.example.com");
    let bundle = key + &certificate;
    server
        .install()
        .write("config/tls/one.pem", bundle.as_bytes());
    let stays =
        "tls_key.pem: may not be read while the server runs, what was read at the start stays";
    server.wait_for_log(stays, DEADLINE);
    let log = server.log_text();
    assert!(!log.contains("could not be loaded"), "{log}");
    assert!(!log.contains("TLS is not offered"), "{log}");
}
