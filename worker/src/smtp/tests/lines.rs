//! Input that is no command line.

use std::time::Duration;

use super::rig::with;
use crate::rt;

// covers CON-43, CON-45, PB-01
#[test]
fn what_is_no_line_is_answered_and_closed() {
    let long = "x".repeat(511) + "\r\n";
    for (input, reply) in [
        (
            "NOOP\nQUIT\r\n",
            "521 5.5.2 bare line feed, closing connection\n",
        ),
        (
            "NOOP\rQUIT\r\n",
            "521 5.5.2 bare carriage return, closing connection\n",
        ),
        (
            "NO\0OP\r\n",
            "521 5.5.2 NUL in command line, closing connection\n",
        ),
        (&long, "521 Command line too long\n"),
        (long.split_at(512).0, "521 Command line too long\n"),
        (
            "\x16\x03\x01\x02",
            "501 SSL attempted over a non-SSL socket\n",
        ),
        (
            "NOOP\r\nNOOP\r\nX\n",
            "250 OK\n250 OK\n521 5.5.2 bare line feed, closing connection\n",
        ),
    ] {
        with("", vec![], async |rig| {
            let mut c = rig.introduced().await;
            c.send(input).await;
            assert_eq!(c.rest().await, reply, "{input:?}");
        });
    }
}

// covers CON-43
#[test]
fn line_of_just_the_limit_is_a_command() {
    for cut in [1, 100, 510, 511] {
        with("", vec![], async |rig| {
            let mut c = rig.introduced().await;
            let line = format!("NOOP {}\r\n", "x".repeat(505));
            assert_eq!(line.len(), 512);
            c.send(line.split_at(cut).0).await;
            rt::sleep(Duration::from_secs(1)).await;
            c.send(line.split_at(cut).1).await;
            assert_eq!(c.reply().await, "250 OK");
        });
    }
}

#[test]
fn line_longer_than_a_buffer_is_too_long_whatever_the_setting() {
    with("[max]\nline_length=1000000\n", vec![], async |rig| {
        let mut c = rig.introduced().await;
        assert_eq!(
            c.say(&format!("NOOP {}", "x".repeat(10_000))).await,
            "250 OK"
        );
        c.send(&format!("NOOP {}", "x".repeat(20_000))).await;
        assert_eq!(c.rest().await, "521 Command line too long\n");
    });
}

// The rest of what it sends must not reset the connection before it has read why.
#[test]
fn client_that_goes_on_sending_still_reads_why_it_was_closed() {
    with("", vec![], async |rig| {
        let mut c = rig.introduced().await;
        c.send(&"x".repeat(600)).await;
        rt::sleep(Duration::from_millis(100)).await;
        c.send(&"x".repeat(50_000)).await;
        assert_eq!(c.reply().await, "521 Command line too long");
        // It does not go on for ever.
        let since = rt::now();
        c.over().await;
        assert!((rt::now() - since).as_secs() <= 2);
    });
}

#[test]
fn lines_in_any_pieces_are_the_same_commands() {
    with("", vec![], async |rig| {
        let mut c = rig.introduced().await;
        for byte in "NOOP\r\nHELP\r\nFOO\r\n".chars() {
            c.send(&byte.to_string()).await;
            rt::yield_now().await;
            rt::yield_now().await;
        }
        for reply in ["250 OK", "250 Not implemented", "500 Unrecognized command"] {
            assert_eq!(c.reply().await, reply);
        }
    });
}
