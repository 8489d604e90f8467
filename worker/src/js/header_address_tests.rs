//! Address fields as scripts parse them with `@haraka/email-address` from npm: what is taken over natively,
//! what is left to the package, and that nobody can tell.

use std::path::Path;

use serde_json::{Value, json};

use super::limits::Limits;
use super::tests::{Dir, eval};

/// What the package answers: mode, input, outcome as JSON or an error.
const ANSWERS: &str = include_str!("../../../shared/tests/data/header_addresses.tsv");

const PACKAGE: &str = "node_modules/@haraka/email-address/dist/cjs";

// covers TXN-31
#[test]
fn usual_fields_become_the_packages_own_objects_and_others_are_left_to_it() {
    let dir = Dir::new("header-addresses");
    dir.file(
        &format!("{PACKAGE}/lib/address.cjs"),
        "exports.Address = class Address { get address() { return `${this.user}@${this.host}` } }",
    );
    dir.file(
        &format!("{PACKAGE}/lib/header.cjs"),
        "module.exports = { parseHeaderString: (...given) => ['left', ...given] }",
    );
    dir.file(
        &format!("{PACKAGE}/index.cjs"),
        "const { parseHeaderString } = require('./lib/header.cjs')
         const usual = { allowAtInDisplayName: true, allowCommaInDisplayName: false }
         exports.parse = (text, more) => parseHeaderString(text, { ...usual, ...more })",
    );
    let engine = dir.engine(Limits::default());
    let script = format!(
        "globalThis.parse = __required('{}').parse; 1",
        dir.path(&format!("{PACKAGE}/index.cjs")).display()
    );
    eval(&engine, &script).unwrap();
    let made = eval(
        &engine,
        "parse('\"A B\" <c@D.test> (x), e@f').map((a) => [a.constructor.name, a.address, a._kind, a])",
    );
    let first = json!({ "user": "c", "host": "d.test", "original_host": "D.test",
        "original": "c@D.test", "phrase": "A B", "comment": "x", "group": null });
    let second = json!({ "user": "e", "host": "f", "original_host": "f",
        "original": "e@f", "phrase": "", "comment": "", "group": null });
    assert_eq!(
        made.unwrap(),
        json!([
            ["Address", "c@d.test", "header", first],
            ["Address", "e@f", "header", second]
        ])
    );
    for left in [
        "'g: a@b;'",
        "'é <a@b>'",
        "'a@'",
        "''",
        "7",
        "'a@b', { startAt: 'group' }",
        "'a@b', { postel: true }",
        "'a@b', { allowCommaInDisplayName: true }",
        "'a@b', { allowAtInDisplayName: false }",
    ] {
        let got = eval(&engine, &format!("parse({left})[0]")).unwrap();
        assert_eq!(got, json!("left"), "{left}");
    }
}

/// Runs where `PEER_HARAKA` names the `bin/haraka` of the real Haraka, beside which the package is.
#[test]
fn the_package_answers_what_it_answers_in_node() {
    let peer = std::env::var("PEER_HARAKA").unwrap_or_default();
    let Some(packages) = Path::new(&peer).ancestors().nth(3) else {
        return;
    };
    let package = packages.join("@haraka/email-address/dist/cjs/index.cjs");
    if !package.is_file() {
        return;
    }
    let rows: Vec<[String; 3]> = ANSWERS
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('\t').map(str::to_owned);
            Some([cells.next()?, cells.next()?, cells.next()?])
        })
        .filter(|[mode, ..]| {
            ["address-list", "from", "reply-to", "sender"].contains(&mode.as_str())
        })
        .collect();
    assert!(rows.len() > 1000, "where are the answers?");
    let dir = Dir::new("email-address");
    let engine = dir.engine(Limits::default());
    let script = format!(
        "(({{ parseHeader }}, rows) => {{
            const shown = (a) => a.addresses
                ? {{ g: a.phrase, m: a.addresses.map(shown), f: a.format(), n: a.name() }}
                : {{ u: a.user, h: a.host, o: a.original_host, p: a.phrase, c: a.comment, f: a.format(), n: a.name(),
                     i: Boolean(a.is_utf8) }}
            return rows.map(([startAt, text]) => {{
                try {{ return JSON.stringify(parseHeader(JSON.parse(text), {{ startAt }}).map(shown)) }}
                catch (err) {{ return '!' + JSON.stringify(err.message) }}
            }})
        }})(__required({}), {})",
        json!(package.to_str().unwrap()),
        json!(rows)
    );
    let got = eval(&engine, &script).unwrap();
    let got = got.as_array().unwrap();
    let plain = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!(text));
    let mut wrong = Vec::new();
    for ([mode, text, expected], got) in rows.iter().zip(got) {
        let got = got.as_str().unwrap();
        if plain(got) != plain(expected) {
            wrong.push(format!("{mode} {text}: {got}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
