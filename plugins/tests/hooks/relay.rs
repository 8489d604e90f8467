//! relay: its four features and the hooks that each takes.

use haraka_shared::hook::{Call, Message, Verdict};
use serde_json::json;

use crate::site::{Site, client, results, sending};

fn ini(text: &str) -> (&'static str, &str) {
    ("relay.ini", text)
}

#[test]
fn hooks_follow_the_switches() {
    let hooks = |text| Site::new(&[ini(text)]).load("relay").hooks();
    assert_eq!(
        Site::new(&[]).load("relay").hooks(),
        [
            "connect_init acl",
            "connect pass_relaying",
            "get_mx force_routing"
        ]
    );
    assert!(hooks("[relay]\nacl=false\nforce_routing=false\n").is_empty());
    assert_eq!(
        hooks("[relay]\nacl=false\nforce_routing=false\nall=true\n"),
        ["rcpt all"]
    );
    assert_eq!(
        hooks("[relay]\nacl=no\nforce_routing=no\nall=true\ndest_domains=true\n"),
        ["rcpt dest_domains"]
    );
}

#[test]
fn listed_client_may_relay_and_skips_later_connect_plugins() {
    let site = Site::new(&[(
        "relay_acl_allow",
        "192.0.2.0/25 # office\n2001:db8::/32\nbad\n",
    )]);
    let plugin = site.load("relay");
    for ip in ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"] {
        let c = client(ip);
        assert_eq!(plugin.ask(&c, Call::ConnectInit(())), Verdict::OK, "{ip}");
        assert!(c.relaying());
        assert_eq!(c.results.get("relay").unwrap()["pass"], json!(["acl"]));
        assert_eq!(plugin.ask(&c, Call::Connect(())), Verdict::OK);
    }
    let c = client("192.0.2.200");
    assert_eq!(plugin.ask(&c, Call::ConnectInit(())), Verdict::CONT);
    assert!(!c.relaying());
    assert_eq!(
        c.results.get("relay").unwrap()["skip"],
        json!(["acl(unlisted)"])
    );
    assert_eq!(plugin.ask(&c, Call::Connect(())), Verdict::CONT);
}

const DOMAINS: (&str, &str) = (
    "relay_dest_domains.ini",
    concat!(
        "[domains]\n",
        "accept.example = {\"action\":\"accept\",\"nexthop\":\"127.0.0.1:2525\"}\n",
        "continue.example = { \"action\": \"continue\" }\n",
        "deny.example = {\"action\":\"deny\"}\n",
        "odd.example = {\"action\":\"perhaps\"}\n",
        "any = {\"nexthop\":\"any.example\"}\n",
    ),
);

// covers PA-09
#[test]
fn destination_decides_and_relaying_is_for_this_transaction_only() {
    let site = Site::new(&[ini("[relay]\ndest_domains=true\n"), DOMAINS]);
    let plugin = site.load("relay");
    let refused = Verdict::deny("You are not allowed to relay");
    for (to, verdict, relaying) in [
        ("<x@Accept.example>", Verdict::OK, true),
        ("<x@continue.example>", Verdict::CONT, true),
        ("<x@deny.example>", refused.clone(), false),
        ("<x@unlisted.example>", refused, false),
        (
            "<x@odd.example>",
            Verdict::deny("Mail for that recipient is not accepted here."),
            false,
        ),
    ] {
        let c = sending("<a@b.org>");
        assert_eq!(plugin.rcpt(&c, to), verdict, "{to}");
        assert_eq!(c.relaying(), relaying, "{to}");
        let list = if relaying { "pass" } else { "fail" };
        assert_eq!(results(&c, "relay", list), json!(["relay_dest_domain"]));
        c.set_transaction(None);
        assert!(!c.relaying());
    }
}

#[test]
fn client_that_may_relay_already_is_not_asked_where_to() {
    let site = Site::new(&[ini("[relay]\ndest_domains=true\n"), DOMAINS]);
    let c = sending("<a@b.org>");
    c.set_relaying(true);
    assert_eq!(
        site.load("relay").rcpt(&c, "<x@deny.example>"),
        Verdict::CONT
    );
    assert_eq!(
        results(&c, "relay", "skip"),
        json!(["relay_dest_domain(relay)"])
    );
}

#[test]
fn without_a_domains_section_nobody_is_refused() {
    let site = Site::new(&[ini("[relay]\ndest_domains=true\n")]);
    let c = sending("<a@b.org>");
    assert_eq!(
        site.load("relay").rcpt(&c, "<x@deny.example>"),
        Verdict::CONT
    );
    assert_eq!(
        results(&c, "relay", "skip"),
        json!(["relay_dest_domain(config)"])
    );
}

#[test]
fn open_relay_confirms_everyone_but_listed_denials_come_first() {
    let site = Site::new(&[ini("[relay]\ndest_domains=true\nall=true\n"), DOMAINS]);
    let plugin = site.load("relay");
    let c = sending("<a@b.org>");
    assert!(plugin.rcpt(&c, "<x@deny.example>").code.denies());
    assert_eq!(plugin.rcpt(&c, "<x@continue.example>"), Verdict::OK);
    let open = Site::new(&[ini("[relay]\nall=true\n")]).load("relay");
    let c = sending("<a@b.org>");
    assert_eq!(open.rcpt(&c, "<x@anywhere.example>"), Verdict::OK);
    assert!(c.relaying());
}

#[test]
fn forced_route_is_the_domains_next_hop_or_that_of_any() {
    let site = Site::new(&[DOMAINS]);
    let plugin = site.load("relay");
    let route = |domain| match plugin.get_mx(domain, "<a@b.org>", json!({})).message {
        Message::Routes(routes) => format!("{}:{}", routes[0].host, routes[0].port()),
        other => format!("{other:?}"),
    };
    assert_eq!(route("accept.example"), "127.0.0.1:2525");
    assert_eq!(route("unlisted.example"), "any.example:25");
    assert_eq!(
        plugin.get_mx("continue.example", "<>", json!({})),
        Verdict::CONT
    );
}

#[test]
fn entry_that_is_no_json_ends_the_start_with_file_line_and_domain() {
    let site = Site::new(&[("relay_dest_domains.ini", "[domains]\nx.example = accept\n")]);
    let error = site.try_load("relay").err().unwrap();
    assert!(
        error.starts_with("relay_dest_domains.ini:2: [domains] x.example: "),
        "{error}"
    );
}

// covers CFS-32
#[test]
fn changed_lists_and_switches_count_at_once() {
    let site = Site::new(&[("relay_acl_allow", "192.0.2.0/24\n")]);
    let plugin = site.load("relay");
    let allowed = || plugin.ask(&client("192.0.2.7"), Call::ConnectInit(())) == Verdict::OK;
    assert!(allowed());
    site.change(&[("relay_acl_allow", "198.51.100.0/24\n")]);
    assert!(!allowed());
    site.change(&[("relay_acl_allow", "192.0.2.7/32\n")]);
    assert!(allowed());
    site.change(&[ini("[relay]\nacl=false\n")]);
    assert!(!allowed());
}
