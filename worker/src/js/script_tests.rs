//! Scripts that were run in Node: each in `worker/tests/js/` reports lines, and must report here what it
//! reported there. `node worker/tests/js/NAME.js > worker/tests/js/NAME.txt` records them anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::engine::Engine;
use super::limits::Limits;
use super::tests::{Dir, eval};
use crate::rt::{self, Runtime};

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
