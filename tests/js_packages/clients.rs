//! Packages that judge a client: its address, its names, how it greets and when it speaks.

use std::time::Duration;

use crate::side::{Setup, same_as_haraka};
use crate::site::{MESSAGE, names};

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
    // Results are in the order of answers.
    dns.late("wl.test", Duration::from_millis(200))
        .late("by.test", Duration::from_millis(400));
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
        side.await_hooks("asn");
        side.from("20.0.0.1", |c| {
            c.mail("x.test", "a@b.test", &["c@here.test"], MESSAGE);
            c.quit();
        });
        side.from("10.0.0.1", |c| {
            c.mail("x.test", "a@b.test", &["c@here.test"], MESSAGE)
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
