//! Packages that ask nobody but DNS for names.

use crate::harness::FakeDns;
use crate::side::{Setup, same_as_haraka};

const MESSAGE: &str = "From: Ann <ann@sender.test>\nTo: c@here.test\nDate: Sat, 1 Jan 2000 00:00:00 +0000\nSubject: hi\nMessage-ID: <1@sender.test>\n\nbody";

/// A few hosts that have names, forwards and backwards.
fn names() -> FakeDns {
    let dns = FakeDns::start();
    dns.ptr("20.0.0.1", "good.sender.test")
        .ptr("20.0.0.2", "bad.sender.test")
        .ptr("20.0.0.3", "dyn-20-0-0-3.pool.test")
        .ptr("20.0.0.4", "lies.test")
        .address("good.sender.test", "20.0.0.1")
        .address("bad.sender.test", "20.0.0.2")
        .address("sender.test", "20.0.0.1")
        .address("lies.test", "20.0.0.99")
        .mx("sender.test", &[(10, "good.sender.test")])
        .null_mx("nomail.test")
        .mx("private.test", &[(10, "inside.private.test")])
        .address("inside.private.test", "10.0.0.1")
        .mx("dangling.test", &[(10, "nowhere.test")]);
    dns
}

// covers PLG-03, RES-01
#[test]
fn access_admits_and_refuses_as_with_haraka() {
    let setup = Setup {
        plugins: &["access"],
        config: &[
            (
                "access.ini",
                "[check]\nany=true\nconn=true\nmail=true\nrcpt=true\n[rcpt]\naccept=true\n[deny_msg]\nconn=You are not allowed to connect\nmail=That sender cannot send mail here\nrcpt=That recipient is not allowed\n",
            ),
            ("connect.rdns_access.blacklist", "20.0.0.2\n"),
            ("connect.rdns_access.whitelist_regex", "good\\..*\n"),
            ("connect.rdns_access.blacklist_regex", ".*\\.pool\\.test\n"),
            ("mail_from.access.blacklist", "bad@sender.test\n"),
            ("mail_from.access.whitelist", "ann@sender.test\n"),
            ("mail_from.access.blacklist_regex", ".*@spam\\.test\n"),
            ("rcpt_to.access.blacklist", "Never@here.test\n"),
            ("rcpt_to.access.whitelist", "elsewhere@other.test\n"),
            (
                "access.domains",
                "banned.com\n!good@banned2.com\nbanned2.com\n",
            ),
        ],
        volatile: &[],
    };
    let dns = names();
    let must = ["You are not allowed to connect", "550", "access {"];
    same_as_haraka(&setup, Some(&dns), &must, |side| {
        side.settle();
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&[
                "EHLO good.sender.test",
                "MAIL FROM:<bad@sender.test>",
                "MAIL FROM:<x@spam.test>",
                "MAIL FROM:<x@banned.com>",
                "MAIL FROM:<x@banned2.com>",
                "MAIL FROM:<good@banned2.com>",
                "RSET",
                "MAIL FROM:<>",
                "RSET",
            ]);
            c.message(
                "ann@sender.test",
                &[
                    "never@here.test",
                    "elsewhere@other.test",
                    "c@here.test",
                    "x@other.test",
                    "x@banned.com",
                ],
                MESSAGE,
            );
            c.message(
                "bob@sender.test",
                &["c@here.test"],
                &MESSAGE.replace("ann@sender.test", "x@mail.banned.com"),
            );
            c.quit();
        });
        side.from("20.0.0.2", |c| {
            c.mail("bad.sender.test", "a@b.test", &["c@here.test"], MESSAGE)
        });
        side.from("20.0.0.3", |c| {
            c.mail("x.test", "a@b.test", &["c@here.test"], MESSAGE)
        });
        side.from("20.0.0.9", |c| {
            c.mail("banned.com", "a@b.test", &["c@here.test"], MESSAGE)
        });
    });
}

// covers PLG-03, PLG-16
#[test]
fn relay_lets_listed_clients_and_destinations_through_as_with_haraka() {
    let setup = Setup {
        plugins: &["relay"],
        config: &[
            (
                "relay.ini",
                "[relay]\nacl=true\nforce_routing=true\nall=false\ndest_domains=true\n",
            ),
            ("relay_acl_allow", "20.0.0.0/30\n2001:db8::/32\n"),
            (
                "relay_dest_domains.ini",
                "[domains]\nallowed.test={\"action\":\"accept\"}\nmaybe.test={\"action\":\"continue\"}\nnot.test={\"action\":\"deny\"}\nodd.test={\"action\":\"odd\"}\nhere.test={\"action\":\"continue\"}\n",
            ),
        ],
        volatile: &[],
    };
    let must = [
        "relaying=true",
        "relaying=false",
        "You are not allowed to relay",
    ];
    same_as_haraka(&setup, Some(&names()), &must, |side| {
        for ip in ["20.0.0.1", "2001:db8::7"] {
            side.from(ip, |c| {
                c.mail("x.test", "a@b.test", &["c@here.test"], MESSAGE);
                c.quit();
            });
        }
        for to in [
            "c@here.test",
            "x@allowed.test",
            "x@maybe.test",
            "x@not.test",
            "x@odd.test",
            "x@else.test",
        ] {
            side.from("20.0.0.7", |c| {
                c.greeting();
                c.says(&[
                    "EHLO x.test",
                    "MAIL FROM:<a@b.test>",
                    &format!("RCPT TO:<{to}>"),
                    "QUIT",
                ]);
            });
        }
    });
}

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

// covers PLG-10, CON-09
#[test]
fn early_talkers_are_found_as_with_haraka() {
    let setup = Setup {
        plugins: &["early_talker"],
        config: &[(
            "early_talker.ini",
            "pause=0.4\nreject=true\n[ip_whitelist]\n20.0.0.4\n",
        )],
        volatile: &[],
    };
    let must = ["\"pass\":[\"early\"", "whitelist"];
    same_as_haraka(&setup, None, &must, |side| {
        side.from("20.0.0.1", |c| {
            c.mail("x.test", "a@b.test", &["c@here.test"], MESSAGE);
            c.quit();
        });

        side.from("20.0.0.4", |c| {
            c.mail("x.test", "a@b.test", &["c@here.test"], MESSAGE);
            c.quit();
        });
    });
}

// covers PLG-03, RES-02
#[test]
fn helo_is_checked_as_with_haraka() {
    let setup = Setup {
        plugins: &["helo.checks"],
        config: &[
            (
                "helo.checks.ini",
                "[check]\nmatch_re=true\nbare_ip=true\ndynamic=true\nbig_company=true\nliteral_mismatch=1\nvalid_hostname=true\nforward_dns=true\nrdns_match=true\nhost_mismatch=true\nproto_mismatch=true\n[reject]\nhost_mismatch=true\nproto_mismatch=true\nbig_company=true\nbare_ip=true\nvalid_hostname=true\n[bigco]\nlies.test=big.test\ngood.sender.test=sender.test\n",
            ),
            ("helo.checks.regexps", "^evil.*\n.*\\.ylmf-pc\n"),
        ],
        volatile: &[],
    };
    let must = ["helo.checks {", "550"];
    same_as_haraka(&setup, Some(&names()), &must, |side| {
        let helos = [
            "good.sender.test",
            "evil.test",
            "[20.0.0.1]",
            "[20.0.0.8]",
            "20.0.0.1",
            "nodots",
            "lies.test",
            "bad.sender.test",
            "dyn-20-0-0-1.isp.test",
            "name.invalidtld",
            "ip-20.0.0.1.test",
        ];
        for helo in helos {
            side.from("20.0.0.1", |c| {
                c.greeting();
                c.says(&[&format!("HELO {helo}"), "MAIL FROM:<a@b.test>", "QUIT"]);
            });
        }
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&[
                "EHLO good.sender.test",
                "EHLO other.sender.test",
                "HELO good.sender.test",
                "QUIT",
            ]);
        });
    });
}

// covers PLG-03, RES-02
#[test]
fn names_of_clients_are_confirmed_as_with_haraka() {
    let setup = Setup {
        plugins: &["fcrdns"],
        config: &[(
            "fcrdns.ini",
            "[reject]\nno_rdns=true\nno_fcrdns=false\ninvalid_tld=false\ngeneric_rdns=false\n",
        )],
        volatile: &[],
    };
    let dns = names();
    dns.servfail("6.0.0.20.in-addr.arpa");
    same_as_haraka(
        &setup,
        Some(&dns),
        &["fcrdns {", "good.sender.test"],
        |side| {
            for ip in [
                "20.0.0.1", "20.0.0.2", "20.0.0.3", "20.0.0.4", "20.0.0.5", "20.0.0.6", "10.1.1.1",
            ] {
                side.from(ip, |c| {
                    c.mail("x.test", "a@b.test", &["c@here.test"], MESSAGE);
                    c.quit();
                });
            }
        },
    );
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
fn dns_lists_are_asked_as_with_haraka() {
    let setup = Setup {
        plugins: &["dns-list"],
        config: &[(
            "dns-list.ini",
            "[main]\nreject=true\nsearch=multi\nperiodic_checks=0\nzones=bl.test,wl.test,by.test\n[stats]\nenable=false\n[bl.test]\nreject=true\n[wl.test]\ntype=allow\n[by.test]\nreject=false\nloopback_is_rejected=false\n",
        )],
        volatile: &[],
    };
    let dns = names();
    for zone in ["bl.test", "wl.test", "by.test"] {
        dns.address(&format!("2.0.0.127.{zone}"), "127.0.0.2");
    }
    dns.address("2.0.0.20.bl.test", "127.0.0.2")
        .txt("2.0.0.20.bl.test", "listed for a reason")
        .address("3.0.0.20.wl.test", "127.0.0.3")
        .address("4.0.0.20.by.test", "127.0.0.4")
        .address("1.0.0.127.by.test", "127.0.0.4");
    let must = ["dns-list {", "listed"];
    same_as_haraka(&setup, Some(&dns), &must, |side| {
        for ip in ["20.0.0.1", "20.0.0.2", "20.0.0.3", "20.0.0.4", "10.0.0.1"] {
            side.from(ip, |c| {
                c.mail("x.test", "a@b.test", &["c@here.test"], MESSAGE);
                c.quit();
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
            side.settle();
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

// covers PLG-03, DNS-01
#[test]
fn networks_are_named_as_with_haraka() {
    let setup = Setup {
        plugins: &["asn"],
        config: &[(
            "asn.ini",
            "test_ip=20.0.0.1\nproviders=origin.asn.cymru.com\n[protocols]\ngeoip=false\n",
        )],
        volatile: &[],
    };
    let dns = names();
    dns.txt(
        "1.0.0.20.origin.asn.cymru.com",
        "15169 | 20.0.0.0/24 | US | arin | 2000-03-30",
    );
    same_as_haraka(&setup, Some(&dns), &["asn {"], |side| {
        side.settle();
        side.from("20.0.0.1", |c| {
            c.mail("x.test", "a@b.test", &["c@here.test"], MESSAGE);
            c.quit();
        });
        side.from("10.0.0.1", |c| {
            c.mail("x.test", "a@b.test", &["c@here.test"], MESSAGE)
        });
    });
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

// covers PLG-03
#[test]
fn geoip_without_a_database_goes_as_with_haraka() {
    let setup = Setup {
        plugins: &["geoip"],
        config: &[("geoip.ini", "[main]\ncalc_distance=false\n")],
        volatile: &[],
    };
    same_as_haraka(&setup, None, &["250"], |side| {
        side.from("20.0.0.1", |c| {
            c.mail("x.test", "a@b.test", &["c@here.test"], MESSAGE);
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
