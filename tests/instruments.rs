//! Proves the test equipment itself: what a wrong harness would hide, no test built on it could find.

// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use harness::client::stuffed;
use harness::server::Signal;
use harness::sink_rules::Action;
use harness::unread::unread_bytes;
use harness::{
    DEADLINE, FakeDns, Install, RecordType, Rule, Server, Sink, SmtpClient, Stage, wait_for,
};

/// A stand-in for a server: a shell script that says it listens and then runs `rest`.
fn script(rest: &str) -> [String; 4] {
    let text = format!("echo '[NOTICE] Listening on 127.0.0.1:2525'; {rest}");
    ["/bin/sh".to_owned(), "-c".to_owned(), text, "sh".to_owned()]
}

#[test]
fn server_is_ready_with_the_address_of_its_log_line() {
    let server = Server::start_command(Install::new(), &script("echo more; exec sleep 60"));
    assert_eq!(server.addr().to_string(), "127.0.0.1:2525");
    assert!(server.wait_for_log("more", DEADLINE).starts_with("more"));
}

#[test]
fn server_that_ends_before_it_listens_is_a_start_failure_with_its_log() {
    let command = ["/bin/sh", "-c", "echo bad value; exit 3"];
    let failure = Server::try_start(Install::new(), &command)
        .err()
        .expect("no start");
    assert_eq!(failure.status.and_then(|status| status.code()), Some(3));
    assert!(failure.log.contains("bad value"), "{}", failure.log);
}

#[test]
fn stop_fails_and_kills_when_a_child_of_the_server_outlives_it() {
    // The shell dies of SIGTERM; its child ignores the signal.
    let rest = "(trap '' TERM; exec sleep 600) & wait";
    let mut server = Server::start_command(Install::new(), &script(rest));
    server.wait_for_workers(1);
    let outcome = catch_unwind(AssertUnwindSafe(|| server.stop()));
    let message = *outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("stay"), "{message}");
    assert!(server.all_pids().is_empty());
}

#[test]
fn kill9_takes_the_whole_family_also_what_left_the_process_group() {
    let rest = "setsid sleep 600 & sleep 600 & wait";
    let mut server = Server::start_command(Install::new(), &script(rest));
    server.wait_for_workers(2);
    // A process that is just being replaced by its program shows no environment for a moment.
    harness::wait_for("the whole family", || server.all_pids().len() == 3);
    server.kill9_all();
    assert!(server.all_pids().is_empty());
}

#[test]
fn restart_reads_only_the_log_of_the_new_run() {
    let mut server = Server::start_command(Install::new(), &script("echo pid $$; exec sleep 60"));
    let first = server.pid();
    server.wait_for_log("pid", DEADLINE);
    server.restart();
    assert_ne!(server.pid(), first);
    server.wait_for_log(&format!("pid {}", server.pid()), DEADLINE);
    assert_eq!(
        server
            .log_lines()
            .iter()
            .filter(|line| line.starts_with("pid"))
            .count(),
        1
    );
    server.signal(Signal::SIGKILL);
    server.wait_exit();
}

#[test]
fn setting_replaces_the_old_value_in_its_section() {
    let install = Install::new()
        .set("connection.ini", "max", "bytes", "7")
        .set("connection.ini", "new", "key", "1")
        .set("smtp.ini", "main", "nodes", "0");
    let read =
        |name: &str| std::fs::read_to_string(install.path().join("config").join(name)).unwrap();
    let connection = read("connection.ini");
    assert!(
        connection.contains("[max]\nbytes=7\nmime_parts"),
        "{connection}"
    );
    assert!(!connection.contains("26214400"), "{connection}");
    assert!(connection.ends_with("[new]\nkey=1\n"), "{connection}");
    assert_eq!(read("smtp.ini"), "nodes=0\nlisten=127.0.0.1:0\n");
}

#[test]
fn unread_bytes_are_seen_until_the_owner_reads_them() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(host).unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let ends = (far.local_addr().unwrap(), near.local_addr().unwrap());
        near.write_all(b"hello").unwrap();
        wait_for("five bytes", || unread_bytes(ends.0, ends.1) == Some(5));
        far.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(unread_bytes(ends.0, ends.1), Some(0));
    }
}

#[test]
fn message_is_dot_stuffed_and_ended() {
    assert_eq!(stuffed(b"a\r\n.\r\n..b"), b"a\r\n..\r\n...b\r\n.\r\n");
    assert_eq!(stuffed(b""), b".\r\n");
}

#[test]
fn sink_records_the_message_as_it_was_sent() {
    let sink = Sink::start();
    let mut client = SmtpClient::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), sink.addr());
    assert_eq!(client.local_addr().ip().to_string(), "127.0.0.9");
    assert!(client.ehlo("client.test").offers("PIPELINING"));
    let text = "X-Serial: 7\r\n\r\n.dot\r\n";
    client
        .send_mail("a@x.test", &["b@y.test", "c@y.test"], text)
        .expect(250);
    client.quit();
    let messages = sink.wait_accepted(1);
    assert_eq!(messages[0].from, "<a@x.test>");
    assert_eq!(messages[0].to, ["<b@y.test>", "<c@y.test>"]);
    assert_eq!(
        (messages[0].helo.as_str(), messages[0].connection),
        ("client.test", 1)
    );
    assert_eq!(messages[0].raw, b"X-Serial: 7\r\n\r\n..dot\r\n");
    assert_eq!(messages[0].text(), text);
    sink.assert_each_once(&["7"]);
    assert_eq!(sink.pipelined_commands(), 0);
}

#[test]
fn sink_tells_losses_and_duplicates() {
    let sink = Sink::start();
    let mut client = SmtpClient::connect(sink.addr());
    client.ehlo("client.test");
    for serial in ["1", "2", "2"] {
        let text = format!("X-Serial: {serial}\r\n\r\n");
        client
            .send_mail("a@x.test", &["b@y.test"], &text)
            .expect(250);
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| sink.assert_each_once(&["1", "2", "3"])));
    let message = *outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(
        message.contains(r#"lost ["3"]"#) && message.contains(r#"("2", 2)"#),
        "{message}"
    );
}

// covers AUX-04
#[test]
fn sink_follows_its_rules() {
    let sink = Sink::on("[::1]:0");
    sink.rule(Rule::reply(Stage::Greeting, "450 not now").on_connections(..=1))
        .rule(Rule::reply(Stage::Rcpt, "550 no such user").containing("nobody@"))
        .rule(Rule::reply(Stage::Rcpt, "451 later").times(1))
        .rule(Rule::reply(Stage::Data, "354").after(Duration::from_millis(30)))
        .rule(
            Rule::act(Stage::Other, Action::Raw(b"250-a\r\n250 b\r\n".to_vec())).containing("NOOP"),
        )
        .rule(Rule::reply_then_drop(Stage::Other, "421 bye").containing("HELP"))
        .rule(Rule::drop(Stage::Dot));
    SmtpClient::connect(sink.addr()).reply().expect(450);
    let mut client = SmtpClient::connect(sink.addr());
    client.ehlo("client.test");
    assert_eq!(client.cmd("NOOP").lines, ["a", "b"]);
    client.cmd("MAIL FROM:<a@x.test>").expect(250);
    client.cmd("RCPT TO:<nobody@y.test>").expect(550);
    client.cmd("RCPT TO:<b@y.test>").expect(451);
    client.cmd("RCPT TO:<b@y.test>").expect(250);
    let start = Instant::now();
    client.cmd("DATA").expect(354);
    assert!(start.elapsed() >= Duration::from_millis(30));
    client.send_raw(b"X-Serial: 1\r\n\r\n.\r\n");
    client.expect_close();
    assert_eq!((sink.messages().len(), sink.accepted().len()), (1, 0));
    let mut client = SmtpClient::connect(sink.addr());
    client.ehlo("client.test");
    let replies = client.pipeline(&["RSET", "HELP"]);
    assert_eq!((replies[0].code, replies[1].code), (250, 421));
    client.expect_close();
    assert_eq!((sink.connections(), sink.pipelined_commands()), (3, 1));
    drop(client);
    wait_for("all connections closed", || sink.open_connections() == 0);
}

#[test]
fn sink_that_stalls_leaves_the_connection_open() {
    let sink = Sink::start();
    sink.rule(Rule::stall(Stage::Mail));
    let mut client = SmtpClient::connect(sink.addr());
    client.ehlo("client.test");
    client.set_timeout(Duration::from_millis(100));
    client.send_raw(b"MAIL FROM:<a@x.test>\r\n");
    assert!(
        client.try_line().is_err(),
        "neither a reply nor the end of the connection"
    );
    assert_eq!(sink.open_connections(), 1);
}

#[test]
fn lmtp_sink_replies_once_per_recipient() {
    let sink = Sink::lmtp_on("127.0.0.1:0");
    sink.rule(Rule::reply(Stage::Dot, "452 full").containing("<c@"));
    let mut client = SmtpClient::connect(sink.addr());
    client.reply().expect(220);
    client.cmd("LHLO client.test").expect(250);
    client
        .send_mail("a@x.test", &["b@y.test", "c@y.test"], "X-Serial: 1\r\n\r\n")
        .expect(250);
    client.reply().expect(452);
    assert_eq!(
        sink.wait_accepted(1)[0].replies,
        ["250 2.0.0 taken", "452 full"]
    );
}

/// A query as a resolver sends it; `edns` adds the record that allows answers of 1232 octets.
fn query(name: &str, kind: RecordType, edns: bool) -> Vec<u8> {
    let mut packet = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    if edns {
        packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    packet
}

fn ask(dns: &FakeDns, name: &str, kind: RecordType) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    socket
        .send_to(&query(name, kind, true), dns.addr())
        .unwrap();
    let mut answer = vec![0; 4096];
    let length = socket.recv(&mut answer).ok()?;
    answer.truncate(length);
    Some(answer)
}

fn rcode(answer: &[u8]) -> u8 {
    answer[3] & 15
}

fn answers(answer: &[u8]) -> u16 {
    u16::from_be_bytes([answer[6], answer[7]])
}

fn contains(answer: &[u8], part: &[u8]) -> bool {
    answer.windows(part.len()).any(|window| window == part)
}

#[test]
fn fake_dns_answers_from_its_table() {
    let dns = FakeDns::start();
    dns.mx("y.test", &[(10, "mx1.y.test"), (20, "mx2.y.test")])
        .address("mx1.y.test", "127.0.0.2")
        .address("mx1.y.test", "::1")
        .cname("www.y.test", "mx1.y.test")
        .ptr("127.0.0.2", "mx1.y.test")
        .txt("y.test", "v=spf1 -all")
        .null_mx("none.test");
    let mx = ask(&dns, "Y.test", RecordType::MX).unwrap();
    assert_eq!((rcode(&mx), answers(&mx)), (0, 2));
    assert!(
        contains(&mx, b"\x01Y\x04test\0"),
        "the question comes back with its capitals"
    );
    let alias = ask(&dns, "www.y.test", RecordType::A).unwrap();
    assert_eq!(answers(&alias), 2);
    assert!(contains(&alias, &[0, 4, 127, 0, 0, 2]));
    assert_eq!(
        answers(&ask(&dns, "2.0.0.127.in-addr.arpa", RecordType::PTR).unwrap()),
        1
    );
    assert!(contains(
        &ask(&dns, "y.test", RecordType::TXT).unwrap(),
        b"\x0bv=spf1 -all"
    ));
    assert!(contains(
        &ask(&dns, "none.test", RecordType::MX).unwrap(),
        &[0, 3, 0, 0, 0]
    ));
    let nothing = ask(&dns, "y.test", RecordType::AAAA).unwrap();
    assert_eq!((rcode(&nothing), answers(&nothing)), (0, 0));
    assert_eq!(rcode(&ask(&dns, "unknown.test", RecordType::A).unwrap()), 3);
    assert_eq!(dns.queries("y.test", RecordType::MX), 1);
    assert_eq!((dns.total_queries(), dns.tcp_queries()), (7, 0));
}

#[test]
fn fake_dns_fails_as_told_and_recovers() {
    let dns = FakeDns::start();
    dns.address("a.test", "127.0.0.1")
        .servfail("a.test")
        .silent("b.test")
        .refused("c.test");
    assert_eq!(rcode(&ask(&dns, "a.test", RecordType::A).unwrap()), 2);
    assert!(ask(&dns, "b.test", RecordType::A).is_none());
    assert_eq!(rcode(&ask(&dns, "c.test", RecordType::A).unwrap()), 5);
    dns.recovered("a.test");
    assert_eq!(answers(&ask(&dns, "a.test", RecordType::A).unwrap()), 1);
    dns.nxdomain("a.test");
    assert_eq!(rcode(&ask(&dns, "a.test", RecordType::A).unwrap()), 3);
    dns.address("a.test", "127.0.0.1");
    assert_eq!(answers(&ask(&dns, "a.test", RecordType::A).unwrap()), 1);
}

#[test]
fn fake_dns_truncates_over_udp_and_answers_over_tcp() {
    let dns = FakeDns::start();
    dns.txt("cut.test", "short")
        .truncated("cut.test")
        .txt("long.test", &"x".repeat(2000));
    for name in ["cut.test", "long.test"] {
        let cut = ask(&dns, name, RecordType::TXT).unwrap();
        assert_eq!((cut[2] & 2, answers(&cut)), (2, 0), "{name} has the TC bit");
        let mut stream = TcpStream::connect(dns.addr()).unwrap();
        let packet = query(name, RecordType::TXT, false);
        stream
            .write_all(&(packet.len() as u16).to_be_bytes())
            .unwrap();
        stream.write_all(&packet).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!((answer[2] & 2, answers(&answer)), (0, 1), "{name} by TCP");
    }
    assert_eq!(dns.tcp_queries(), 2);
}
