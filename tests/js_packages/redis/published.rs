//! Findings of plugins, as the package redis lets others follow them.

use super::*;

/// What was published until the connection was over, a line for each finding. Addresses of the connection
/// come once here, and with those of the proxy in Haraka; so do times of resets that end nothing.
fn published(follower: &mut Follower) -> Vec<String> {
    let mut lines = Vec::new();
    for (channel, text) in follower.heard_until("\"plugin\":\"disconnect\"") {
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        let plugin = told["plugin"].as_str().unwrap();
        // A transaction's channel ends with its number.
        let of = if channel.contains('.') {
            "transaction"
        } else {
            "connection"
        };
        if ["local", "remote", "reset"].contains(&plugin) {
            continue;
        }
        let result = told["result"].as_object().unwrap().iter();
        let parts = result.map(|(key, value)| match key.as_str() {
            "duration" => "duration T".to_owned(),
            _ => format!("{key} {value}"),
        });
        let parts: Vec<String> = parts.collect();
        lines.push(format!("{of} {plugin} {}", parts.join(", ")));
    }
    lines.sort();
    lines.dedup();
    lines
}

// covers RES-05, RES-06
#[test]
fn findings_of_all_plugins_are_published_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let setup = Setup {
        plugins: &["redis", "judge"],
        config: &[
            ("redis.ini", &unix_ini(&redis.socket())),
            ("../plugins/judge.js", JUDGE),
        ],
        volatile: &[],
    };
    let must = [
        "published connection helo host \"x.test\", verb \"EHLO\"",
        "published transaction mail_from action \"accept\", code \"CONT\", address \"good-scored-flag-counted@sender.com\"",
        "published transaction rcpt_to.in_host_list pass \"rcpt_to\"",
        "published transaction judge score 7.5",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        side.logged("connected to redis", 2);
        let mut follower = redis.follow("result-*");
        findings(side);
        for line in published(&mut follower) {
            side.note("published", &line);
        }
    });
}

fn findings(side: &mut Side) {
    side.from("20.0.0.1", |c| {
        c.mail(
            "x.test",
            "good-scored-flag-counted@sender.com",
            &["c@here.test", "x@there.test"],
            MESSAGE,
        );
        c.quit();
    });
}

/// Says by itself when the connection is over.
const LAST: &str = "
exports.hook_disconnect = async (next) => {
    await server.notes.redis.publish('result-last', JSON.stringify({ plugin: 'disconnect', result: { last: true } }))
    next()
}
";

// covers KEY-57, RES-04, RES-05
#[test]
fn results_ini_hides_orders_and_keeps_to_itself_as_with_haraka() {
    let Some(redis) = Redis::start() else { return };
    let results = "[main]\nredis_publish=false\n[judge]\nhide=low score\norder=pass,fail\n";
    let setup = Setup {
        plugins: &["redis", "judge", "last"],
        config: &[
            ("redis.ini", &ini(&redis)),
            ("results.ini", results),
            ("../plugins/judge.js", JUDGE),
            ("../plugins/last.js", LAST),
        ],
        volatile: &[],
    };
    let must = [
        "human\":\"list: a,b,c, pass:fine, very good",
        "published connection disconnect last true",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        side.logged("connected to redis", 2);
        let mut follower = redis.follow("result-*");
        findings(side);
        let all = published(&mut follower);
        assert_eq!(all.len(), 1, "{all:?}");
        side.note("published", &all[0]);
    });
}
