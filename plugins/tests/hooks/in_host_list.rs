//! rcpt_to.in_host_list, and the skeleton that shows how such a plugin is written.

use haraka_shared::hook::{Code, Verdict};
use serde_json::json;

use crate::site::{Site, results, sending};

const NAME: &str = "rcpt_to.in_host_list";

const FILES: [(&str, &str); 2] = [
    ("host_list", "# ours\nExample.COM\n"),
    ("host_list_regex", ".*\\.example\\.net\n"),
];

// covers PI3-02
#[test]
fn recipient_in_a_listed_domain_is_accepted_and_another_left_to_others() {
    let site = Site::new(&FILES);
    let plugin = site.load(NAME);
    assert_eq!(plugin.hooks(), ["mail hook_mail", "rcpt hook_rcpt"]);
    let c = sending("<a@other.org>");
    for listed in [
        "<bob@example.com>",
        "<bob@EXAMPLE.com>",
        "<bob@mx.Example.net>",
    ] {
        assert_eq!(plugin.rcpt(&c, listed), Verdict::OK, "{listed}");
    }
    for other in [
        "<bob@sub.example.com>",
        "<bob@example.net>",
        "<bob@example.com.org>",
    ] {
        assert_eq!(plugin.rcpt(&c, other), Verdict::CONT, "{other}");
    }
    assert_eq!(
        results(&c, NAME, "pass"),
        json!(["rcpt_to", "rcpt_to", "rcpt_to"])
    );
    assert_eq!(
        results(&c, NAME, "msg"),
        json!(["rcpt!local", "rcpt!local", "rcpt!local"])
    );
}

// covers PI3-02
#[test]
fn recipient_without_a_domain_is_left_to_others() {
    let site = Site::new(&FILES);
    let c = sending("<a@other.org>");
    assert_eq!(site.load(NAME).rcpt(&c, "<postmaster>"), Verdict::CONT);
    assert_eq!(results(&c, NAME, "fail"), json!(["rcpt!domain"]));
}

// covers PI3-02, PI3-03
#[test]
fn local_sender_may_send_anywhere_only_when_relaying() {
    let site = Site::new(&FILES);
    let plugin = site.load(NAME);
    let c = sending("<a@example.com>");
    assert_eq!(plugin.mail(&c), Verdict::CONT);
    assert_eq!(
        c.transaction().unwrap().notes.get("local_sender"),
        Some(true.into())
    );
    assert_eq!(plugin.rcpt(&c, "<x@far.org>"), Verdict::CONT);
    c.set_relaying(true);
    assert_eq!(plugin.rcpt(&c, "<x@far.org>"), Verdict::OK);
    assert_eq!(
        results(&c, NAME, "pass"),
        json!(["mail_from", "relaying local_sender"])
    );
}

// covers PI3-02
#[test]
fn relaying_client_with_a_foreign_sender_gets_no_vouching() {
    let site = Site::new(&FILES);
    let plugin = site.load(NAME);
    let c = sending("<a@other.org>");
    c.set_relaying(true);
    assert_eq!(plugin.mail(&c), Verdict::CONT);
    assert_eq!(plugin.rcpt(&c, "<x@far.org>"), Verdict::CONT);
    assert_eq!(
        results(&c, NAME, "msg"),
        json!(["mail_from!local", "rcpt!local"])
    );
}

// covers PI3-03
#[test]
fn anti_spoof_refuses_local_senders_from_outside_only() {
    let site = Site::new(&[FILES[0], ("host_list.anti_spoof", "true\n")]);
    let plugin = site.load(NAME);
    let c = sending("<a@Example.com>");
    assert_eq!(
        plugin.mail(&c),
        Verdict::deny("Mail from domain 'example.com' is not allowed from your host")
    );
    assert_eq!(results(&c, NAME, "fail"), json!(["mail_from.anti_spoof"]));
    c.set_relaying(true);
    assert_eq!(plugin.mail(&c), Verdict::CONT);
    assert_eq!(plugin.mail(&sending("<a@other.org>")), Verdict::CONT);
    let null = sending("<>");
    assert_eq!(plugin.mail(&null), Verdict::CONT);
    assert_eq!(results(&null, NAME, "skip"), json!(["mail_from.null"]));
}

#[test]
fn pattern_that_cannot_be_compiled_ends_the_start_with_file_and_line() {
    let site = Site::new(&[("host_list_regex", "# local\nok\n(?<!a)b\n")]);
    let error = site.try_load(NAME).err().unwrap();
    assert!(
        error.starts_with("host_list_regex:3: (?<!a)b: look-around"),
        "{error}"
    );
}

#[test]
fn skeleton_accepts_the_one_recipient_of_its_file() {
    let site = Site::new(&[("skeleton", "bob@example.com\n")]);
    let plugin = site.load("skeleton");
    let c = sending("<a@other.org>");
    assert_eq!(plugin.rcpt(&c, "<Bob@example.com>").code, Code::Ok);
    assert_eq!(plugin.rcpt(&c, "<eve@example.com>").code, Code::Cont);
    let unconfigured = Site::new(&[]);
    assert_eq!(
        unconfigured.load("skeleton").rcpt(&c, "<bob@example.com>"),
        Verdict::CONT
    );
}

// covers CFS-30
#[test]
fn skeleton_follows_its_file() {
    let site = Site::new(&[("skeleton", "bob@example.com\n")]);
    let plugin = site.load("skeleton");
    let c = sending("<a@other.org>");
    site.change(&[("skeleton", "eve@example.com\n")]);
    assert_eq!(plugin.rcpt(&c, "<bob@example.com>"), Verdict::CONT);
    assert_eq!(plugin.rcpt(&c, "<eve@example.com>"), Verdict::OK);
}

// covers CFS-31, CFS-32
#[test]
fn changed_files_count_at_once_and_bad_ones_do_not() {
    let site = Site::new(&FILES);
    let plugin = site.load(NAME);
    let c = sending("<a@other.org>");
    site.change(&[("host_list", "new.example\n")]);
    assert_eq!(plugin.rcpt(&c, "<bob@new.example>"), Verdict::OK);
    assert_eq!(plugin.rcpt(&c, "<bob@example.com>"), Verdict::CONT);
    site.change(&[("host_list_regex", "(?!a)b\n")]);
    assert_eq!(plugin.rcpt(&c, "<bob@mx.example.net>"), Verdict::OK);
}
