//! `docs/hooks.md` is made from the hook table; `UPDATE=1` rewrites it.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::Path;

use haraka_shared::hook::HookName;

fn page() -> String {
    let mut out = String::from(
        "# Hooks\n\n\
         Made from the table in `shared/src/hook.rs`; `make docs` rewrites this page.\n\n\
         A plugin is asked in the order of `config/plugins`, by priority first (-100 to 100, lower runs first). The chain\n\
         stops at the first answer other than CONT, unless the table says that all run. A denial is first put to the `deny`\n\
         hook, where OK cancels it and the remaining plugins go on. A plugin that takes longer than its time-out\n\
         (`config/plugin_timeout`, `config/<plugin>.timeout`, 30 s) counts as DENYSOFT, at the queue hooks only once\n\
         the message is neither stored nor being stored (ADR 0035); one that fails counts as CONT, with a CRIT line.\n\
         `haraka -o -c DIR` prints who runs when.\n\n\
         | hook | called with | answer | runs |\n|---|---|---|---|\n",
    );
    for hook in HookName::ALL {
        let p = hook.policy();
        let mut runs = Vec::new();
        if p.runs_all {
            runs.push("every plugin, whatever the others answer");
        }
        if p.required {
            runs.push("also when the client has gone");
        }
        if !p.decides {
            runs.push("the answer is ignored");
        }
        writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            p.name,
            p.arguments.replace('|', "\\|"),
            p.meaning,
            runs.join("; ")
        )
        .unwrap();
    }
    out
}

// covers HOK-01 to HOK-30
#[test]
fn the_page_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hooks.md");
    let expected = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "docs/hooks.md is stale; run `make docs`");
}

// covers HOK-05, HOK-20, HOK-22, HOK-23
#[test]
fn exceptions_to_the_chain_rule_are_those_of_haraka() {
    let named = |f: fn(&haraka_shared::hook::Policy) -> bool| -> Vec<&str> {
        HookName::ALL
            .iter()
            .map(|h| h.policy())
            .filter(|p| f(p))
            .map(|p| p.name)
            .collect()
    };
    assert_eq!(named(|p| p.runs_all), ["connect_init", "disconnect"]);
    assert_eq!(named(|p| p.required), ["reset_transaction", "disconnect"]);
    assert!(
        named(|p| !p.deniable)
            .iter()
            .all(|n| n.starts_with("init_") || ["deny", "log", "deferred", "bounce"].contains(n))
    );
}
