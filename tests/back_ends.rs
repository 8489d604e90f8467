//! Logins that other servers decide: the real program in front of another one, of a Dovecot and of a slapd, and behind a
//! proxy that says who the client is. The client is swaks.

#![allow(missing_docs)]
// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;

use std::path::Path;
use std::process::{Command, Stdio};

use harness::pki::Authority;
use harness::programs::{Daemon, directory, dovecot};
use harness::{Install, Server, skip};

const USER: &str = "u@here.test";
const PASSWORD: &str = "pass word";

/// An install directory that offers TLS and has this plugin.
fn install(plugin: &str) -> Install {
    let pem = Authority::new().issue("mx.test").pem();
    Install::new()
        .plugins(&["tls", plugin, "rcpt_to.in_host_list", "queue/test"])
        .config("tls_key.pem", &pem)
        .config("tls_cert.pem", &pem)
}

/// What came of a swaks with these arguments: its exit code and what it showed; `None` if it is not
/// installed.
fn swaks(server: &Server, arguments: &[&str]) -> Option<(i32, String)> {
    let output = Command::new("swaks")
        .args(["--server", &server.addr().to_string()])
        .args(["--from", "a@here.test", "--to", "b@here.test"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((output.status.code().unwrap(), shown))
}

/// Tries the right password in both mechanisms, a wrong one, and a name that nobody has.
fn users_log_in(server: &Server) {
    for (mechanism, user, password, said) in [
        ("PLAIN", USER, PASSWORD, "235 2.7.0"),
        ("LOGIN", USER, PASSWORD, "235 2.7.0"),
        ("PLAIN", USER, "guess", "535 5.7.8"),
        ("LOGIN", "nobody@here.test", PASSWORD, "535 5.7.8"),
    ] {
        let Some(shown) = log_in(server, mechanism, user, password) else {
            return skip("swaks is not installed");
        };
        assert!(shown.contains(said), "{mechanism} {user}: {shown}");
    }
    let log = server.log_text();
    for secret in [PASSWORD, "guess"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

fn log_in(server: &Server, mechanism: &str, user: &str, password: &str) -> Option<String> {
    let arguments = [
        "--tls",
        "--auth",
        mechanism,
        "--auth-user",
        user,
        "--auth-password",
        password,
        "--quit-after",
        "AUTH",
    ];
    Some(swaks(server, &arguments)?.1)
}

/// A server that knows the user, under TLS.
fn knowing() -> Server {
    let users = format!("[core]\nmethods=PLAIN,LOGIN\n[users]\n{USER}={PASSWORD}\n");
    Server::start(install("auth/flat_file").config("auth_flat_file.ini", &users))
}

// covers PI1-03
#[test]
fn auth_proxy_asks_another_server_over_tls() {
    let back = knowing();
    let ini = format!("[domains]\nhere.test={}\n", back.addr());
    let front = Server::start(install("auth/auth_proxy").config("auth_proxy.ini", &ini));
    users_log_in(&front);
    let log = back.log_text();
    assert!(log.contains("tls=Y"), "{log}");
    drop(back);
    if let Some(shown) = log_in(&front, "PLAIN", USER, PASSWORD) {
        assert!(shown.contains("454 4.7.0"), "{shown}");
    }
}

// covers PI1-04
#[test]
fn auth_bridge_asks_another_server_over_tls() {
    let back = knowing();
    let ini = format!("host=127.0.0.1\nport={}\n", back.addr().port());
    users_log_in(&Server::start(
        install("auth/auth_bridge").config("smtp_bridge.ini", &ini),
    ));
}

#[test]
fn auth_dovecot_asks_a_real_dovecot() {
    let Some(dovecot) = dovecot(USER, PASSWORD) else {
        return;
    };
    let ini = format!("socket={}\n", dovecot.socket().display());
    let server = Server::start(install("auth/dovecot").config("auth_dovecot.ini", &ini));
    users_log_in(&server);
    drop(dovecot);
    if let Some(shown) = log_in(&server, "PLAIN", USER, PASSWORD) {
        assert!(shown.contains("454 4.7.0"), "{shown}");
    }
}

const PEOPLE: &str = "dn: dc=test\nobjectClass: dcObject\nobjectClass: organization\ndc: test\no: test\n\n\
dn: uid=u@here.test,dc=test\nobjectClass: inetOrgPerson\nuid: u@here.test\ncn: u\nsn: u\n\
mail: u@here.test\nuserPassword: pass word\n\n\
dn: cn=mail,dc=test\nobjectClass: inetOrgPerson\ncn: mail\nsn: mail\nuserPassword: rights\n";

/// A directory with a user, and somebody who may search it.
fn slapd() -> Option<Daemon> {
    const PROGRAM: &str = "/usr/sbin/slapd";
    if !Path::new(PROGRAM).exists() {
        return None;
    }
    let dir = directory("slapd");
    let d = dir.display();
    let config = format!(
        "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
         include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
         pidfile {d}/pid\ndatabase mdb\nsuffix dc=test\ndirectory {d}\n\
         access to attrs=userPassword by anonymous auth by * none\n\
         access to * by dn.exact=cn=mail,dc=test read by anonymous auth by * none\n"
    );
    let file = dir.join("slapd.conf");
    std::fs::write(&file, config).unwrap();
    std::fs::write(dir.join("people"), PEOPLE).unwrap();
    let filled = Command::new("/usr/sbin/slapadd")
        .arg("-f")
        .arg(&file)
        .arg("-l")
        .arg(dir.join("people"))
        .output()
        .unwrap();
    assert!(filled.status.success(), "{filled:?}");
    let url = format!("ldapi://{}", d.to_string().replace('/', "%2F")) + "%2Fsocket";
    let file = file.to_str().unwrap().to_owned();
    Daemon::start(dir, PROGRAM, &["-d", "0", "-f", &file, "-h", &url])
}

// covers PI1-06: the old name leads to the plugin
#[test]
fn auth_ldap_asks_a_real_slapd_by_template_and_by_search() {
    let Some(slapd) = slapd() else {
        return skip("slapd is not installed");
    };
    let core = format!("[core]\nserver=ldapi://{}\n", slapd.socket().display());
    let search = "binddn=cn=mail,dc=test\nbindpw=rights\nbasedn=dc=test\n";
    for rest in [
        "[dns]\nnone=uid=%u,ou=none,dc=test\nall=uid=%u,dc=test\n".to_owned(),
        format!("[search]\n{search}searchfilter=(&(objectClass=inetOrgPerson)(mail=%u))\n"),
    ] {
        let ini = format!("{core}{rest}");
        let server = Server::start(install("auth/auth_ldap").config("auth_ldap.ini", &ini));
        users_log_in(&server);
        // A name that would be a filter of its own.
        let shown = log_in(&server, "PLAIN", "*", PASSWORD);
        if let Some(shown) = shown {
            assert!(shown.contains("535 5.7.8"), "{shown}");
        }
    }
    let ini = format!("{core}[search]\n{}", search.replace("rights", "wrong"));
    let server = Server::start(install("auth-ldap").config("auth_ldap.ini", &ini));
    if let Some(shown) = log_in(&server, "PLAIN", USER, PASSWORD) {
        assert!(shown.contains("454 4.7.0"), "{shown}");
    }
}

// covers PI3-07, EXT-07
#[test]
fn swaks_speaks_for_a_client_by_xclient() {
    let server = Server::start(install("xclient"));
    let announced = "NAME=Far.Client.test ADDR=192.0.2.9 HELO=Helo.client.test PROTO=ESMTP";
    let Some((code, shown)) = swaks(&server, &["--xclient", announced]) else {
        return skip("swaks is not installed");
    };
    assert_eq!(code, 0, "{shown}");
    let stored = String::from_utf8(server.install().stored().pop().unwrap()).unwrap();
    assert!(stored.contains("(Far.Client.test [192.0.2.9])"), "{stored}");
}
