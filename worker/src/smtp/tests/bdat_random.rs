//! Smuggling: whatever stands in a message, and however it is cut into packets, one message never
//! becomes two, and no text a command.

use std::cell::RefCell;
use std::rc::Rc;

use haraka_shared::transaction::Transaction;

use super::bdat::text;
use super::message::keeping;
use super::rig::{BYE, taking, with};

/// What some server somewhere takes for the end of a message.
const ENDS: [&str; 14] = [
    "\n.\n",
    "\n.\r\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\n",
    "\r\n.\r",
    "\r\n.\r\r\n",
    "\r\r\n.\r\r\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\n. \r\n",
    "\n\n.\r\n",
    "\r\n..\r\n",
    "\r\n.\r\n",
];

const EVIL: &str =
    "MAIL FROM:<evil@b.c>\r\nRCPT TO:<x@y.z>\r\nDATA\r\nA: evil\r\n\r\nevil\r\n.\r\nQUIT\r\n";

/// Sends these pieces, each when the server has read the one before; gives the messages that came
/// to the queue and everything that was said.
fn play(pieces: &[&[u8]]) -> (Vec<String>, String) {
    let kept: Rc<RefCell<Vec<Transaction>>> = Rc::default();
    let mut plugins = taking();
    plugins.push(keeping(&kept));
    let said = with("", plugins, async |rig| {
        let mut c = rig.greeted().await;
        for piece in pieces {
            c.send(piece).await;
            crate::rt::sleep(std::time::Duration::from_millis(1)).await;
        }
        c.rest().await
    });
    let senders = kept
        .borrow()
        .iter()
        .map(|t| t.sender().to_string())
        .collect::<Vec<_>>();
    assert!(senders.iter().all(|s| s == "<a@b.c>"), "{senders:?}");
    let texts = kept.borrow().iter().map(text).collect();
    (texts, said)
}

// covers PB-01, PA-22
#[test]
fn no_end_of_data_but_the_true_one_ends_a_message_wherever_it_is_cut() {
    let hello = "EHLO x.y\r\n";
    let envelope = "MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\n";
    for end in ENDS {
        // Within DATA the true end is the true end.
        let in_data = end != "\r\n.\r\n";
        let message = format!("A: b\r\n\r\nfirst{end}{EVIL}");
        let chunk = format!("BDAT {} LAST\r\n{message}", message.len());
        let stuffed = message.replace("\r\n.\r\nQUIT", "\r\n..\r\nQUIT");
        let data = format!("DATA\r\n{stuffed}.\r\n");
        for (body, wanted) in [(&chunk, true), (&data, in_data)] {
            if !wanted {
                continue;
            }
            let prefix = format!("{hello}{envelope}");
            let all = format!("{prefix}{body}QUIT\r\n");
            let (whole, said) = play(&[all.as_bytes()]);
            assert_eq!(whole.len(), 1, "{end:?}: {said}");
            assert!(said.ends_with(&format!("{BYE}\n")), "{end:?}: {said}");
            assert!(whole[0].contains("<evil@b.c>"));
            // Cut at every octet from the text before the end to the command behind it.
            let from = all.find("first").unwrap();
            let until = all.find("MAIL FROM:<evil").unwrap() + 5;
            for cut in from..until {
                let (head, tail) = all.as_bytes().split_at(cut);
                let (cut_messages, _) = play(&[head, tail]);
                assert_eq!(cut_messages, whole, "{end:?} cut at {cut}");
            }
        }
    }
}

// covers PB-01
#[test]
fn each_octet_alone_gives_the_same_message() {
    for end in ENDS {
        let message = format!("A: b\r\n\r\nx{end}RSET\r\n");
        let all = format!(
            "EHLO x.y\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nBDAT 3\r\n{}BDAT {} LAST\r\n{}QUIT\r\n",
            message.get(..3).unwrap(),
            message.len() - 3,
            message.get(3..).unwrap()
        );
        let (whole, _) = play(&[all.as_bytes()]);
        let octets: Vec<&[u8]> = all.as_bytes().chunks(1).collect();
        let (alone, said) = play(&octets);
        assert_eq!(alone, whole, "{end:?}");
        assert!(said.ends_with(&format!("{BYE}\n")), "{said}");
    }
}

/// Random commands and chunks with a model of what must come of them.
#[test]
fn random_chunks_and_commands_are_answered_as_the_model_says() {
    let mut random = fastrand::Rng::with_seed(0xbda7);
    for round in 0..300 {
        let mut sent = b"EHLO x.y\r\n".to_vec();
        let mut expected: Vec<&str> = vec!["250"];
        let mut messages = 0;
        // none, sender, recipient, chunks
        let mut phase = 0;
        for _ in 0..random.usize(1..25) {
            match random.usize(..8) {
                0 => {
                    sent.extend_from_slice(b"MAIL FROM:<a@b.c>\r\n");
                    expected.push(if phase == 3 { "503" } else { "250" });
                    phase = if phase == 3 { 3 } else { 1 };
                }
                1 | 2 => {
                    sent.extend_from_slice(b"RCPT TO:<x@y.z>\r\n");
                    expected.push(if matches!(phase, 1 | 2) { "250" } else { "503" });
                    phase = if phase == 1 { 2 } else { phase };
                }
                3 => {
                    sent.extend_from_slice(b"RSET\r\n");
                    expected.push("250");
                    phase = 0;
                }
                kind => {
                    let len = random.usize(..30);
                    let text: Vec<u8> = (0..len)
                        .map(|_| b"\r\n.QUIT\0 "[random.usize(..9)])
                        .collect();
                    let last = kind == 4;
                    let word = if last { " LAST" } else { "" };
                    sent.extend_from_slice(format!("BDAT {len}{word}\r\n").as_bytes());
                    sent.extend_from_slice(&text);
                    let ok = phase >= 2;
                    // With PIPELINING, recipients that were all refused are a 554.
                    expected.push(match (ok, phase) {
                        (true, _) => "250",
                        (false, 1) => "5",
                        _ => "503",
                    });
                    if ok {
                        messages += u32::from(last);
                        phase = if last { 0 } else { 3 };
                    }
                }
            }
        }
        sent.extend_from_slice(b"QUIT\r\n");
        expected.push("221");
        let a = random.usize(..sent.len());
        let b = random.usize(a..sent.len());
        let (texts, said) = play(&[&sent[..a], &sent[a..b], &sent[b..]]);
        let replies: Vec<&str> = said.lines().filter(|l| l.as_bytes()[3] == b' ').collect();
        let story = String::from_utf8_lossy(&sent).into_owned();
        assert_eq!(replies.len(), expected.len(), "{round}: {story}\n{said}");
        for (reply, code) in replies.iter().zip(&expected) {
            assert!(
                reply.starts_with(code),
                "{round}: {story}\n{said}\n{expected:?}"
            );
        }
        assert_eq!(texts.len(), messages as usize, "{round}: {story}");
    }
}
