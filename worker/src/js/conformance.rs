//! Node's modules held against Node: each script of `tests/js_node/` is run by both, and says the same.
//!
//! A script exports a function that is given `out`; what it puts out are lines of text. Where Node is
//! not installed there is nothing to compare with, and the test says so and passes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use haraka_shared::config::{ConfigDir, Watch};
use rquickjs::Function;

use super::convert::Json;
use super::engine::Engine;
use super::host::Host;
use super::limits::Limits;
use crate::rt::{Runtime, sleep};

/// Collects the lines of a script and tells when it is done.
const RUNNER: &str = "((path) => { const lines = []; globalThis.finished = undefined; \
    const done = (err) => { if (err) lines.push(`failed: ${err} ${err.stack}`); \
        globalThis.finished = lines.join('\\n') + '\\n' }; \
    Promise.resolve(__required(path)((...all) => { lines.push(all.map(String).join(' ')) })) \
        .then(() => done(), done) })";

/// The same for Node.
const IN_NODE: &str = "const lines = []; \
    Promise.resolve(require(process.argv[1])((...all) => { lines.push(all.map(String).join(' ')) })) \
        .then(() => process.stdout.write(lines.join('\\n') + '\\n'), \
            (err) => process.stdout.write(lines.join('\\n') + `\\nfailed: ${err} ${err.stack}\\n`))";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js_node")
}

/// What Node makes of it; none where Node is missing or older than what is compared with.
fn in_node(script: &Path) -> Option<String> {
    let version = Command::new("node").arg("--version").output().ok()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let major: u32 = version
        .trim_start_matches('v')
        .split('.')
        .next()?
        .parse()
        .ok()?;
    if major < 20 {
        return None;
    }
    let run = Command::new("node")
        .args(["-e", IN_NODE])
        .arg(script)
        .output();
    let run = run.unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    Some(String::from_utf8(run.stdout).unwrap())
}

fn in_ours(script: &Path) -> String {
    let dir = std::env::temp_dir().join(format!(
        "haraka-conformance-{}-{}",
        std::process::id(),
        script.file_stem().unwrap().display()
    ));
    std::fs::create_dir_all(dir.join("config")).unwrap();
    let runtime = Runtime::new().unwrap();
    let said = runtime.block_on(async {
        let config = ConfigDir::open(&dir).unwrap();
        let engine =
            Engine::new(Host::new(&config, &dir, &Watch::new()), Limits::default()).unwrap();
        let path = script.to_str().unwrap();
        engine
            .enter("conformance", |ctx, _| {
                let run: Function<'_> = ctx.eval(RUNNER)?;
                run.call::<_, ()>((path,))
            })
            .unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let said = engine.enter("conformance", |ctx, _| {
                ctx.eval::<Json, _>("globalThis.finished")
            });
            if let serde_json::Value::String(said) = said.unwrap().0 {
                return said;
            }
            assert!(Instant::now() < until, "{path} does not end");
            sleep(Duration::from_millis(2)).await;
        }
    });
    std::fs::remove_dir_all(&dir).unwrap();
    said
}

fn agrees(name: &str) {
    let script = scripts().join(format!("{name}.js"));
    let Some(theirs) = in_node(&script) else {
        println!("skipped: there is no Node 20 to compare with");
        return;
    };
    let ours = in_ours(&script);
    let first = ours.lines().zip(theirs.lines()).find(|(a, b)| a != b);
    assert!(
        ours == theirs,
        "{name}: first difference {first:#?}\n\nours:\n{ours}\nNode's:\n{theirs}"
    );
}

macro_rules! modules {
    ($($name:ident),* $(,)?) => {
        $(
            // covers PLG-06
            #[test]
            fn $name() {
                agrees(stringify!($name).trim_end_matches("_says_what_node_says"));
            }
        )*

        #[test]
        fn no_script_is_left_out() {
            let known = [$(stringify!($name)),*];
            for entry in std::fs::read_dir(scripts()).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    continue;
                }
                let name = path.file_stem().unwrap().display().to_string();
                let test = format!("{name}_says_what_node_says");
                assert!(known.contains(&test.as_str()), "{name}");
            }
        }
    };
}

modules! {
    assert_says_what_node_says,
    async_hooks_says_what_node_says,
    buffer_says_what_node_says,
    child_process_says_what_node_says,
    crypto_says_what_node_says,
    esm_says_what_node_says,
    events_says_what_node_says,
    fs_says_what_node_says,
    http_says_what_node_says,
    inspect_says_what_node_says,
    modules_says_what_node_says,
    path_says_what_node_says,
    process_says_what_node_says,
    querystring_says_what_node_says,
    url_says_what_node_says,
    util_says_what_node_says,
    vm_says_what_node_says,
    zlib_says_what_node_says,
}
