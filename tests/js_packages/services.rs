//! Packages that ask a service, with stand-ins that speak the service's protocol: p0f, qmail-deliverabled,
//! dccifd and Message Sniffer. A stand-in goes with the test program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::server::peer_command;
use crate::harness::{Install, Server, Sink, skip};
use crate::side::{Setup, Side, packages, same_as_haraka, without_trace};

const MESSAGE: &str = "From: Ann <ann@sender.test>\nTo: c@here.test\nDate: Sat, 1 Jan 2000 00:00:00 +0000\n\
    Subject: hi\nMessage-ID: <1@sender.test>\n\n";

/// Each connection to a free port has a thread that answers.
fn serve(answer: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            // A client that went away has its own test.
            std::thread::spawn(move || drop(answer(stream)));
        }
    });
    addr
}

/// The same on a Unix socket.
fn serve_path<S>(answer: S) -> PathBuf
where
    S: Fn(UnixStream) -> std::io::Result<()> + Clone + Send + 'static,
{
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("haraka-service-{}-{count}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || drop(answer(stream)));
        }
    });
    path
}

/// One mail from each of these addresses.
fn mails(side: &mut Side, clients: &[&str], body: &str) {
    for ip in clients {
        side.from(ip, |c| {
            let message = format!("{MESSAGE}{body}");
            c.mail("x.test", "ann@sender.test", &["c@here.test"], &message);
            c.quit();
        });
    }
}

/// The query of p0f 3 has 21 octets, its answer 232; what is known goes by the last octet of the address.
fn p0f(mut stream: impl Read + Write) -> std::io::Result<()> {
    let mut query = [0; 21];
    loop {
        stream.read_exact(&mut query)?;
        assert_eq!(query[..4], 0x5030_4601_u32.to_le_bytes());
        let length = if query[4] == 4 { 4 } else { 16 };
        let host = query[4 + length];
        let status: u32 = match host {
            3 => 0x20,
            4 => 0x00,
            5 => 0x99,
            _ => 0x10,
        };
        let mut answer = Vec::new();
        let magic = if host == 6 { 1 } else { 0x5030_4602_u32 };
        let numbers = [
            magic,
            status,
            1_700_000_000,
            1_700_000_100,
            7,
            500,
            49,
            0,
            0,
        ];
        for number in numbers {
            answer.extend_from_slice(&number.to_le_bytes());
        }
        answer.extend_from_slice(&12_i16.to_le_bytes());
        answer.extend_from_slice(&[0, 1]);
        let texts = [
            "Linux",
            "3.11 and newer",
            "",
            "",
            "Ethernet or modem",
            "English",
        ];
        for text in texts {
            let end = answer.len() + 32;
            answer.extend_from_slice(text.as_bytes());
            answer.resize(end, 0);
        }
        // In two pieces, as a socket may do.
        let (head, tail) = answer.split_at(100);
        stream.write_all(head)?;
        stream.flush()?;
        stream.write_all(tail)?;
    }
}

// covers PLG-03, CON-13
#[test]
fn p0f_tells_of_clients_as_with_haraka() {
    let path = serve_path(p0f);
    let config = format!("socket_path={}\nadd_header=X-p0f-Result\n", path.display());
    let setup = Setup {
        plugins: &["p0f"],
        config: &[("p0f.ini", &config)],
        volatile: &[],
    };
    let must = [
        "os_name\":\"Linux",
        "stored X-p0f-Result: os=\"Linux 3.11 and newer\" link_type=\"Ethernet or modem\" distance=12",
        "no p0f results",
        "bad query",
        "unknown status",
        "bad response magic",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        let clients = [
            "20.0.0.1",
            "2001:db8::1",
            "20.0.0.3",
            "20.0.0.4",
            "20.0.0.5",
            "20.0.0.6",
            "10.0.0.1",
        ];
        mails(side, &clients, "hello");
    });
    drop(std::fs::remove_file(path));
}

// covers PLG-03
#[test]
fn a_p0f_that_is_not_there_costs_only_its_results_as_with_haraka() {
    let setup = Setup {
        plugins: &["p0f"],
        config: &[("p0f.ini", "socket_path=/nowhere/p0f\n")],
        volatile: &[],
    };
    same_as_haraka(&setup, None, &["ENOENT", "250 Message Queued"], |side| {
        mails(side, &["20.0.0.1", "20.0.0.2"], "hello");
    });
}

/// qmail-deliverabled over HTTP: a number for each address, by its local part.
fn deliverable(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let address = path.strip_prefix("/qd1/deliverable?").unwrap_or_default();
    let address = address.replace("%40", "@");
    let (status, body) = match address.split('@').next().unwrap_or_default() {
        "normal" | "ann" => ("200 OK", "241"),
        "dir" => ("200 OK", "242"),
        "alias" => ("200 OK", "243"),
        "catchall" => ("200 OK", "244"),
        "list" => ("200 OK", "245"),
        "writable" => ("200 OK", "33"),
        "sticky" => ("200 OK", "34"),
        "lost" => ("200 OK", "47"),
        "strange" => ("200 OK", "254"),
        "elsewhere" => ("200 OK", "255"),
        "text" => ("200 OK", "no number"),
        "unknown" => ("200 OK", "200"),
        "broken" => ("500 Internal Server Error", "241"),
        "closed" => return Ok(()),
        _ => ("200 OK", "0"),
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

const LOCAL_PARTS: [&str; 11] = [
    "normal",
    "dir",
    "alias",
    "catchall",
    "list",
    "writable",
    "sticky",
    "lost",
    "strange",
    "elsewhere",
    "unknown",
];

/// Clients at 20.0.0.2 may relay.
const RELAYED: &str = "exports.hook_connect = (next, connection) => {
    connection.relaying = connection.remote.ip === '20.0.0.2'
    next()
}
";

fn asked(volatile: &'static [&'static str], must: &[&str], dialogue: &[&str]) {
    let port = serve(deliverable).port();
    let config = format!(
        "check_mail_from=true\nhost=127.0.0.1\nport={port}\n[lmtp.test]\nhost=127.0.0.1\nport={port}\nqueue=lmtp\n\
         next_hop=lmtp://127.0.0.9:24\n[split.test]\nport={port}\nqueue=smtp_forward\nsplit=defer\n"
    );
    let setup = Setup {
        plugins: &["qmail-deliverable", "relayed"],
        config: &[
            ("qmail-deliverable.ini", &config),
            ("../plugins/relayed.js", RELAYED),
        ],
        volatile,
    };
    same_as_haraka(&setup, None, must, |side| {
        for ip in ["20.0.0.1", "20.0.0.2"] {
            side.from(ip, |c| {
                c.greeting();
                c.says(dialogue);
            });
        }
    });
}

/// Each as sender and as recipient.
fn each(parts: &[&str]) -> Vec<String> {
    let mut lines = vec![
        "EHLO x.test".to_owned(),
        "MAIL FROM:<>".to_owned(),
        "RSET".to_owned(),
    ];
    for part in parts {
        lines.push(format!("MAIL FROM:<{part}@far.test>"));
        lines.push(format!("RCPT TO:<{part}@far.test>"));
        lines.push("RSET".to_owned());
    }
    lines
}

// covers PLG-03
#[test]
fn qmail_deliverable_knows_addresses_as_with_haraka() {
    let mut lines = each(&LOCAL_PARTS);
    let rest = [
        "MAIL FROM:<x@far.test>",
        "RCPT TO:<normal@LMTP.test>",
        "RCPT TO:<alias@split.test>",
        "RCPT TO:<dir@lmtp.test>",
        "RCPT TO:<normal@here.test>",
        "RSET",
        "QUIT",
    ];
    lines.extend(rest.map(str::to_owned));
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let must = [
        "rcpt.vpopmail dir",
        "rcpt.not local",
        "unknown rv",
        "mail_from.normal delivery",
        "Split transaction",
    ];
    asked(&[], &must, &lines);
}

// covers PLG-03
#[test]
fn a_qmail_deliverabled_that_fails_defers_recipients_as_with_haraka() {
    let mut lines = each(&["text", "broken", "closed"]);
    lines.push("QUIT".to_owned());
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    // The texts have a message of the engine.
    let volatile = &["err", "human", "human_html"];
    asked(volatile, &["450 error validating email address"], &lines);
}

// covers PLG-03, OUT-13
#[test]
fn qmail_deliverable_queues_to_lmtp_and_outbound_as_with_haraka() {
    let addr = serve(deliverable);
    let lmtp = Sink::lmtp_on("127.0.0.1:0");
    let config = format!(
        "check_mail_from=false\nport={}\nqueue=lmtp\nnext_hop=lmtp://127.0.0.1:{}\n",
        addr.port(),
        lmtp.addr().port()
    );
    let setup = Setup {
        plugins: &["qmail-deliverable"],
        config: &[
            ("qmail-deliverable.ini", &config),
            ("outbound.ini", "local_mx_ok=true\n"),
        ],
        volatile: &[],
    };
    let must = [
        "delivered LHLO mx.test",
        "delivered TO <dir@far.test>",
        "queue.wants=lmtp",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        let before = lmtp.accepted().len();
        let to: [&[&str]; 2] = [&["dir@far.test"], &["normal@far.test", "alias@far.test"]];
        for (at, to) in to.iter().enumerate() {
            side.from("20.0.0.1", |c| {
                c.mail("x.test", "ann@sender.test", to, &format!("{MESSAGE}hello"));
                c.quit();
            });
            let message = lmtp.wait_accepted(before + at + 1).pop().unwrap();
            side.note("delivered LHLO", &message.helo);
            // SIZE is told by ours alone.
            side.note("delivered FROM", message.from.split(' ').next().unwrap());
            side.note("delivered TO", &message.to.join("\n"));
            side.note("delivered", &without_trace(&message.text()));
        }
    });
}

/// dccifd: addresses and the message up to the client's half of the end, then verdict and header field.
fn dccifd(mut stream: TcpStream) -> std::io::Result<()> {
    let mut asked = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let length = stream.read(&mut piece)?;
        asked.extend_from_slice(&piece[..length]);
        if length == 0 {
            break;
        }
    }
    let asked = String::from_utf8_lossy(&asked);
    let (head, message) = asked.split_once("\n\n").unwrap_or_default();
    let folded = head.replace(['\r', '\n'], "|");
    let verdict = match message {
        text if text.contains("spam") => "R\nR",
        text if text.contains("grey") => "G\nG",
        text if text.contains("some") => "S\nA",
        text if text.contains("later") => "T\nA",
        text if text.contains("odd") => "X\nY",
        text if text.contains("silence") => return Ok(()),
        text if text.contains("short") => return stream.write_all(b"A"),
        _ => "A\nA",
    };
    let lines = message.lines().count();
    let octets = message.len();
    let trace = message.lines().any(|line| line.starts_with("Received: "));
    write!(
        stream,
        "{verdict}\nX-DCC-test-Metrics: mx.test 1; Body=1 lines={lines} octets={octets} trace={trace}\n\tFuz1=1 asked={folded}\n"
    )
}

// covers PLG-03, TXN-03
#[test]
fn dcc_counts_messages_as_with_haraka() {
    let addr = serve(dccifd);
    let config = format!("[dccifd]\nhost=127.0.0.1\nport={}\n", addr.port());
    let setup = Setup {
        plugins: &["dcc"],
        config: &[("dcc.ini", &config)],
        volatile: &[],
    };
    let must = [
        "result\":\"Reject",
        "disposition\":\"Accept",
        "stored X-DCC-test-Metrics",
    ];
    same_as_haraka(&setup, None, &must, |side| {
        for body in [
            "hello", "spam", "grey", "some", "later", "odd", "silence", "short",
        ] {
            mails(side, &["20.0.0.1"], body);
        }
        side.from("20.0.0.1", |c| {
            let many = "A line of a message that does not fit into one piece of it.\n".repeat(2500);
            let to = ["c@here.test", "d@here.test"];
            c.mail("x.test", "", &to, &format!("{MESSAGE}{many}"));
            c.quit();
        });
    });
}

// covers PLG-03
#[test]
fn a_dcc_that_is_not_there_lets_mail_pass_as_with_haraka() {
    let setup = Setup {
        plugins: &["dcc"],
        config: &[("dcc.ini", "[dccifd]\npath=/nowhere/dccifd\n")],
        volatile: &[],
    };
    same_as_haraka(&setup, None, &["250 Message Queued"], |side| {
        mails(side, &["20.0.0.1"], "hello");
    });
}

/// Message Sniffer's XCI: one line of XML asked, one answered.
fn sniffer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut asked = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut asked)?;
    let quoted = asked.split('\'').nth(1).unwrap_or_default();
    let result = if asked.contains("<test ip") {
        let range = match quoted {
            "20.0.0.2" => "white",
            "20.0.0.3" => "caution",
            "20.0.0.4" => "black",
            "20.0.0.5" => "truncate",
            "20.0.0.6" => "odd",
            _ => "normal",
        };
        format!(
            "<gbudb><result ip='{quoted}' type='ugly' range='{range}' p='0.5' c='0.2' b='1' g='2'/></gbudb>"
        )
    } else if asked.contains("<bad ip") {
        format!(
            "<gbudb><result ip='{quoted}' type='bad' range='caution' p='0.5' c='0.2' b='1' g='2'/></gbudb>"
        )
    } else {
        let text = std::fs::read_to_string(quoted).unwrap_or_default();
        let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        let code = body.trim();
        if code == "error" {
            return stream.write_all(b"<snf><xci><error message='no such file'/></xci></snf>\n");
        }
        format!(
            "<scanner><result code='{code}'><xhdr>X-MessageSniffer-Scan-Result: {code}\r\nX-MessageSniffer-Rules:\r\n\t1-2-3-m\r\n\t4-5-6-f\r\n\
             X-MessageSniffer-SNF-Group: Test\r\nX-GBUdb-Analysis: 0, 20.0.0.1, Ugly\r\n</xhdr></result></scanner>"
        )
    };
    writeln!(stream, "<snf><xci>{result}</xci></snf>")
}

/// The package calls a log function of its `exports`. Here they have it; the process of the real Haraka
/// ends by that.
const MENDED: &str = "
const exported = require('haraka-plugin-messagesniffer')
if (!exported.logprotocol) exported.logprotocol = () => {}
";

fn sniffed(config: &str, must: &[&str], scenario: impl Fn(&mut Side)) {
    let addr = serve(sniffer);
    let config = format!("port={}\n{config}", addr.port());
    let setup = Setup {
        plugins: &["messagesniffer", "mended"],
        config: &[
            ("messagesniffer.ini", &config),
            ("../plugins/mended.js", MENDED),
        ],
        volatile: &[],
    };
    same_as_haraka(&setup, None, must, scenario);
}

const CLIENTS: [&str; 7] = [
    "20.0.0.1", "20.0.0.2", "20.0.0.3", "20.0.0.4", "20.0.0.5", "20.0.0.6", "10.0.0.1",
];

// covers PLG-03, TXN-03
#[test]
fn messagesniffer_judges_as_with_haraka() {
    let must = [
        "Poor GBUdb reputation for [20.0.0.5]",
        "Spam detected by MessageSniffer (code=52",
        "stored X-MessageSniffer-Rules",
    ];
    sniffed("gbudb_report_deny=true\n", &must, |side| {
        mails(side, &CLIENTS, "0");
        for code in ["1", "20", "40", "52", "63", "64", "100", "error"] {
            mails(side, &["20.0.0.1"], code);
        }
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&[
                "EHLO x.test",
                "MAIL FROM:<a@b.test>",
                "RCPT TO:<x@nowhere.test>",
                "QUIT",
            ]);
        });
    });
}

// covers PLG-03, TXN-03
#[test]
fn messagesniffer_does_what_it_is_told_as_with_haraka() {
    let config = "tag_string=[ODD]\n[gbudb]\nwhite=accept\ncaution=tag\nblack=retry\ntruncate=reject\n\
                  [message]\nwhite=allow\nlocal_white=accept\ncaution=tag\nblack=retry\ntruncate=reject\ncode_52=quarantine\nnonzero=tag\n";
    sniffed(
        config,
        &["stored Subject: [ODD] hi", "450", "550"],
        |side| {
            mails(side, &CLIENTS, "0");
            for code in ["1", "20", "40", "47", "63", "100"] {
                mails(side, &["20.0.0.1"], code);
            }
        },
    );
}

// covers PLG-03
#[test]
fn a_package_with_a_native_addon_is_named_and_nothing_starts() {
    let Some([_, peer]) = peer_command() else {
        return skip("PEER_HARAKA is not set: no packages");
    };
    let install = Install::new().plugins(&["syslog", "queue/test"]);
    let packages = packages(Path::new(&peer));
    std::os::unix::fs::symlink(packages, install.path().join("node_modules")).unwrap();
    let command = [env!("CARGO_BIN_EXE_haraka")];
    let Err(failure) = Server::try_start(install, &command) else {
        panic!("it has started");
    };
    let failure = format!("{failure:?}");
    assert!(
        failure.contains("Loading plugin syslog failed"),
        "{failure}"
    );
    assert!(
        failure.contains("native addons cannot be loaded"),
        "{failure}"
    );
}
