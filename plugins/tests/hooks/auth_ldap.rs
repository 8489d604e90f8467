//! auth-ldap: which entries are tried with the password, and what the directory's codes mean.

use crate::auth_back_ends::{LATER, RIGHT, WRONG, behind, log_in};
use crate::site::Site;

const NAME: &str = "auth-ldap";

fn ini(text: &str) -> [(&'static str, &str); 1] {
    [("auth_ldap.ini", text)]
}

/// An element whose content is given in hexadecimal digits; all are short here.
fn ber(tag: u8, content: &str) -> String {
    format!("{tag:02x}{:02x}{content}", content.len() / 2)
}

fn hex(text: &str) -> String {
    text.bytes().map(|o| format!("{o:02x}")).collect()
}

fn message(id: u8, operation: &str) -> String {
    ber(0x30, &format!("0201{id:02x}{operation}"))
}

fn bind(id: u8, dn: &str, password: &str) -> String {
    let content = format!("020103{}{}", ber(0x04, &hex(dn)), ber(0x80, &hex(password)));
    format!("C# {}", message(id, &ber(0x60, &content)))
}

fn outcome(id: u8, tag: u8, code: u8) -> String {
    let content = format!("0a01{code:02x}04000400");
    format!("S# {}", message(id, &ber(tag, &content)))
}

fn unbind(id: u8) -> String {
    format!("C# {}", message(id, "4200"))
}

const BOUND: u8 = 0x61;
const FOUND: u8 = 0x65;

#[test]
fn templates_are_tried_in_order_until_one_takes_the_password() {
    let text = "[dns]\na=uid=%u,ou=a\nb=uid=%u,ou=b\nc=uid=%u,ou=c\n";
    let script = [
        bind(1, "uid=x\\,y,ou=a", "pw"),
        outcome(1, BOUND, 49),
        bind(2, "uid=x\\,y,ou=b", "pw"),
        outcome(2, BOUND, 0),
        unbind(3),
    ];
    let (site, plugin) = behind(NAME, &ini(text), &[Some(&script.join("\n"))]);
    assert_eq!(log_in(&plugin, "x,y", "pw"), RIGHT);
    assert_eq!(*site.services.called.borrow(), ["127.0.0.1:389"]);
}

#[test]
fn codes_about_the_entry_refuse_and_all_others_are_the_directorys_trouble() {
    for (code, reply) in [
        (49, WRONG),
        (32, WRONG),
        (34, WRONG),
        (48, WRONG),
        (1, LATER),
        (13, LATER),
        (51, LATER),
        (52, LATER),
        (53, LATER),
    ] {
        let refused = [bind(1, "uid=u", "pw"), outcome(1, BOUND, code)].join("\n");
        let script = match reply {
            WRONG => format!("{refused}\n{}", unbind(2)),
            _ => refused,
        };
        let (_site, plugin) = behind(NAME, &ini("[dns]\na=uid=%u\n"), &[Some(&script)]);
        assert_eq!(log_in(&plugin, "u", "pw"), reply, "{code}");
    }
}

#[test]
fn directory_that_is_away_or_talks_nonsense_refuses_nobody() {
    let bind = bind(1, "uid=u", "pw");
    for script in [
        None,
        Some(format!("{bind}\nX")),
        Some(format!("{bind}\nLATE")),
        Some(format!("{bind}\nS# 485454502f312e31")),
        Some(format!("{bind}\nS# 3084ffffffff")),
        Some(format!("{bind}\n{}", outcome(2, BOUND, 0))),
        Some(format!("{bind}\n{}", outcome(1, FOUND, 0))),
        Some(format!("{bind}\n{}", outcome(0, 0x78, 52))),
    ] {
        let (_site, plugin) = behind(NAME, &ini("[dns]\na=uid=%u\n"), &[script.as_deref()]);
        assert_eq!(log_in(&plugin, "u", "pw"), LATER, "{script:?}");
    }
}

fn search(id: u8, seconds: &str, user: &str) -> String {
    let filter = ber(
        0xa3,
        &format!("{}{}", ber(0x04, &hex("uid")), ber(0x04, &hex(user))),
    );
    let content = format!(
        "{}0a01020a01000201020201{seconds}010100{filter}{}",
        ber(0x04, &hex("o=x")),
        ber(0x30, &ber(0x04, &hex("1.1")))
    );
    format!("C# {}", message(id, &ber(0x63, &content)))
}

fn entry(id: u8, dn: &str) -> String {
    let content = format!("{}3000", ber(0x04, &hex(dn)));
    format!("S# {}", message(id, &ber(0x64, &content)))
}

#[test]
fn the_one_entry_that_a_search_finds_is_tried() {
    let text = "[core]\ntimeout=1500\n[search]\nbasedn=o=x\nbinddn=cn=reader\nbindpw=rp\n";
    let begin = [
        bind(1, "cn=reader", "rp"),
        outcome(1, BOUND, 0),
        search(2, "01", "u"),
    ]
    .join("\n");
    let reference = format!("S# {}", message(2, "73020400"));
    for (then, reply) in [
        (
            vec![
                entry(2, "uid=u,o=x"),
                reference,
                outcome(2, FOUND, 0),
                bind(3, "uid=u,o=x", "pw"),
                outcome(3, BOUND, 0),
                unbind(4),
            ],
            RIGHT,
        ),
        (vec![outcome(2, FOUND, 0), unbind(3)], WRONG),
        (
            vec![
                entry(2, "uid=u,o=x"),
                entry(2, "uid=u,ou=y,o=x"),
                outcome(2, FOUND, 0),
                unbind(3),
            ],
            WRONG,
        ),
        (vec![entry(2, ""), outcome(2, FOUND, 0), unbind(3)], WRONG),
        (vec![outcome(2, FOUND, 4), unbind(3)], WRONG),
        (vec![outcome(2, FOUND, 51)], LATER),
    ] {
        let script = format!("{begin}\n{}", then.join("\n"));
        let (_site, plugin) = behind(NAME, &ini(text), &[Some(&script)]);
        assert_eq!(log_in(&plugin, "u", "pw"), reply, "{then:?}");
    }
    // That we may not search says nothing of the user.
    let script = [bind(1, "cn=reader", "rp"), outcome(1, BOUND, 49)].join("\n");
    let (_site, plugin) = behind(NAME, &ini(text), &[Some(&script)]);
    assert_eq!(log_in(&plugin, "u", "pw"), LATER);
}

#[test]
fn tls_begins_at_once_or_when_asked_for_and_certificates_count() {
    let asked = message(1, &ber(0x77, &ber(0x80, &hex("1.3.6.1.4.1.1466.20037"))));
    let login = |id| {
        [
            bind(id, "uid=u", "pw"),
            outcome(id, BOUND, 0),
            unbind(id + 1),
        ]
        .join("\n")
    };
    for (server, script) in [
        (
            "server=ldaps://dir.test",
            format!("TLS dir.test System\n{}", login(1)),
        ),
        (
            "server=ldaps://dir.test\nrejectUnauthorized=false",
            format!("TLS dir.test Anyone\n{}", login(1)),
        ),
        (
            "server=ldap://dir.test\ntls_enabled=true",
            format!(
                "C# {asked}\n{}\nTLS dir.test System\n{}",
                outcome(1, 0x78, 0),
                login(2)
            ),
        ),
    ] {
        let text = format!("[core]\n{server}\n[dns]\na=uid=%u\n");
        let (_site, plugin) = behind(NAME, &ini(&text), &[Some(&script)]);
        assert_eq!(log_in(&plugin, "u", "pw"), RIGHT, "{server}");
    }
    // Never in the clear where TLS was wanted; nor with what came behind the answer in the clear.
    let injected = format!("{}00", outcome(1, 0x78, 0));
    for answer in [outcome(1, 0x78, 52), injected] {
        let text = "[core]\nserver=ldap://dir.test\ntls_enabled=true\n[dns]\na=uid=%u\n";
        let script = format!("C# {asked}\n{answer}");
        let (_site, plugin) = behind(NAME, &ini(text), &[Some(&script)]);
        assert_eq!(log_in(&plugin, "u", "pw"), LATER);
    }
}

#[test]
fn settings_that_make_no_sense_end_the_start_at_their_line() {
    for (text, error) in [
        (
            "[core]\nserver=http://x\n",
            "auth_ldap.ini:2: [core] server: \"http://x\" is not ldap://, ldaps:// or ldapi:///path",
        ),
        (
            "[core]\ntimeout=soon\n",
            "auth_ldap.ini:2: [core] timeout: \"soon\" is no number of milliseconds",
        ),
        (
            "[search]\nbasedn=o=x\nsearchfilter=(uid=%u\n",
            "auth_ldap.ini:3: [search] searchfilter: a bracket has no partner",
        ),
        (
            "[search]\nbasedn=o=x\nbinddn=cn=x\n",
            "auth_ldap.ini:3: [search] binddn: binddn and bindpw go together",
        ),
        (
            "[search]\nbasedn=o=x\nscope=deep\n",
            "auth_ldap.ini:3: [search] scope: \"deep\" is none of sub, one, base",
        ),
    ] {
        let found = Site::new(&ini(text)).try_load(NAME).err().unwrap();
        assert_eq!(found, error);
    }
}
