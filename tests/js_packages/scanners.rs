//! Packages that ask a scanner, with stand-ins that speak the scanner's protocol.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::side::{Setup, same_as_haraka};

const MESSAGE: &str = "From: Ann <ann@sender.test>\nTo: c@here.test\nSubject: hi\n\n";

/// A scanner on a free port; `answer` has one connection. It goes with the test program.
fn scanner(answer: impl Fn(TcpStream) -> std::io::Result<()> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that went away has its own test.
            let _ = answer(stream);
        }
    });
    addr
}

/// The INSTREAM command of clamd: chunks with their length before, a chunk of length 0 ends them.
fn clamd(mut stream: TcpStream) -> std::io::Result<()> {
    let mut command = [0; 10];
    stream.read_exact(&mut command)?;
    assert_eq!(&command, b"zINSTREAM\0");
    let mut message = Vec::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 {
            break;
        }
        let from = message.len();
        message.resize(from + length, 0);
        stream.read_exact(&mut message[from..])?;
    }
    let text = String::from_utf8_lossy(&message);
    let found = ["Eicar-Test", "Heuristics.Phishing.Email"];
    match found.iter().find(|name| text.contains(**name)) {
        Some(name) => stream.write_all(format!("stream: {name} FOUND\0").as_bytes()),
        None => stream.write_all(b"stream: OK\0"),
    }
}

/// The HEADERS command of spamd, with the score that the subject names.
fn spamd(mut stream: TcpStream) -> std::io::Result<()> {
    let mut asked = Vec::new();
    stream.read_to_end(&mut asked)?;
    let asked = String::from_utf8_lossy(&asked);
    assert!(asked.starts_with("HEADERS SPAMC/1."), "{asked}");
    let spam = asked.contains("buy");
    let (flag, score) = if spam {
        ("True", "12.5")
    } else {
        ("False", "0.1")
    };
    write!(
        stream,
        "SPAMD/1.1 0 EX_OK\r\nSpam: {flag} ; {score} / 5.0\r\n\r\nX-Spam-Flag: {flag}\r\n\
         X-Spam-Status: {flag}, score={score} required=5.0 tests=ONE,\r\n\tTWO autolearn=no\r\n\
         X-Spam-Level: *\r\n\r\n"
    )
}

/// The HTTP service of rspamd; the message comes in chunks.
fn rspamd(mut stream: TcpStream) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n0\r\n\r\n") {
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => asked.extend_from_slice(&piece[..length]),
        }
    }
    let asked = String::from_utf8_lossy(&asked);
    assert!(asked.starts_with("POST /checkv2 HTTP/1.1\r\n"), "{asked}");
    let (action, score) = match asked.contains("buy") {
        true => ("reject", 20.5),
        false => ("no action", 1.5),
    };
    let json = format!(
        r#"{{"is_skipped":false,"score":{score},"required_score":15.0,"action":"{action}","symbols":{{"ONE":{{"name":"ONE","score":1.5}}}},"messages":{{}},"urls":[]}}"#
    );
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    )
}

// covers PLG-03, TXN-03
#[test]
fn rspamd_scores_messages_as_with_haraka() {
    let addr = scanner(rspamd);
    let config = format!(
        "host=127.0.0.1\nport={}\nadd_headers=always\n[header]\nscore=X-Rspamd-Score\n",
        addr.port()
    );
    let setup = Setup {
        plugins: &["rspamd"],
        config: &[("rspamd.ini", &config)],
        volatile: &["time", "human", "human_html"],
    };
    same_as_haraka(&setup, None, &["rspamd {", "550"], |side| {
        for body in ["hello", "buy"] {
            side.from("20.0.0.1", |c| {
                c.mail(
                    "x.test",
                    "a@b.test",
                    &["c@here.test"],
                    &format!("{MESSAGE}{body}"),
                );
                c.quit();
            });
        }
    });
}

// covers PLG-03, TXN-03
#[test]
fn clamd_finds_viruses_as_with_haraka() {
    let addr = scanner(clamd);
    let config = format!(
        "clamd_socket={addr}\n[reject]\nvirus=true\nPhishing=false\n[check]\nprivate_ip=true\n"
    );
    let setup = Setup {
        plugins: &["clamd"],
        config: &[("clamd.ini", &config)],
        volatile: &[],
    };
    let must = ["clamd {", "Message is infected"];
    same_as_haraka(&setup, None, &must, |side| {
        for body in ["clean", "Eicar-Test", "Heuristics.Phishing.Email"] {
            side.from("20.0.0.1", |c| {
                c.mail(
                    "x.test",
                    "a@b.test",
                    &["c@here.test"],
                    &format!("{MESSAGE}{body}"),
                );
                c.quit();
            });
        }
    });
}

// covers PLG-03, TXN-03
#[test]
fn spamd_scores_messages_as_with_haraka() {
    let addr = scanner(spamd);
    let config = format!("spamd_socket={addr}\nreject_threshold=10\nadd_headers=true\n");
    let setup = Setup {
        plugins: &["spamassassin"],
        config: &[("spamassassin.ini", &config)],
        volatile: &["time", "human", "human_html"],
    };
    let must = ["spamassassin {", "spam score exceeded threshold"];
    same_as_haraka(&setup, None, &must, |side| {
        for body in ["hello", "buy"] {
            side.from("20.0.0.1", |c| {
                c.mail(
                    "x.test",
                    "a@b.test",
                    &["c@here.test"],
                    &format!("{MESSAGE}{body}"),
                );
                c.quit();
            });
        }
    });
}
