//! What is read, and what is told of what is wrong.

use super::*;

fn why(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

// covers PB-51
#[test]
fn shipped_rules_know_the_large_providers() {
    let shaping = read("").unwrap();
    for (host, name) in [
        ("gmail-smtp-in.l.google.com", "google"),
        ("example-com.mail.protection.outlook.com", "microsoft365"),
        ("outlook-com.olc.protection.outlook.com", "outlook"),
        ("mta5.am0.yahoodns.net", "yahoo"),
        ("mx01.mail.icloud.com", "apple"),
        ("mx00.gmx.net", "united-internet"),
    ] {
        assert_eq!(
            &*shaping.limits("x.test", host, None).provider,
            name,
            "{host}"
        );
    }
    let google = shaping.limits("gmail.com", "alt1.gmail-smtp-in.l.google.com", None);
    let complaint = "421 4.7.28 Gmail has detected an unusual rate of mail";
    assert!(google.complaint(complaint).is_some());
    assert!(google.complaint("250 2.0.0 OK").is_none());
    assert!(google.complaint("550 5.1.1 no such user").is_none());
}

#[test]
fn every_shipped_pattern_is_sound() {
    let shipped = parse(SHIPPED).unwrap();
    assert!(shipped.provider.values().any(|rule| rule.reply.is_some()));
    check_patterns(&shipped, SHIPPED).unwrap();
}

#[test]
fn own_rules_are_laid_over_the_shipped_ones_key_by_key() {
    let shaping = read(
        "[default]\nconnections = 7\n[provider.google]\nrate = \"100/min\"\n[domain.\"Slow.Test\"]\nconnections = 1\n",
    )
    .unwrap();
    let google = shaping.limits("gmail.com", "gmail-smtp-in.l.google.com", None);
    let rate = Rate {
        count: 100,
        period_ms: 60_000,
    };
    assert_eq!(google.counters[0].rate, Some(rate));
    assert!(
        google.counters[0].connections.is_some_and(|n| n != 7),
        "kept"
    );
    let slow = shaping.limits("slow.test", "mx.slow.test", None);
    assert_eq!(slow.counters[0].connections, Some(7));
    assert_eq!(slow.counters[1].connections, Some(1));
}

#[test]
fn sources_pools_and_selections_are_read() {
    let shaping = read(
        "[source.a]\naddress = \"192.0.2.1\"\nhelo = \"a.example.com\"\nweight = 3\nwarm_up = { begins = 1970-01-03, messages = 10 }\n[source.b]\naddress = \"2001:db8::1\"\n[pool.bulk]\nsources = [\"a\", \"b\"]\n[[select]]\nsender = [\"@news.test\", \"Ann@x.test\"]\npool = \"bulk\"\n",
    )
    .unwrap();
    let pool = shaping.pool(None, ("ann", "x.test"), "y.test").unwrap();
    let a = &pool.sources[0];
    assert_eq!((a.weight, a.helo.as_deref()), (3, Some("a.example.com")));
    assert_eq!(a.warm_up.unwrap().cap(3), Some(20));
    assert_eq!(pool.sources[1].weight, 1);
}

#[test]
fn wrong_values_are_told_with_line_or_key() {
    for (text, told) in [
        (
            "[default]\nconnection = 1\n",
            "shaping.toml:2: unknown field `connection`",
        ),
        (
            "[default]\nconnections = 0\n",
            "shaping.toml:2: a whole number from 1 on",
        ),
        (
            "\n\n[default]\nrate = \"20\"\n",
            "shaping.toml:4: a rate such as",
        ),
        ("[default]\nrate = \"20/5\"\n", "a rate such as"),
        (
            "[default]\nreply = [{ match = \"(\", action = \"suspend\" }]\n",
            "shaping.toml:2: regex parse error",
        ),
        (
            "[default]\nreply = [{ match = \"x\", action = \"stop\" }]\n",
            "unknown variant `stop`",
        ),
        (
            "[provider.x]\nmx = [\"*\"]\n",
            "*.example.com for all below",
        ),
        (
            "[provider.x]\nconnections = 1\n",
            "[provider.x]: the names of its mail hosts",
        ),
        ("[default]\nmx = [\"a\"]\n", "mx: only a provider"),
        (
            "[pool.p]\nsources = [\"x\"]\n",
            "[pool.p] sources: there is no [source.x]",
        ),
        (
            "[[select]]\npool = \"x\"\n",
            "[[select]] pool: there is no [pool.x]",
        ),
        (
            "[source.a]\naddress = \"x\"\n",
            "shaping.toml:2: invalid IP address",
        ),
        (
            "[source.a]\naddress = \"192.0.2.1\"\nhelo = \"a b\"\n",
            "shaping.toml:3: a host name",
        ),
        (
            "[source.a]\naddress = \"192.0.2.1\"\nwarm_up = { begins = 07:00:00, messages = 1 }\n",
            "begins: a date",
        ),
        ("[default\n", "shaping.toml:1: "),
    ] {
        let why = why(text);
        assert!(why.contains(told), "{text:?}: {why}");
    }
}
