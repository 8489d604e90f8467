//! What EHLO offers, and the parameters that follow from it.

use haraka_shared::hook::{HookName, Verdict};
use haraka_shared::plugin::Wants;

use super::rig::{taking, with};
use crate::hooks::tests::script::{Loaded, plugin};

fn offering(line: &'static str) -> Loaded {
    plugin(
        "offer",
        &[Wants::hook(HookName::Capabilities)],
        move |_, cx| {
            if let Some(conn) = &cx.connection {
                conn.capabilities.borrow_mut().push(line.to_owned());
            }
            Box::pin(async { Verdict::CONT })
        },
    )
}

// covers EXT-09, PB-76
#[test]
fn each_extension_has_its_switch() {
    let all = "[esmtp]\nenhancedstatuscodes=true\nlimits=true\n[max]\nrecipients=500\n";
    let none = "smtputf8=false\n[esmtp]\nchunking=false\ndsn=false\n";
    for (ini, offers) in [
        ("", "SMTPUTF8 SIZE_26214400 CHUNKING DSN"),
        (
            all,
            "SMTPUTF8 SIZE_26214400 CHUNKING DSN ENHANCEDSTATUSCODES LIMITS_RCPTMAX=500",
        ),
        (none, "SIZE_26214400"),
        (
            "[esmtp]\nlimits=true\n[max]\nrecipients=0\n",
            "SMTPUTF8 SIZE_26214400 CHUNKING DSN",
        ),
    ] {
        with(ini, vec![], async |rig| {
            let mut c = rig.greeted().await;
            let reply = c.say("EHLO x.y").await;
            let lines: Vec<String> = reply
                .lines()
                .skip(3)
                .map(|line| line.get(4..).unwrap().replace(' ', "_"))
                .collect();
            assert_eq!(lines.join(" "), offers);
        });
    }
}

// covers PB-14
#[test]
fn parameters_that_were_not_offered_are_refused_where_that_is_wanted() {
    let unknown = [
        (
            "MAIL FROM:<a@b.c> X-ODD=1",
            "555 5.5.4 Unsupported parameter X-ODD",
        ),
        (
            "MAIL FROM:<a@b.c> BODY=9BIT",
            "501 5.5.4 Bad value of parameter BODY",
        ),
        (
            "MAIL FROM:<a@b.c> SIZE=much",
            "501 5.5.4 Bad value of parameter SIZE",
        ),
        (
            "MAIL FROM:<a@b.c> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=q",
            "250 sender <a@b.c> OK",
        ),
        (
            "RCPT TO:<x@y.z> NOTIFY=SOON",
            "501 5.5.4 Bad value of parameter NOTIFY",
        ),
        (
            "RCPT TO:<x@y.z> SIZE=1",
            "555 5.5.4 Unsupported parameter SIZE",
        ),
        (
            "RCPT TO:<x@y.z> NOTIFY=NEVER ORCPT=rfc822;x@y.z",
            "250 recipient <x@y.z> OK",
        ),
    ];
    with("", taking(), async |rig| {
        let mut c = rig.introduced().await;
        c.dialogue(&unknown).await;
        assert_eq!(c.conn.errors.get(), 5);
        let txn = c.conn.transaction().unwrap();
        assert_eq!(txn.recipient_count(), 1);
        assert_eq!(txn.rcpt_to.borrow()[0].params.len(), 2);
    });
    with(
        "[esmtp]\nstrict_parameters=false\n",
        taking(),
        async |rig| {
            let mut c = rig.introduced().await;
            for (line, _) in unknown {
                assert!(c.say(line).await.starts_with("250 "), "{line}");
            }
        },
    );
    with(
        "[esmtp]\ndsn=false\n",
        vec![offering("HOLD 9")],
        async |rig| {
            let mut c = rig.introduced().await;
            c.dialogue(&[
                (
                    "MAIL FROM:<a@b.c> RET=FULL",
                    "555 5.5.4 Unsupported parameter RET",
                ),
                ("MAIL FROM:<a@b.c> HOLD=5", "250 sender <a@b.c> OK"),
            ])
            .await;
        },
    );
}

#[test]
fn status_codes_are_on_every_reply_but_the_first_ones() {
    let ini = "[esmtp]\nenhancedstatuscodes=true\n";
    with(ini, taking(), async |rig| {
        let mut c = rig.introduced().await;
        c.dialogue(&[
            ("NOOP", "250 2.0.0 OK"),
            ("RCPT TO:<x@y.z>", "503 5.5.1 Use MAIL before RCPT"),
            ("MAIL FROM:<a@b.c>", "250 2.1.0 sender <a@b.c> OK"),
            ("RCPT TO:<x@y.z>", "250 2.1.5 recipient <x@y.z> OK"),
            ("DATA", "354 go ahead, make my day"),
            ("\r\n.", "250 2.6.0 Message Queued ({U}.1)"),
            (
                "MAIL TO:<a@b.c>",
                "501-5.5.4 Command parsing failed\n\
                 501 5.5.4 Error: Invalid format of mail command: missing FROM: prefix",
            ),
            ("XYZZY", "500 5.5.2 Unrecognized command"),
        ])
        .await;
        let bye = c.last("QUIT").await;
        assert!(bye.starts_with("221 2.0.0 mx.example.org"), "{bye}");
    });
}
