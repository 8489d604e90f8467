//! Packages that judge a message: sender, recipients, header, links, attachments.

use crate::side::{Setup, same_as_haraka};
use crate::site::{MESSAGE, names};

// covers PLG-08, TXN-01
#[test]
fn aliases_rewrite_and_drop_recipients_as_with_haraka() {
    let setup = Setup {
        plugins: &["aliases"],
        config: &[
            (
                "aliases.json",
                r#"{"one@here.test":{"action":"alias","to":"uno"},"two":{"action":"alias","to":["a@here.test","b@here.test"]},"gone":{"action":"drop"},"bad":{"action":"alias"},"odd":{"action":"what"}}"#,
            ),
            ("queue.test", ""),
        ],
        volatile: &[],
    };
    same_as_haraka(&setup, None, &["250"], |side| {
        for to in [
            "one@here.test",
            "two@here.test",
            "two-x@here.test",
            "gone@here.test",
            "bad@here.test",
            "odd+y@here.test",
        ] {
            side.from("20.0.0.1", |c| {
                c.mail("x.test", "a@b.test", &[to], MESSAGE);
                c.quit();
            });
        }
    });
}

// covers PLG-03, TXN-02
#[test]
fn headers_are_checked_as_with_haraka() {
    let setup = Setup {
        plugins: &["headers"],
        config: &[(
            "headers.ini",
            "required=From,Date\ndate_future_days=2\ndate_past_days=15\nsingular=Date,From,Subject,To\n[reject]\nduplicate_singular=true\nmissing_required=true\ndelivered_to=true\ninvalid_date=false\n",
        )],
        volatile: &["human", "human_html"],
    };
    let must = ["headers {", "direct-to-mx", "550"];
    same_as_haraka(&setup, Some(&names()), &must, |side| {
        let messages = [
            MESSAGE.to_owned(),
            "Subject: none\n\nbody".to_owned(),
            format!("Subject: twice\n{MESSAGE}"),
            format!("Delivered-To: c@here.test\n{MESSAGE}"),
            format!(
                "Return-Path: <x@y.test>\nX-Mailer: Some Mailer 1\nList-Id: <a.b.test>\n{MESSAGE}"
            ),
            format!(
                "Received: from a by b; Sat, 1 Jan 2000 00:00:00 +0000\nReceived: from c by d; Sat, 1 Jan 2000 00:00:00 +0000\nUser-Agent: x\n{MESSAGE}"
            ),
            MESSAGE.replace("Ann <ann@sender.test>", "\"PayPal service\" <x@evil.test>"),
            MESSAGE.replace(
                "Ann <ann@sender.test>",
                "=?utf-8?B?UGF5UGFs?= <a@b.test>, Bob <b@c.test>",
            ),
            MESSAGE.replace("Ann <ann@sender.test>", "not an address"),
            MESSAGE.replace("1 Jan 2000", "the day"),
        ];
        for message in &messages {
            side.from("20.0.0.1", |c| {
                c.mail(
                    "good.sender.test",
                    "ann@sender.test",
                    &["c@here.test"],
                    message,
                );
                c.quit();
            });
        }
    });
}

// covers PLG-03, DNS-01
#[test]
fn senders_must_resolve_as_with_haraka() {
    let setup = Setup {
        plugins: &["mail_from.is_resolvable"],
        config: &[(
            "mail_from.is_resolvable.ini",
            "timeout=5\n[reject]\nno_mx=true\n",
        )],
        volatile: &[],
    };
    let dns = names();
    dns.servfail("broken.test");
    let must = ["mail_from.is_resolvable {", "550"];
    same_as_haraka(&setup, Some(&dns), &must, |side| {
        for from in [
            "a@sender.test",
            "a@nomail.test",
            "a@private.test",
            "a@dangling.test",
            "a@none.test",
            "a@broken.test",
            "a@lies.test",
            "",
            "a@[20.0.0.1]",
        ] {
            side.from("20.0.0.1", |c| {
                c.greeting();
                c.says(&[
                    "EHLO x.test",
                    &format!("MAIL FROM:<{from}>"),
                    "RCPT TO:<c@here.test>",
                    "QUIT",
                ]);
            });
        }
    });
}

// covers PLG-03, DNS-01
#[test]
fn spf_is_evaluated_as_with_haraka() {
    let setup = Setup {
        plugins: &["spf"],
        config: &[(
            "spf.ini",
            "[relay]\ncontext=sender\n[skip]\nrelaying=false\nauth=false\n[deny]\nhelo_fail=true\nmfrom_fail=true\nmfrom_permerror=false\n[deferral]\nmfrom_temperror=true\n",
        )],
        volatile: &[],
    };
    let dns = names();
    dns.txt("sender.test", "v=spf1 ip4:20.0.0.1 mx -all")
        .txt("soft.test", "v=spf1 a:good.sender.test ~all")
        .txt(
            "chain.test",
            "v=spf1 include:sender.test redirect=soft.test",
        )
        .txt("macro.test", "v=spf1 exists:%{ir}.%{v}.list.test ?all")
        .address("2.0.0.20.in-addr.list.test", "127.0.0.2")
        .txt("broken.test", "v=spf1 include:broken.test all:x")
        .txt("ptr.test", "v=spf1 ptr:sender.test -all")
        .txt("good.sender.test", "v=spf1 a -all")
        .txt("twice.test", "v=spf1 -all")
        .txt("twice.test", "v=spf1 +all")
        .txt("net.test", "v=spf1 ip4:20.0.0.0/24 ip6:2001:db8::/32 -all")
        .servfail("fails.test");
    let must = ["spf {", "Pass", "550"];
    same_as_haraka(&setup, Some(&dns), &must, |side| {
        let froms = [
            "sender.test",
            "soft.test",
            "chain.test",
            "macro.test",
            "broken.test",
            "ptr.test",
            "twice.test",
            "net.test",
            "fails.test",
            "none.test",
        ];
        for ip in ["20.0.0.1", "20.0.0.2"] {
            for from in froms {
                side.from(ip, |c| {
                    c.mail(
                        "good.sender.test",
                        &format!("a@{from}"),
                        &["c@here.test"],
                        MESSAGE,
                    );
                    c.quit();
                });
            }
        }
        side.from("2001:db8::5", |c| {
            c.mail("x.test", "a@net.test", &["c@here.test"], MESSAGE);
            c.quit();
        });
        side.from("20.0.0.1", |c| {
            c.mail("good.sender.test", "", &["c@here.test"], MESSAGE);
            c.quit();
        });
    });
}

// covers PLG-03, TXN-04
#[test]
fn links_are_looked_up_as_with_haraka() {
    let setup = Setup {
        plugins: &["uribl"],
        config: &[
            (
                "uribl.ini",
                "max_uris_per_list=20\ntimeout=6\n[uri.test]\nrdns=true\nhelo=true\nenvfrom=true\nfrom=true\nreplyto=true\nmsgid=true\nbody=true\nstrip_to_domain=true\nvalidate=^127\\.\n",
            ),
            ("uribl.excludes", "excluded.test\n"),
        ],
        volatile: &[],
    };
    let dns = names();
    dns.address("evil.com.uri.test", "127.0.0.2");
    let html = MESSAGE.replace("\n\nbody", "\nMIME-Version: 1.0\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\nPGEgaHJlZj0iaHR0cDovL3d3dy5ldmlsLmNvbS94Ij54PC9hPg==");
    same_as_haraka(
        &setup,
        Some(&dns),
        &["blacklisted in uri.test", "uribl {"],
        |side| {
            let links = [
                "see http://www.evil.com/a?b",
                "nothing",
                "www.good.com and http://1.2.3.4/",
            ];
            for link in links {
                side.from("20.0.0.1", |c| {
                    c.mail(
                        "x.test",
                        "a@b.test",
                        &["c@here.test"],
                        &MESSAGE.replace("body", link),
                    );
                    c.quit();
                });
            }
            side.from("20.0.0.1", |c| {
                c.mail("x.test", "a@b.test", &["c@here.test"], &html)
            });
            side.from("20.0.0.1", |c| {
                c.mail("mail.evil.com", "a@b.test", &["c@here.test"], MESSAGE)
            });
            side.from("20.0.0.1", |c| {
                c.mail("x.test", "a@evil.com", &["c@here.test"], MESSAGE)
            });
        },
    );
}

// covers PLG-03, TXN-02
#[test]
fn bounces_are_judged_as_with_haraka() {
    let setup = Setup {
        plugins: &["bounce"],
        config: &[
            (
                "bounce.ini",
                "[check]\nsingle_recipient=true\nempty_return_path=true\nbad_rcpt=true\nbounce_spf=true\nhash_validation=false\n[reject]\nsingle_recipient=true\nempty_return_path=true\nbad_rcpt=true\n",
            ),
            ("bounce_bad_rcpt", "never@here.test\n"),
        ],
        volatile: &[],
    };
    let dns = names();
    dns.txt("here.test", "v=spf1 ip4:20.0.0.2 -all");
    let bounce = format!(
        "{MESSAGE}\n\n------ copy\nReceived: from x ([20.0.0.1]) by y\nMessage-ID: <2@here.test>\nFrom: c@here.test\n\nx"
    );
    same_as_haraka(&setup, Some(&dns), &["bounce {", "550"], |side| {
        side.from("20.0.0.1", |c| {
            c.mail("x.test", "", &["c@here.test"], &bounce);
            c.message("", &["c@here.test", "d@here.test"], &bounce);
            c.message("", &["never@here.test"], &bounce);
            c.message(
                "",
                &["c@here.test"],
                &format!("Return-Path: <a@b.test>\n{bounce}"),
            );
            c.message("a@b.test", &["c@here.test"], MESSAGE);
            c.quit();
        });
    });
}

// covers PLG-03, TXN-05
#[test]
fn attachments_are_listed_and_refused_as_with_haraka() {
    let setup = Setup {
        plugins: &["attachment"],
        config: &[
            (
                "attachment.ini",
                "[main]\ndisallowed_extensions=exe,bat\n[archive]\nextensions=zip,tar\n",
            ),
            ("attachment.filename.regex", "^secret.*\n"),
            ("attachment.ctype.regex", "^application/x-bad\n"),
        ],
        volatile: &["time"],
    };
    let with = |name: &str, kind: &str, data: &str| {
        MESSAGE.replace("\n\nbody", &format!("\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b1\"\n\n--b1\nContent-Type: text/plain\n\nhello\n--b1\nContent-Type: {kind}; name=\"{name}\"\nContent-Disposition: attachment; filename=\"{name}\"\nContent-Transfer-Encoding: base64\n\n{data}\n--b1--"))
    };
    same_as_haraka(&setup, None, &["attachment {", "550"], |side| {
        let messages = [
            MESSAGE.to_owned(),
            with("a.txt", "text/plain", "aGVsbG8="),
            with("a.exe", "application/octet-stream", "TVo="),
            with("secret.doc", "application/msword", "aGVsbG8="),
            with("x.bin", "application/x-bad", "aGVsbG8="),
            with(
                "fine.zip",
                "application/zip",
                include_str!("attachment/txt.zip.b64").trim(),
            ),
        ];
        for message in &messages {
            side.from("20.0.0.1", |c| {
                c.mail("x.test", "a@b.test", &["c@here.test"], message);
                c.quit();
            });
        }
    });
}
