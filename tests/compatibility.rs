//! What of Haraka's behaviour is there: `docs/compatibility.md` is made from `tests/compatibility.tsv`, and
//! what that claims has to be named by a test. `UPDATE=1` rewrites the page.

#![allow(missing_docs)]
// A test reports by panicking; the crate-wide bans are for what peers can reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

#[path = "compatibility/coverage.rs"]
mod coverage;
#[path = "compatibility/table.rs"]
mod table;

use std::path::{Path, PathBuf};

use table::{AREAS, Claim, Row};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("tests/compatibility.tsv")).unwrap();
    table::parse(&text).unwrap_or_else(|why| panic!("tests/compatibility.tsv: {why}"))
}

#[test]
fn every_behaviour_has_one_row_in_the_order_of_its_number() {
    let ids: Vec<_> = rows().into_iter().map(|row| row.id).collect();
    let wanted: Vec<_> = AREAS
        .iter()
        .flat_map(|area| (1..=area.count).map(|n| format!("{}-{n:02}", area.name)))
        .collect();
    for id in &wanted {
        assert!(ids.contains(id), "no row for {id}");
    }
    assert_eq!(ids, wanted);
}

#[test]
fn what_is_claimed_is_named_by_a_test_or_said_to_be_untested() {
    let covered = coverage::ids(&root());
    let mut wrong = Vec::new();
    for row in rows() {
        let claimed = matches!(row.claim, Claim::Same | Claim::Better(_));
        let tested = covered.contains(&row.id);
        match (claimed, tested, row.untested.is_empty()) {
            (true, false, true) => {
                wrong.push(format!("{}: {}: no test names it", row.id, row.name))
            }
            (true, true, false) => wrong.push(format!("{}: a test names it: not untested", row.id)),
            (false, _, false) => {
                wrong.push(format!("{}: nothing is claimed: not untested", row.id))
            }
            _ => {}
        }
    }
    assert!(
        wrong.is_empty(),
        "{} rows\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn ids_that_tests_name_exist() {
    let known: Vec<_> = rows().into_iter().map(|row| row.id).collect();
    let unknown: Vec<_> = coverage::ids(&root())
        .into_iter()
        .filter(|id| !known.contains(id))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn page_says_what_the_table_says() {
    let page = table::page(&rows());
    let path = root().join("docs/compatibility.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        page,
        "run `make docs` to rewrite docs/compatibility.md"
    );
}
