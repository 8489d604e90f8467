//! Lines of an AUTH exchange, as a plugin that asks for them sees them.

use haraka_shared::hook::{Call, HookName, Verdict};
use haraka_shared::plugin::Wants;
use haraka_shared::reply::Reply;

use super::rig::{BYE, with};
use crate::hooks::tests::script::{Loaded, plugin};

/// Answers AUTH with a challenge and anything after it with what came.
fn asking() -> Loaded {
    let wants = [Wants::hook(HookName::UnrecognizedCommand)];
    plugin("auth", &wants, |call, cx| {
        let Call::UnrecognizedCommand(command) = call else {
            panic!("another hook");
        };
        let (verb, rest) = (command.verb, command.rest);
        let reply = if verb.eq_ignore_ascii_case("AUTH") {
            Reply::new(334, "")
        } else {
            let text = match verb.len() {
                0..100 => format!("[{verb}] [{rest}]"),
                length => format!("{length} octets"),
            };
            Reply::new(235, text)
        };
        cx.connection.as_ref().unwrap().say(reply);
        Box::pin(async { Verdict::OK })
    })
}

// covers PB-05
#[test]
fn a_response_reaches_the_plugin_whatever_it_looks_like() {
    with("", vec![asking()], async |rig| {
        let mut c = rig.introduced().await;
        for (line, seen) in [
            ("dXNlcg==", "235 [dXNlcg==] []"),
            ("", "235 [] []"),
            ("*", "235 [*] []"),
            // base64 of D*S
            ("RCpT", "235 [RCpT] []"),
            ("NOOP", "235 [NOOP] []"),
            ("QUIt", "235 [QUIt] []"),
            ("MAIL FROM:<a@b.test>  ", "235 [MAIL] [FROM:<a@b.test>]"),
            ("bdat 5", "235 [bdat] [5]"),
        ] {
            assert_eq!(c.say("AUTH X").await, "334  ");
            assert_eq!(c.say(line).await, seen);
            assert!(c.conn.transaction().is_none());
        }
        // Only the next line.
        assert_eq!(c.say("NOOP").await, "250 OK");
        assert_eq!(c.say("auth x").await, "334  ");
        assert_eq!(c.last("QUIT").await, format!("{BYE}\n"));
    });
}

// covers PB-05
#[test]
fn an_exchange_may_come_in_one_write() {
    with("", vec![asking()], async |rig| {
        let mut c = rig.introduced().await;
        c.send("AUTH X\r\nNOOP\r\nNOOP\r\n").await;
        assert_eq!(c.reply().await, "334  ");
        assert_eq!(c.reply().await, "235 [NOOP] []");
        assert_eq!(c.reply().await, "250 OK");
        // What comes before it is asked for is remembered against the client.
        assert!(c.conn.early_talker.get());
    });
}

// covers PB-05: RFC 4954 section 4
#[test]
fn lines_of_an_exchange_may_have_12288_octets() {
    let long = |length: usize, start: &str| format!("{start}{}", "A".repeat(length - start.len()));
    with("", vec![asking()], async |rig| {
        let mut c = rig.introduced().await;
        assert_eq!(c.say(&long(12_288, "AUTH X ")).await, "334  ");
        assert_eq!(c.say(&long(12_288, "")).await, "235 12288 octets");
        assert_eq!(c.say("AUTH X").await, "334  ");
        let too_long = c.last(&long(12_289, "")).await;
        assert_eq!(too_long, "521 Command line too long\n");
    });
    for line in [long(12_289, "AUTH X "), long(600, "NOOP ")] {
        with("", vec![asking()], async |rig| {
            let mut c = rig.introduced().await;
            assert_eq!(c.say("AUTH X").await, "334  ");
            assert_eq!(c.say("x").await, "235 [x] []");
            assert_eq!(c.last(&line).await, "521 Command line too long\n");
        });
    }
}
