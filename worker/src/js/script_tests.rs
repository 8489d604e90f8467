//! Scripts that were run in Node: each in `worker/tests/js/` reports lines, and must report here what it
//! reported there. `node worker/tests/js/NAME.js > worker/tests/js/NAME.txt` records them anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::engine::Engine;
use super::limits::Limits;
use super::tests::{Dir, eval};
use crate::rt::{self, Runtime, Stream, TcpListener};
use crate::tls::ends;

/// How long a script may take; they wait for milliseconds.
const DEADLINE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(2);

/// Runs a script to its `report.end()` and gives what it reported.
async fn reported(engine: &Engine, text: &str) -> String {
    let script = format!(
        "globalThis.report = (line) => report.lines.push(String(line)); report.lines = []; \
         report.end = () => (report.over = true); \
         (function (require) {{ {text}\n }})(__required); 1"
    );
    eval(engine, &script).unwrap();
    let over = rt::timeout(DEADLINE, async {
        while eval(engine, "report.over").unwrap() != true {
            rt::sleep(PAUSE).await;
        }
    });
    let timely = over.await.is_ok();
    let lines = eval(engine, "report.lines").unwrap();
    let lines = lines.as_array().unwrap().iter();
    let mut out: String = lines
        .map(|l| format!("{}\n", l.as_str().unwrap()))
        .collect();
    if !timely {
        out.push_str("NOT OVER\n");
    }
    out
}

fn scripts() -> Vec<PathBuf> {
    if let Ok(one) = std::env::var("HARAKA_SCRIPT") {
        return vec![one.into()];
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    found.retain(|p| p.extension().is_some_and(|e| e == "js"));
    found.sort();
    assert!(found.len() > 1, "where are the scripts?");
    found
}

// covers PLG-07
#[test]
fn scripts_report_what_they_report_in_node() {
    let runtime = Runtime::new().unwrap();
    let mut wrong = Vec::new();
    for path in scripts() {
        let dir = Dir::new("scripts");
        let text = std::fs::read_to_string(&path).unwrap();
        let got = runtime.block_on(async {
            let engine = dir.engine(Limits::default());
            reported(&engine, &text).await
        });
        let expected = std::fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
        for (at, line) in got.lines().enumerate() {
            match expected.lines().nth(at) {
                Some(known) if known == line => {}
                known => wrong.push(format!(
                    "{}:{}\n node: {}\n here: {line}",
                    path.display(),
                    at + 1,
                    known.unwrap_or("(nothing)")
                )),
            }
        }
        if got.lines().count() < expected.lines().count() {
            wrong.push(format!("{}: lines are missing", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Says back what it hears, under TLS from the first octet on.
async fn echo(listener: TcpListener) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let echoing = rt::spawn(async move {
            let mut stream = Stream::from(tcp);
            let mut buffer = [0; 64];
            // Clients that do not trust the server break off.
            if stream.start_tls(ends::server()).await.is_err() {
                return;
            }
            while let Ok(got @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..got]).await.unwrap();
            }
        });
        echoing.detach();
    }
}

const TLS: &str = r#"
    const tls = require('tls'), net = require('net')
    const ca = Buffer.from(`PEM`), port = PORT, host = '127.0.0.1'
    const over = (name, socket) => new Promise((resolve) => {
        socket.on('error', (err) => report(`${name} ${err.code}`))
        socket.on('secureConnect', () => report(`${name} secure ${socket.authorized} ${socket.authorizationError} ${socket.getProtocol()}`))
        socket.on('data', (data) => {
            report(`${name} heard ${data}`)
            socket.end()
        })
        socket.on('close', resolve)
        socket.write('words')
    })
    const run = async () => {
        await over('trusted', tls.connect({ host, port, ca, servername: 'NAME' }))
        await over('unknown', tls.connect({ host, port, servername: 'NAME' }))
        await over('named', tls.connect({ host, port, ca, servername: 'other.test' }))
        await over('careless', tls.connect({ host, port, servername: 'NAME', rejectUnauthorized: false }))
        const plain = net.connect(port, host)
        await new Promise((resolve) => plain.once('connect', resolve))
        await over('upgraded', tls.connect({ socket: plain, ca, servername: 'NAME' }))
        report(`closed ${plain.destroyed}`)
        report.end()
    }
    run()
"#;

// covers PLG-07
#[test]
fn tls_judges_servers_as_node_does_and_begins_on_open_sockets() {
    let runtime = Runtime::new().unwrap();
    let dir = Dir::new("tls");
    let got = runtime.block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let serving = rt::spawn(echo(TcpListener::from_std(listener).unwrap()));
        let text = TLS.replace("PEM", &ends::files().0);
        let text = text.replace("PORT", &port).replace("NAME", ends::NAME);
        let got = reported(&dir.engine(Limits::default()), &text).await;
        drop(serving);
        got
    });
    let expected = [
        "trusted secure true null TLSv1.3",
        "trusted heard words",
        "unknown DEPTH_ZERO_SELF_SIGNED_CERT",
        "named ERR_TLS_CERT_ALTNAME_INVALID",
        "careless secure false DEPTH_ZERO_SELF_SIGNED_CERT TLSv1.3",
        "careless heard words",
        "upgraded secure true null TLSv1.3",
        "upgraded heard words",
        "closed true",
    ];
    assert_eq!(got.lines().collect::<Vec<_>>(), expected);
}

// covers PLG-07
#[test]
fn end_of_a_program_is_told_when_what_it_wrote_is_where_it_was_piped_to() {
    let runtime = Runtime::new().unwrap();
    let dir = Dir::new("piped");
    let script = "const { spawn } = require('child_process')
        const { Writable } = require('stream')
        const slow = new Writable({ write: (chunk, _encoding, done) => void setTimeout(done, 30) })
        const program = spawn('echo', ['x'])
        program.stdout.pipe(slow)
        program.on('exit', () => (report(slow.writableFinished), report.end()))";
    let told = runtime.block_on(async {
        let engine = dir.engine(Limits::default());
        reported(&engine, script).await
    });
    assert_eq!(told, "true\n");
}
