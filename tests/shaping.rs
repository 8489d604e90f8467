//! Limits per destination in the real program with four workers, counted by the host that mail goes to;
//! complaints, and addresses to send from.

#![allow(missing_docs)]
// The crate-wide bans keep peers' input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

mod harness;
mod relaying;

use std::collections::HashMap;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::counting::Offer;
use harness::server::Signal;
use harness::{CountingSink, FakeDns, Install, Server, greeted, poll_until, processes, wait_for};
use relaying::{by_dns, numbered, serials};

const SECOND: Duration = Duration::from_secs(1);

/// How long a test may take that waits for a rate.
const LONG: Duration = Duration::from_secs(60);

/// Three domains whose mail one provider takes, at these two addresses.
fn provider(addresses: [&str; 2]) -> FakeDns {
    let dns = FakeDns::start();
    dns.address("one.mx.far.test", addresses[0]);
    dns.address("two.mx.far.test", addresses[1]);
    for domain in ["a.test", "b.test", "c.test"] {
        dns.mx(domain, &[(10, "one.mx.far.test"), (10, "two.mx.far.test")]);
    }
    dns
}

/// A server with four workers under these rules.
fn shaped(dns: &FakeDns, rules: &str) -> Install {
    by_dns(dns)
        .set("smtp.ini", "main", "nodes", "4")
        .set("outbound.ini", "main", "temp_fail_intervals", "5s*200")
        .config("shaping.toml", rules)
}

/// Submits messages over several connections, so that all workers have some.
fn submit_from(server: &Server, sender: &str, serials: &[String]) {
    let domains = ["a.test", "b.test", "c.test"];
    for part in serials.chunks(serials.len().div_ceil(16)) {
        let mut client = greeted(server);
        for (serial, domain) in part.iter().zip(domains.iter().cycle()) {
            let to = format!("to@{domain}");
            client
                .send_mail(sender, &[&to], &numbered(serial))
                .expect(250);
        }
        client.quit();
    }
}

fn distinct(offers: &[Offer]) -> usize {
    let serials: std::collections::HashSet<_> = offers.iter().map(|o| &o.serial).collect();
    serials.len()
}

// covers PB-51
#[test]
fn limits_hold_exactly_across_four_workers_and_while_they_are_killed() {
    let ips = ["127.26.1.1", "127.26.1.2"];
    let Some(sink) = CountingSink::on_port_25(&ips) else {
        return;
    };
    sink.pause(Duration::from_millis(20));
    let dns = provider(ips);
    let rules = "[provider.far]\nmx = [\"*.mx.far.test\"]\nconnections = 3\n\
        messages_per_connection = 5\nrate = \"50/s\"\n";
    let install = shaped(&dns, rules).set("outbound.ini", "main", "disabled", "true");
    let server = Server::start(install);
    let all = serials("limit", 300);
    submit_from(&server, "from@client.test", &all);
    let enabled = b"local_mx_ok=true\ntemp_fail_intervals=5s*200\n";
    server.install().write("config/outbound.ini", enabled);
    let mut kills = 0;
    let end = Instant::now() + LONG;
    while distinct(&sink.taken()) < all.len() && Instant::now() < end {
        let before = sink.offers().len();
        poll_until(SECOND, || {
            (sink.offers().len() >= before + 15).then_some(())
        });
        let workers = server.worker_pids();
        if kills < 12 && !workers.is_empty() {
            processes::send(workers[kills * 7 % workers.len()], Signal::SIGKILL);
            kills += 1;
        }
    }
    sink.wait_taken(all.len(), SECOND);
    assert_eq!(kills, 12, "workers were killed while mail was on its way");
    assert_eq!(sink.most_open(), 3, "reached, and never passed");
    let most = sink.most_within(SECOND);
    assert!((30..=50).contains(&most), "{most} in a second");
    assert_eq!(sink.most_per_connection(), 5);
    // A worker that dies between a message and its reply leaves it in doubt; each has one at a time.
    let again = sink.taken().len() - all.len();
    assert!(again <= kills * 3, "{again} came twice");
}

/// What `haraka queue stat` shows, for people and as JSON.
fn stat(server: &Server) -> (String, serde_json::Value) {
    let run = |json: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_haraka"))
            .args(["queue", "stat", "-c"])
            .arg(server.install().path())
            .args(json)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let json = run(&["--json"]);
    let first = json.lines().next().unwrap();
    (run(&[]), serde_json::from_str(first).unwrap())
}

#[test]
fn limits_in_use_are_shown_by_provider_domain_and_source_for_all_workers_together() {
    let ips = ["127.26.9.1", "127.26.9.2"];
    let Some(sink) = CountingSink::on_port_25(&ips) else {
        return;
    };
    sink.pause(Duration::from_secs(2));
    let dns = provider(ips);
    let rules = "[provider.far]\nmx = [\"*.mx.far.test\"]\nconnections = 4\nrate = \"1000/min\"\n\
        reply = [{ match = '^451.* busy', action = \"slow_down\" }]\n\
        [domain.\"a.test\"]\nconnections = 2\n\
        [source.new]\naddress = \"127.0.0.5\"\nconnections = 3\n\
        warm_up = { begins = 2026-01-01, messages = 500, growth = 1.0 }\n\
        [pool.all]\nsources = [\"new\"]\n[[select]]\npool = \"all\"\n";
    let server = Server::start(shaped(&dns, rules));
    submit_from(&server, "from@client.test", &serials("shown", 60));
    let mut seen = (String::new(), serde_json::Value::Null);
    let row = |seen: &serde_json::Value, name: &str| {
        let rows = seen["limits"].as_array().cloned().unwrap_or_default();
        rows.into_iter().find(|row| row["name"] == name)
    };
    let shown = poll_until(LONG, || {
        seen = stat(&server);
        let far = row(&seen.1, "far")?;
        let from = row(&seen.1, "far from new")?;
        // The source takes three of the four, whichever worker has them.
        let full = far["connections"] == 3 && from["connections"] == 3;
        (full && far["waiting"].as_u64() > Some(0) && seen.0.contains("3/4")).then_some((far, from))
    });
    let Some((far, from)) = shown else {
        panic!("{} {}", seen.0, seen.1["limits"]);
    };
    assert_eq!(
        (&far["most_connections"], &from["most_connections"]),
        (&4.into(), &3.into())
    );
    assert_eq!(far["rate"]["messages"], 1000);
    assert_eq!(far["share"], 100);
    assert_eq!(
        row(&seen.1, "warm-up of new").unwrap()["today"]["most"],
        500
    );
    assert!(seen.0.contains("of 500 messages today"), "{}", seen.0);
    sink.complain("451 4.3.2 busy");
    server.wait_for_log("complains and is sent less: ", harness::DEADLINE);
    wait_for("the complaint to be shown", || {
        let seen = stat(&server);
        let less = |name| row(&seen.1, name).is_some_and(|r| r["share"].as_u64() < Some(100));
        (less("far") || less("far from new")) && seen.0.contains("after complaints")
    });
}

// covers PB-51
#[test]
fn destination_with_a_narrow_limit_does_not_hold_up_others() {
    let ips = ["127.26.2.1", "127.26.2.2"];
    let (Some(narrow), Some(wide)) = (
        CountingSink::on_port_25(&ips),
        CountingSink::on_port_25(&["127.26.2.3"]),
    ) else {
        return;
    };
    let dns = provider(ips);
    dns.address("wide.test", "127.26.2.3");
    let rules = "[domain.\"a.test\"]\nrate = \"1/h\"\n[domain.\"b.test\"]\nrate = \"1/h\"\n\
        [domain.\"c.test\"]\nrate = \"1/h\"\n";
    let install = shaped(&dns, rules).set("outbound.ini", "main", "concurrency_max", "2");
    let server = Server::start(install);
    submit_from(&server, "from@client.test", &serials("narrow", 100));
    for serial in serials("wide", 20) {
        relaying::submit(
            &server,
            "from@client.test",
            &["to@wide.test"],
            &numbered(&serial),
        );
    }
    wide.wait_taken(20, harness::DEADLINE);
    assert_eq!(narrow.taken().len(), 3);
    wait_for("the others' files to be gone", || {
        server.install().queue_files().len() == 97
    });
    let names = server.install().queue_files();
    let untried = |name: &String| name.split('_').nth(2) == Some("0");
    assert!(
        names.iter().all(untried),
        "to wait is no attempt: {names:?}"
    );
    let output = Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args(["queue", "why", "--all", "-c"])
        .arg(server.install().path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let of_limit = |line: &&str| {
        line.contains(".test takes no more messages at a time; ")
            && line.contains("; its turn comes in ")
    };
    assert_eq!(said.lines().filter(of_limit).count(), 97, "{output:?}");
}

// covers PB-51
#[test]
fn complaint_suspends_a_provider_for_its_time_and_nothing_longer() {
    let ips = ["127.26.3.1", "127.26.3.2"];
    let Some(sink) = CountingSink::on_port_25(&ips) else {
        return;
    };
    let dns = provider(ips);
    let rules = "[provider.far]\nmx = [\"*.mx.far.test\"]\nconnections = 1\n\
        reply = [{ match = '^421.* 4\\.7\\.28', action = \"suspend\", for = \"3s\" }]\n";
    let server = Server::start(shaped(&dns, rules));
    sink.complain("421 4.7.28 unusual rate of mail");
    let all = serials("left-alone", 30);
    submit_from(&server, "from@client.test", &all);
    let line = server.wait_for_log("complains and is left alone for 3 s", harness::DEADLINE);
    assert!(
        line.contains(" far complains") && line.contains("421 4.7.28 unusual"),
        "{line}"
    );
    sink.wait_taken(all.len(), LONG);
    let offers = sink.offers();
    let gap = |pair: &[Offer]| pair[1].at - pair[0].at;
    let longest = offers.windows(2).map(gap).max().unwrap();
    // The host that complained may be asked, as the next host, before the complaint is known.
    assert!(longest >= Duration::from_millis(2900), "{longest:?}");
    assert!(longest < 6 * SECOND, "{longest:?}");
}

// covers PB-51
#[test]
fn complaint_halves_the_connections_and_they_grow_back() {
    let ips = ["127.26.4.1", "127.26.4.2"];
    let Some(sink) = CountingSink::on_port_25(&ips) else {
        return;
    };
    sink.pause(LONG);
    let dns = provider(ips);
    let rules = "[provider.far]\nmx = [\"*.mx.far.test\"]\nconnections = 8\nmessages_per_connection = 1\n\
        slow_down = { keep = 0.5, pause = \"2s\", back = 0.25 }\n\
        reply = [{ match = '^451.* busy', action = \"slow_down\" }]\n";
    let server = Server::start(shaped(&dns, rules));
    let all = serials("slower", 250);
    submit_from(&server, "from@client.test", &all);
    // All are there before the first may go: how long that takes makes no difference. Then long beside what a busy
    // machine takes to make the next connection.
    sink.pause(Duration::from_millis(300));
    sink.wait_taken(30, LONG);
    assert_eq!(sink.most_open(), 8);
    let asked = Instant::now();
    sink.complain("451 4.3.2 busy");
    let line = server.wait_for_log("complains and is sent less: ", harness::DEADLINE);
    // Half of those that were in use; on a busy machine some may just have ended.
    let left: usize = line
        .split_once("is sent less: ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap();
    assert!((1..=4).contains(&left), "{line}");
    let complained = sink.offers().len();
    sink.wait_taken(all.len(), LONG);
    let offers = sink.offers();
    let ended = offers[complained].at + Duration::from_millis(600);
    let most = |from: Instant, to: Instant| {
        let open = offers.iter().filter(|o| from <= o.at && o.at < to);
        open.map(|o| o.open).max().unwrap_or(0)
    };
    // Those that were open when it complained have ended after a moment. A busy machine makes it grow later, never
    // earlier.
    assert!(most(ended, asked + 2 * SECOND) <= left, "halved");
    assert!(
        most(ended, asked + 4 * SECOND) <= left + 2,
        "a quarter is back"
    );
    assert_eq!(most(asked + 4 * SECOND, asked + LONG), 8, "all is back");
}

// covers PB-51
#[test]
fn pools_send_from_their_addresses_by_weight_under_their_names() {
    let ips = ["127.26.5.1", "127.26.5.2"];
    let Some(sink) = CountingSink::on_port_25(&ips) else {
        return;
    };
    let dns = provider(ips);
    let rules = "[source.two]\naddress = \"127.0.0.2\"\nhelo = \"two.out.test\"\nweight = 3\n\
        [source.three]\naddress = \"127.0.0.3\"\nhelo = \"three.out.test\"\n\
        [pool.bulk]\nsources = [\"two\", \"three\"]\n\
        [pool.third]\nsources = [\"three\"]\n\
        [[select]]\nsender = [\"@bulk.test\"]\npool = \"bulk\"\n\
        [[select]]\nrecipient = [\"c.test\"]\npool = \"third\"\n";
    let script = "exports.hook_mail = (next, connection, params) => {\n\
        if (params[0].host === 'noted.test') connection.transaction.notes.egress_pool = 'third'\n\
        next()\n}\n";
    let install = shaped(&dns, rules)
        .file("plugins/noting.js", script)
        .plugins(&["noting", "relay"]);
    let server = Server::start(install);
    let to = |sender: &str, domain: &str, prefix: &str, count: usize| {
        let mut client = greeted(&server);
        for serial in serials(prefix, count) {
            let to = format!("to@{domain}");
            client
                .send_mail(sender, &[&to], &numbered(&serial))
                .expect(250);
        }
        client.quit();
    };
    to("a@bulk.test", "c.test", "bulk", 200);
    to("a@noted.test", "a.test", "noted", 5);
    to("a@plain.test", "c.test", "selected", 5);
    to("a@plain.test", "b.test", "plain", 5);
    let taken = sink.wait_taken(215, LONG);
    let mut counts = HashMap::<(&str, IpAddr, &str), usize>::new();
    for offer in &taken {
        let serial = offer.serial.as_deref().unwrap();
        let kind = serial.split('-').next().unwrap();
        *counts.entry((kind, offer.from, &offer.helo)).or_default() += 1;
    }
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let two = counts[&("bulk", ip("127.0.0.2"), "two.out.test")];
    let three = counts[&("bulk", ip("127.0.0.3"), "three.out.test")];
    assert_eq!(two + three, 200);
    assert!(
        (20..=85).contains(&three),
        "{three} of 200, a quarter is due"
    );
    for kind in ["noted", "selected"] {
        assert_eq!(
            counts[&(kind, ip("127.0.0.3"), "three.out.test")],
            5,
            "{kind}"
        );
    }
    assert_eq!(counts[&("plain", ip("127.0.0.1"), "mx.test")], 5);
}

// covers PB-51
#[test]
fn cap_of_a_new_address_holds_over_a_restart_and_a_crash() {
    let ips = ["127.26.6.1", "127.26.6.2"];
    let Some(sink) = CountingSink::on_port_25(&ips) else {
        return;
    };
    let dns = provider(ips);
    let rules = "[source.new]\naddress = \"127.0.0.4\"\n\
        warm_up = { begins = 2026-01-01, messages = 7, growth = 1.0 }\n\
        [pool.fresh]\nsources = [\"new\"]\n[[select]]\npool = \"fresh\"\n";
    let mut server = Server::start(shaped(&dns, rules));
    submit_from(&server, "from@client.test", &serials("first", 3));
    sink.wait_taken(3, harness::DEADLINE);
    server.restart();
    submit_from(&server, "from@client.test", &serials("second", 3));
    sink.wait_taken(6, harness::DEADLINE);
    // What is sent and still in the queue when everything dies is sent again.
    relaying::wait_empty(server.install());
    server.kill9_all();
    server.restart();
    submit_from(&server, "from@client.test", &serials("third", 20));
    sink.wait_taken(7, harness::DEADLINE);
    let more = poll_until(2 * SECOND, || (sink.offers().len() > 7).then_some(()));
    assert!(more.is_none(), "{:?}", sink.offers());
    wait_for("the files of what is sent to be gone", || {
        server.install().queue_files().len() == 19
    });
    assert!(
        sink.offers()
            .iter()
            .all(|o| o.from.to_string() == "127.0.0.4")
    );
}

#[test]
fn check_names_file_line_and_key_of_what_is_wrong() {
    let install = Install::new().config("shaping.toml", "[default]\nconnection = 3\n");
    let output = Command::new(env!("CARGO_BIN_EXE_haraka"))
        .args(["--check", "-c"])
        .arg(install.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(
        said.contains("shaping.toml:2: unknown field `connection`"),
        "{said}"
    );
}
