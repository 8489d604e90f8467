//! What ends or refuses a client that asks for too much.

use std::net::SocketAddr;
use std::time::Duration;

use haraka_shared::hook::{HookName, Verdict};

use super::rig::{storing, taking, vouching, with, with_files};
use crate::hooks::tests::script::answers;
use crate::rt::{self, Stream, UnixStream};
use crate::smtp::listener::admit;

const GREETED: &str =
    "250 mx.example.org Hello client.example.com [192.0.2.1], Haraka is at your service.\n";

// covers PB-13, PI3-22
#[test]
fn too_many_errors_end_the_session_after_their_reply() {
    with("[max]\nerrors=3\n", vec![], async |rig| {
        let mut c = rig.introduced().await;
        c.dialogue(&[
            ("FOO", "500 Unrecognized command"),
            ("NOOP", "250 OK"),
            ("RCPT TO:<a@b.c>", "503 Use MAIL before RCPT"),
        ])
        .await;
        assert_eq!(
            c.last("DATA x").await,
            "501 Syntax error\n421 Too many errors\n"
        );
        assert_eq!(
            &**c.conn.last_reject.borrow().as_ref().unwrap(),
            "421 Too many errors"
        );
    });
    with("[max]\nerrors=0\n", vec![], async |rig| {
        let mut c = rig.introduced().await;
        for _ in 0..300 {
            assert_eq!(c.say("FOO").await, "500 Unrecognized command");
        }
    });
}

// covers CON-48
#[test]
fn silent_client_is_told_and_closed_after_the_inactivity_time() {
    with_files(
        &[("smtp.ini", "inactivity_timeout=60\n")],
        vec![],
        async |rig| {
            let mut c = rig.introduced().await;
            rt::sleep(Duration::from_secs(59)).await;
            assert_eq!(c.say("NOOP").await, "250 OK");
            let since = rt::now();
            assert_eq!(c.rest().await, "421 timeout\n");
            assert_eq!((rt::now() - since).as_secs(), 60);
        },
    );
}

// An operator's longer inactivity time is not cut short by the time for one command.
#[test]
fn time_for_a_command_counts_from_its_first_byte() {
    let files = [
        ("smtp.ini", "inactivity_timeout=1200\n"),
        ("connection.ini", "[max]\ncommand_time=60\n"),
    ];
    with_files(&files, vec![], async |rig| {
        let mut c = rig.introduced().await;
        rt::sleep(Duration::from_secs(1100)).await;
        c.send("NO").await;
        rt::sleep(Duration::from_secs(59)).await;
        assert_eq!(c.say("OP").await, "250 OK");
        assert_eq!(c.say("NOOP").await, "250 OK");
    });
}

// covers PB-13
#[test]
fn byte_every_ten_seconds_is_no_command() {
    with("[max]\ncommand_time=60\n", vec![], async |rig| {
        let mut c = rig.introduced().await;
        let since = rt::now();
        for byte in "MAIL FROM:<a@b.c>".chars() {
            if c.stream
                .write_all(byte.to_string().as_bytes())
                .await
                .is_err()
            {
                break;
            }
            rt::sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(c.rest().await, "421 timeout\n");
        assert!((rt::now() - since).as_secs() < 200);
        assert_eq!(c.conn.tran_count.get(), 0);
    });
}

// covers PB-13
#[test]
fn message_has_to_be_whole_in_its_time_however_busy_the_client_is() {
    with("[max]\ndata_time=100\n", taking(), async |rig| {
        let mut c = rig.introduced().await;
        c.say("MAIL FROM:<a@b.c>").await;
        c.say("RCPT TO:<x@y.z>").await;
        c.say("DATA").await;
        let since = rt::now();
        while c.stream.write_all(&[b'x'; 2000]).await.is_ok() {
            rt::sleep(Duration::from_secs(7)).await;
            assert!((rt::now() - since).as_secs() < 200);
        }
        assert_eq!(c.rest().await, "421 timeout\n");
        assert!((100..110).contains(&(rt::now() - since).as_secs()));
        assert_eq!(c.conn.msg_count.to_string(), "0/0/0");
    });
}

// covers PB-13
#[test]
fn session_ends_at_its_time_although_the_client_keeps_asking() {
    with("[max]\nsession_time=1000\n", vec![], async |rig| {
        let mut c = rig.introduced().await;
        let mut asked = 0;
        let end = loop {
            // The server may have closed while the client was busy elsewhere.
            drop(c.stream.write_all(b"NOOP\r\n").await);
            let reply = c.reply().await;
            if reply != "250 OK" {
                break reply;
            }
            asked += 1;
            rt::sleep(Duration::from_secs(30)).await;
        };
        assert_eq!(end, "421 timeout");
        assert_eq!(asked, 34);
    });
}

fn outside(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 4321))
}

// covers PB-13
#[test]
fn clients_over_the_limits_are_told_so_and_closed() {
    let ini = "[max]\nconnections=3\nconnections_per_ip=2\n";
    with(
        ini,
        vec![answers(
            "p",
            HookName::Connect,
            Verdict::new(haraka_shared::hook::Code::Cont, "hi"),
        )],
        async |rig| {
            let enter = async |last| {
                let (ours, theirs) = UnixStream::pair().unwrap();
                admit(
                    &rig.worker,
                    Stream::from(theirs),
                    outside(last),
                    outside(200),
                );
                let mut buffer = [0; 200];
                let got = ours.read(&mut buffer).await.unwrap();
                (ours, String::from_utf8(buffer[..got].to_vec()).unwrap())
            };
            let first = enter(1).await;
            let second = enter(1).await;
            assert_eq!(
                (first.1.as_str(), second.1.as_str()),
                ("220 hi\r\n", "220 hi\r\n")
            );
            let third = enter(1).await;
            assert_eq!(
                third.1,
                "421 mx.example.org too many connections from your address, try again later\r\n"
            );
            assert_eq!(third.0.read(&mut [0; 9]).await.unwrap(), 0);
            let other = enter(2).await;
            assert_eq!(other.1, "220 hi\r\n");
            assert_eq!(
                enter(3).await.1,
                "421 mx.example.org too many connections, try again later\r\n"
            );
            assert_eq!(rig.worker.sessions.count(), 3);
            drop(first);
            rt::sleep(Duration::from_millis(1)).await;
            assert_eq!(rig.worker.sessions.count(), 2);
            assert_eq!(enter(1).await.1, "220 hi\r\n");
        },
    );
}

// covers PB-13, PI3-19
#[test]
fn recipient_over_the_limit_is_put_off_and_the_others_stay() {
    with(
        "[max]\nrecipients=2\n",
        vec![vouching(), storing()],
        async |rig| {
            let mut c = rig.introduced().await;
            c.dialogue(&[
                ("MAIL FROM:<a@b.c>", "250 sender <a@b.c> OK"),
                ("RCPT TO:<one@y.z>", "250 recipient <one@y.z> OK"),
                ("RCPT TO:<two@y.z>", "250 recipient <two@y.z> OK"),
                ("RCPT TO:<three@y.z>", "452 4.5.3 Too many recipients"),
                ("DATA", "354 go ahead, make my day"),
                ("\r\n.", "250 Message Queued ({U}.1)"),
            ])
            .await;
            assert_eq!(c.conn.rcpt_count.to_string(), "2/0/0");
        },
    );
}

// covers KEY-33
#[test]
fn refusals_carry_as_much_of_the_uuid_as_configured() {
    for (chars, length) in [(1, None), (8, Some(8)), (100, None)] {
        with(
            &format!("[uuid]\ndeny_chars={chars}\n"),
            vec![],
            async |rig| {
                let mut c = rig.greeted().await;
                let tag =
                    |id: String| format!("[{}@mx] ", id.split_at(length.unwrap_or(id.len())).0);
                let own = tag(c.uuid());
                assert_eq!(
                    c.say("MAIL").await,
                    format!("503 {own}Use EHLO/HELO before MAIL")
                );
                assert_eq!(c.say("HELO x").await, GREETED.trim_end());
                let expected = "501-{T}Command parsing failed\n\
                            501 {T}Error: Invalid format of mail command: missing FROM: prefix";
                assert_eq!(c.say("MAIL").await, expected.replace("{T}", &own));
                c.say("MAIL FROM:<a@b.c>").await;
                let txn = tag(format!("{}.1", c.uuid()));
                assert_eq!(
                    c.say("RCPT TO:<x@y.z>").await,
                    format!("550 {txn}I cannot deliver mail for <x@y.z>")
                );
                assert_eq!(
                    &**c.conn.last_reject.borrow().as_ref().unwrap(),
                    "550 I cannot deliver mail for <x@y.z>"
                );
            },
        );
    }
}
