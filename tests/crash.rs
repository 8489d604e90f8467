//! Processes of the real program die at any moment: what a client was told 250 about arrives, and
//! nothing arrives twice but what was under way at a death.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;
mod relaying;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use harness::processes;
use harness::server::Signal;
use harness::{DEADLINE, Install, Message, Server, Sink, greeted, poll_until, wait_for};
use relaying::{Flow, numbered, to_next_hop, volume, wait_empty};

/// Clients at the same time.
const CLIENTS: usize = 8;

/// Whether this is a long run by hand, with more clients and no end of deaths.
fn by_hand() -> bool {
    std::env::var_os("QUEUE_TEST_N").is_some()
}

/// Workers killed in one test by default: the master waits longer before each new one.
const MOST_DEATHS: usize = 8;

fn install(sink: &Sink) -> Install {
    to_next_hop(sink.addr())
        .set("smtp.ini", "main", "nodes", "2")
        // Lines for each message are not what is tested here.
        .config("loglevel", "notice\n")
        .config("log.ini", "[main]\nlevel=notice\n")
}

/// Runs the flow and calls `disturb` again and again, with `pause` between, until all is accepted.
/// Gives the number of calls.
fn disturbed(flow: &Flow, pause: Duration, mut disturb: impl FnMut()) -> usize {
    let mut times = 0;
    std::thread::scope(|scope| {
        for _ in 0..if by_hand() { 50 } else { CLIENTS } {
            scope.spawn(|| flow.run());
        }
        let limit = Instant::now() + Duration::from_secs(600);
        loop {
            if poll_until(pause, || flow.is_done().then_some(())).is_some() {
                break;
            }
            if Instant::now() > limit {
                flow.end();
                break;
            }
            disturb();
            times += 1;
        }
    });
    assert!(
        flow.is_done(),
        "clients got {} messages accepted",
        flow.done()
    );
    times
}

/// Every accepted message arrived; the queue is empty; what came twice was cut off once. Gives the
/// number of duplicates.
#[track_caller]
fn all_arrived(sink: &Sink, server: &Server, flow: &Flow) -> usize {
    let accepted = flow.accepted();
    let missing = || {
        let arrived = sink.serials();
        let missing = accepted.iter().filter(|s| !arrived.contains_key(*s));
        missing.cloned().collect::<Vec<_>>()
    };
    let complete = poll_until(DEADLINE * 2, || missing().is_empty().then_some(()));
    let files = server.install().queue_files();
    assert!(
        complete.is_some(),
        "lost {:?}, in the queue {files:?}, log {}",
        missing(),
        server.log_text()
    );
    wait_empty(server.install());
    let log = server.log_lines();
    let mut seen = HashSet::new();
    let mut duplicates = 0;
    for message in sink.accepted() {
        if !seen.insert(message.serial()) {
            duplicates += 1;
            assert_cut(&message, &log);
        }
    }
    duplicates
}

/// A message may come twice if its worker died before the item was removed: between two lines about
/// its delivery there is one about a death. (With one line, or none, it died before it could log.)
#[track_caller]
fn assert_cut(message: &Message, log: &[String]) {
    let text = message.text();
    let id = text
        .split(" with ESMTP id ")
        .nth(1)
        .expect("an id in Received");
    let id = id.split_whitespace().next().unwrap().trim_end_matches(';');
    let delivered = format!("[{id}.1] [outbound]  delivered file=");
    let lines: Vec<usize> = (0..log.len())
        .filter(|n| log[*n].contains(&delivered))
        .collect();
    for pair in lines.windows(2) {
        let between = &log[pair[0]..pair[1]];
        let death = between
            .iter()
            .any(|line| line.contains(" killed by signal "));
        assert!(
            death,
            "{} came twice without a death: {between:#?}",
            message.serial()
        );
    }
}

fn told(what: &str, flow: &Flow, sink: &Sink, deaths: usize, duplicates: usize) {
    assert!(
        deaths > 0,
        "all was over before anything died: raise QUEUE_TEST_N"
    );
    println!(
        "{what}: {} accepted in {} tries, {} distinct arrived, {duplicates} twice, {deaths} deaths",
        flow.done(),
        flow.tries(),
        sink.serials().len()
    );
}

// covers PB-20, PB-25, PB-26, PA-41
#[test]
fn nothing_is_lost_while_workers_are_killed_all_the_time() {
    let sink = Sink::start();
    let server = Server::start(install(&sink));
    let flow = Flow::new(server.addr(), volume(600));
    let mut deaths = 0;
    let pause = Duration::from_millis(if by_hand() { 1000 } else { 300 });
    disturbed(&flow, pause, || {
        let workers = server.worker_pids();
        if workers.len() == 2 && (deaths < MOST_DEATHS || by_hand()) {
            processes::send(workers[deaths % 2], Signal::SIGKILL);
            deaths += 1;
        }
    });
    let duplicates = all_arrived(&sink, &server, &flow);
    told("workers", &flow, &sink, deaths, duplicates);
    server.wait_for_workers(2);
}

// covers PRC-12, OUT-15
#[test]
fn nothing_is_lost_when_workers_die_in_the_middle_of_a_flush() {
    let sink = Sink::start();
    let server = Server::start(install(&sink));
    let flow = Flow::new(server.addr(), volume(600) / 2);
    let mut deaths = 0;
    disturbed(&flow, Duration::from_millis(200), || {
        server.signal(Signal::SIGHUP);
        let workers = server.worker_pids();
        if workers.len() == 2 && (deaths < MOST_DEATHS || by_hand()) {
            processes::send(workers[deaths % 2], Signal::SIGKILL);
            deaths += 1;
        }
        server.signal(Signal::SIGHUP);
    });
    let duplicates = all_arrived(&sink, &server, &flow);
    told("flush", &flow, &sink, deaths, duplicates);
}

#[test]
fn nothing_is_lost_when_the_master_is_killed_and_its_workers_leave() {
    let sink = Sink::start();
    let mut server = Server::start(install(&sink));
    let flow = Flow::new(server.addr(), volume(600));
    let deaths = disturbed(&flow, Duration::from_millis(250), || {
        let orphans = server.worker_pids();
        processes::send(server.pid(), Signal::SIGKILL);
        wait_for("the master to be gone", || !processes::alive(server.pid()));
        wait_for("its workers to end by themselves", || {
            orphans.iter().all(|pid| !processes::alive(*pid))
        });
        server.restart();
        flow.moved(server.addr());
    });
    let duplicates = all_arrived(&sink, &server, &flow);
    told("master", &flow, &sink, deaths, duplicates);
}

#[test]
fn nothing_is_lost_when_everything_is_killed_at_once() {
    let sink = Sink::start();
    let mut server = Server::start(install(&sink));
    let flow = Flow::new(server.addr(), volume(600) / 2);
    let deaths = disturbed(&flow, Duration::from_millis(150), || {
        server.kill9_all();
        server.restart();
        flow.moved(server.addr());
    });
    let duplicates = all_arrived(&sink, &server, &flow);
    told("everything", &flow, &sink, deaths, duplicates);
}

// covers OUT-05
#[test]
fn message_to_many_domains_is_there_for_all_of_them_or_for_none() {
    const DOMAINS: usize = 12;
    let sink = Sink::start();
    let mut server = Server::start(install(&sink).set("outbound.ini", "main", "disabled", "true"));
    let mut sure = Vec::new();
    let rcpts: Vec<String> = (0..DOMAINS).map(|n| format!("to@d{n}.test")).collect();
    for round in 0..8 {
        // Ever later in the conversation: the kill falls before, into and after the commit.
        let delay = Duration::from_micros(500 * round);
        let serial = format!("round-{round}");
        let mut client = greeted(&server);
        client.cmd("MAIL FROM:<a@b.test>").expect(250);
        for rcpt in &rcpts {
            client.cmd(&format!("RCPT TO:<{rcpt}>")).expect(250);
        }
        client.cmd("DATA").expect(354);
        let message = harness::client::stuffed(numbered(&serial).as_bytes());
        client.send_raw(&message);
        std::thread::sleep(delay); // the moment of the death, not a wait
        server.kill9_all();
        if matches!(client.try_reply(), Ok(Some(reply)) if reply.code == 250) {
            sure.push(serial);
        }
        server.restart();
    }
    server
        .install()
        .write("config/outbound.ini", b"local_mx_ok=true\n");
    wait_empty(server.install());
    let mut per_serial: HashMap<String, Vec<String>> = HashMap::new();
    for message in sink.accepted() {
        per_serial
            .entry(message.serial())
            .or_default()
            .extend(message.to);
    }
    for serial in sure {
        assert!(
            per_serial.contains_key(&serial),
            "{serial} was accepted and is lost"
        );
    }
    for (serial, mut to) in per_serial {
        to.sort();
        to.dedup();
        assert_eq!(to.len(), DOMAINS, "{serial} went to {to:?} only");
    }
}
