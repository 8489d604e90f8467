//! A plugin's defaults, the operator's files and `smtp.json` together, as haraka-config sees them:
//! each folder of `tests/data/layers/` has what it said in `expected.json`. Where `PEER_HARAKA` names
//! a Haraka, it is asked again.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use haraka_shared::config::{Booleans, ConfigDir, Environment, FileType, Typed, number};
use serde_json::{Map, Value};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/layers")
}

/// What a script would be given; keys that are undefined are left out, as JSON does.
fn ours(dir: &ConfigDir, ask: &str) -> Value {
    let mut words = ask.split(' ');
    let name = words.next().unwrap();
    let form = FileType::named(words.next().unwrap()).unwrap();
    match form {
        FileType::Ini => {
            let sections = dir.typed_ini(name, &Booleans::declare(words)).unwrap();
            let sections = sections.into_iter().map(|(name, keys)| {
                let keys = keys.into_iter().filter_map(|(k, v)| Some((k, json(v)?)));
                (name, Value::Object(keys.collect()))
            });
            Value::Object(sections.collect())
        }
        FileType::Json | FileType::Hjson | FileType::Yaml => {
            let found = dir.document_as(name, form).unwrap();
            found.unwrap_or_else(|| Value::Object(Map::new()))
        }
        FileType::List => Value::from(dir.list(name).unwrap()),
        FileType::Data => Value::from(dir.data(name).unwrap()),
        FileType::Value => match dir.value(name).unwrap() {
            Some(text) => number(&text).map_or_else(|| Value::from(text), Value::from),
            None => Value::Null,
        },
        FileType::Js | FileType::Binary => panic!("{ask}: not asked here"),
    }
}

fn json(typed: Typed) -> Option<Value> {
    Some(match typed {
        Typed::Undefined => return None,
        Typed::Bool(yes) => Value::from(yes),
        Typed::Number(n) => Value::from(n),
        Typed::Text(text) => Value::from(text),
        Typed::List(items) => items.into_iter().map(|i| json(i).unwrap()).collect(),
    })
}

/// A script knows one kind of number.
fn same_numbers(value: &Value) -> Value {
    match value {
        Value::Number(n) => Value::from(n.as_f64().unwrap()),
        Value::Array(items) => items.iter().map(same_numbers).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(k, v)| (k.clone(), same_numbers(v)))
            .collect(),
        other => other.clone(),
    }
}

/// The same questions to the real one, if there is one.
fn peer(case: &Path) -> Option<String> {
    let program = PathBuf::from(std::env::var_os("PEER_HARAKA")?);
    let packages = program.ancestors().nth(3)?;
    let mut command = Command::new("node");
    command.arg(cases().join("peer.js"));
    command.arg(packages.join("haraka-config")).arg(case);
    let output = command.output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn layers_go_together_as_in_haraka() {
    // covers CFS-06 to CFS-13, CFS-15, CFS-23, PA-34, PA-35
    let mut questions = 0;
    for entry in std::fs::read_dir(cases()).unwrap() {
        let case = entry.unwrap().path();
        if !case.is_dir() {
            continue;
        }
        let stored = std::fs::read_to_string(case.join("expected.json")).unwrap();
        if let Some(said) = peer(&case) {
            assert_eq!(
                said,
                stored,
                "{}: Haraka has changed its mind",
                case.display()
            );
        }
        let expected: Value = serde_json::from_str(&stored).unwrap();
        let install = case.join("install");
        let own = ConfigDir::with_environment(&install, Environment::default()).unwrap();
        let dir = own.with_defaults(&case.join("defaults"));
        for question in expected.as_array().unwrap() {
            let ask = question["ask"].as_str().unwrap();
            let got = same_numbers(&ours(&dir, ask));
            assert_eq!(got, same_numbers(&question["value"]), "{ask}");
            questions += 1;
        }
    }
    assert!(questions >= 19, "only {questions} questions");
}

/// The cases are separated by a line of five equals signs; what the JavaScript library made of each is
/// a line of `expected`.
#[test]
fn hjson_means_what_it_means_in_javascript() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hjson");
    let install = std::env::temp_dir().join(format!("haraka-hjson-{}", std::process::id()));
    std::fs::create_dir_all(install.join("config")).unwrap();
    let dir = ConfigDir::with_environment(&install, Environment::default()).unwrap();
    let cases = std::fs::read_to_string(data.join("cases")).unwrap();
    let expected = std::fs::read_to_string(data.join("expected")).unwrap();
    assert_eq!(cases.split("\n=====\n").count(), expected.lines().count());
    for (case, want) in cases.split("\n=====\n").zip(expected.lines()) {
        std::fs::write(install.join("config/x.hjson"), case).unwrap();
        let got = dir.document("x.hjson");
        match want {
            "ERR" => assert!(got.is_err(), "{case}: {got:?}"),
            want => {
                let want: Value = serde_json::from_str(want).unwrap();
                let got = same_numbers(&got.unwrap().unwrap());
                assert_eq!(got, same_numbers(&want), "{case}");
            }
        }
    }
    std::fs::remove_dir_all(&install).unwrap();
}
