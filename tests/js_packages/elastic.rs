//! The package elasticsearch, with the client of npm that it brings, against a stand-in of the index.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use crate::harness::transcript::masked;
use crate::harness::{DEADLINE, Rule, Sink, Stage, poll_until};
use crate::side::{Setup, Side, same_as_haraka};

const MESSAGE: &str = "From: Ann <ann@sender.test>\nTo: c@here.test\nDate: Sat, 1 Jan 2000 00:00:00 +0000\n\
    Subject: hi\nMessage-ID: <1@sender.test>\n\nbody";

/// Keeps every document, with the method and path that it came with.
struct Index {
    addr: SocketAddr,
    documents: Arc<Mutex<Vec<String>>>,
}

impl Index {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let documents = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&documents);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // A client that went away has its own test.
                std::thread::spawn(move || drop(answer(&stream, &kept)));
            }
        });
        Self { addr, documents }
    }

    fn count(&self) -> usize {
        self.documents.lock().unwrap().len()
    }

    /// Records the documents behind the first `before`, which are `count`.
    fn note(&self, side: &mut Side, before: usize, count: usize) {
        let there = poll_until(DEADLINE, || (self.count() >= before + count).then_some(()));
        let documents = self.documents.lock().unwrap();
        assert!(there.is_some(), "{documents:#?}");
        // Nothing waits for the index, so that documents overtake each other.
        let mut documents = documents[before..].to_vec();
        documents.sort();
        side.note("indexed", &documents.join("\n"));
    }
}

/// One connection, which is kept alive (RFC 9112, section 9.3).
fn answer(stream: &TcpStream, kept: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        let mut kind = String::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "content-type" => kind = value.to_owned(),
                _ => {}
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let target = request.trim_end().trim_end_matches(" HTTP/1.1");
        let json = if length == 0 {
            ""
        } else {
            r#"{"_index":"i","_id":"1","result":"created"}"#
        };
        let status = if length == 0 { "200 OK" } else { "201 Created" };
        // Without a document it is asked whether it is there: by the worker, and in the real Haraka by
        // the master as well.
        if length > 0 {
            kept.lock().unwrap().push(described(target, &kind, &body));
        }
        write!(
            stream,
            "HTTP/1.1 {status}\r\nX-elastic-product: Elasticsearch\r\nContent-Type: application/vnd.elasticsearch+json;compatible-with=9\r\n\
             Content-Length: {}\r\n\r\n{json}",
            json.len()
        )?;
    }
}

/// What is different in each run is masked: ids, times, ports and names of this host.
fn described(target: &str, kind: &str, body: &[u8]) -> String {
    let target = masked(target);
    // The index has the day in its name.
    let target = target.replace(|c: char| c.is_ascii_digit(), "N");
    let mut document: Value = serde_json::from_slice(body).unwrap();
    mask(&mut document);
    format!("{target} {kind} {}", masked(&document.to_string()))
}

fn mask(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    let volatile = ["timestamp", "@timestamp", "duration", "delay", "port"];
    for (name, value) in fields.iter_mut() {
        match name.as_str() {
            name if volatile.contains(&name) => {
                assert!(!value.is_null(), "{name}");
                *value = Value::from("masked");
            }
            "local" => mask_host(value.as_object_mut().unwrap()),
            _ => mask(value),
        }
    }
}

fn mask_host(local: &mut Map<String, Value>) {
    for name in ["host", "port"] {
        assert!(local.contains_key(name));
        local.insert(name.to_owned(), Value::from("masked"));
    }
}

/// Mail of this client may go out, to the port of the sink.
const ROUTE: &str = "
exports.hook_connect = (next, connection) => {
    connection.relaying = connection.remote.ip === '20.0.0.2'
    next()
}

exports.hook_get_mx = (next) => next(OK, { exchange: '127.0.0.1', port: PORT })
";

fn indexed(config: &str, must: &[&str], scenario: impl Fn(&mut Side, &Index, &Sink)) {
    let index = Index::start();
    let sink = Sink::start();
    sink.rule(Rule::reply(Stage::Rcpt, "450 later").containing("later@"));
    sink.rule(Rule::reply(Stage::Rcpt, "550 never").containing("never@"));
    let config = format!("[hosts]\nindex=http://{}\n{config}", index.addr);
    let route = ROUTE.replace("PORT", &sink.addr().port().to_string());
    let setup = Setup {
        plugins: &["elasticsearch", "helo.checks", "route"],
        config: &[
            ("elasticsearch.ini", &config),
            ("../plugins/route.js", &route),
            ("outbound.ini", "local_mx_ok=true\n"),
        ],
        volatile: &[],
    };
    same_as_haraka(&setup, None, must, |side| {
        side.await_hooks("elasticsearch");
        scenario(side, &index, &sink);
    });
}

// covers PLG-03
#[test]
fn connections_and_transactions_are_indexed_as_with_haraka() {
    let config = "[ignore_hosts]\n[index]\ninterval=month\n[headers]\nFrom\nTo\nSubject\nDate\n";
    let must = [
        "PUT /smtp-connection-NNNN-NN/_create/",
        "PUT /smtp-transaction-NNNN-NN/_create/",
        "\"subject\":\"hi\"",
    ];
    indexed(config, &must, |side, index, _| {
        let mut before = index.count();
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&["EHLO x.test", "WHAT", "QUIT"]);
        });
        index.note(side, before, 1);
        before = index.count();
        side.from("20.0.0.1", |c| {
            c.mail(
                "x.test",
                "Ann@Sender.test",
                &["C@here.test", "x@there.test"],
                MESSAGE,
            );
            c.message("b@sender.test", &["c@here.test"], MESSAGE);
            c.quit();
        });
        index.note(side, before, 2);
        before = index.count();
        side.from("2001:db8::1", |c| {
            c.greeting();
            c.says(&[
                "HELO [1.2.3.4]",
                "MAIL FROM:<>",
                "RCPT TO:<no@there.test>",
                "RSET",
                "QUIT",
            ]);
        });
        index.note(side, before, 1);
    });
}

// covers PLG-03
#[test]
fn documents_have_the_names_that_are_wanted_as_with_haraka() {
    let config = "[log]\nconnections=false\n[index]\ntimestamp=@timestamp\ninterval=auto\ntransaction=mail\n\
        [top_level_names]\nconnection=conn\nplugin=p\nmessage=msg\n[connection_properties]\nrelaying=relay\ntotalbytes=bytes\nusing_tls=tls\n";
    let must = ["PUT /mail/_create/", "\"msg\":{", "\"conn\":{", "\"p\":{"];
    indexed(config, &must, |side, index, _| {
        let before = index.count();
        side.from("20.0.0.1", |c| {
            c.greeting();
            c.says(&["QUIT"]);
        });
        side.from("20.0.0.2", |c| {
            c.mail("x.test", "ann@sender.test", &["c@here.test"], MESSAGE);
            c.quit();
        });
        // The transaction, and what became of it.
        index.note(side, before, 2);
    });
}

// covers PLG-03, OUT-08
#[test]
fn what_becomes_of_deliveries_is_indexed_as_with_haraka() {
    let must = [
        "\"result\":\"Delivered\"",
        "\"result\":\"Delayed\"",
        "\"result\":\"Bounced\"",
    ];
    indexed("", &must, |side, index, _| {
        let mut before = index.count();
        for to in ["u@far.test", "later@far.test", "never@far.test"] {
            side.from("20.0.0.2", |c| {
                c.mail("x.test", "ann@sender.test", &[to], MESSAGE);
                c.quit();
            });
            // The transaction, and what became of it; of a bounce the message about it as well.
            let count = if to.starts_with("never") { 3 } else { 2 };
            index.note(side, before, count);
            before = index.count();
        }
    });
}

// covers PLG-03
#[test]
fn an_index_that_is_not_there_keeps_no_mail_as_with_haraka() {
    let setup = Setup {
        plugins: &["elasticsearch"],
        config: &[("elasticsearch.ini", "[hosts]\nnowhere=http://127.0.0.1:9\n")],
        volatile: &[],
    };
    same_as_haraka(&setup, None, &["250 Message Queued"], |side| {
        side.from("20.0.0.1", |c| {
            c.mail("x.test", "ann@sender.test", &["c@here.test"], MESSAGE);
            c.quit();
        });
    });
}
