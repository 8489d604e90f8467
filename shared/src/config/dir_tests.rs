//! Tests of the configuration directory.

use super::*;
use crate::config::testing::TestDir;

#[test]
fn relative_name_that_leaves_the_directory_is_refused() {
    // covers CFS-16
    let t = TestDir::new();
    for name in ["../x", "a/../../x", "..", "./../x"] {
        let e = t.dir().bytes(name).unwrap_err();
        assert!(matches!(e, ConfigError::Escapes { .. }), "{name}: {e}");
    }
    t.write("sub/x", "1");
    assert_eq!(
        t.dir().value("sub/../sub/./x").unwrap().as_deref(),
        Some("1")
    );
    let absolute = t.dir().path("sub/x").unwrap();
    let name = absolute.to_str().unwrap();
    assert_eq!(t.dir().value(name).unwrap().as_deref(), Some("1"));
}

#[test]
fn missing_files_give_empty_results() {
    // covers CFS-12
    let t = TestDir::new();
    assert_eq!(t.dir().value("x").unwrap(), None);
    assert!(t.dir().list("x").unwrap().is_empty());
    assert!(t.dir().data("x").unwrap().is_empty());
    assert_eq!(t.dir().ini("x.ini").unwrap().sections().count(), 0);
    assert!(!t.dir().exists("x"));
}

#[test]
fn value_is_the_first_line_that_says_something() {
    // covers CFS-26
    let t = TestDir::new();
    t.write("v", "# c\n\n  10 # kept \nsecond\n");
    assert_eq!(t.dir().value("v").unwrap().as_deref(), Some("10 # kept"));
    t.write("v", "; only a comment\n");
    assert_eq!(t.dir().value("v").unwrap(), None);
}

#[test]
fn data_keeps_blank_and_comment_lines() {
    // covers CFS-28
    let t = TestDir::new();
    t.write("d", "a\r\n\r\n# b \nc");
    assert_eq!(t.dir().data("d").unwrap(), ["a", "", "# b ", "c"]);
}

#[test]
fn what_is_not_a_file_is_named_in_the_error() {
    let t = TestDir::new();
    std::fs::create_dir(t.dir().path("me").unwrap()).unwrap();
    let e = t.dir().value("me").unwrap_err().to_string();
    assert_eq!(e, "me: is a directory, not a file");
    nix::unistd::mkfifo(
        &t.dir().path("pipe").unwrap(),
        nix::sys::stat::Mode::S_IRUSR,
    )
    .unwrap();
    let e = t.dir().ini("pipe").unwrap_err().to_string();
    assert_eq!(e, "pipe: is a pipe, not a file");
}

#[test]
fn file_over_the_limit_is_refused() {
    let t = TestDir::new();
    let file = File::create(t.dir().path("big").unwrap()).unwrap();
    file.set_len(MAX_FILE).unwrap();
    assert!(t.dir().bytes("big").is_ok());
    file.set_len(MAX_FILE + 1).unwrap();
    let e = t.dir().bytes("big").unwrap_err().to_string();
    assert_eq!(e, "big: larger than 16 MiB");
}

// covers CFS-01
#[test]
fn install_directory_without_config_is_an_error() {
    // covers CFS-01
    let t = TestDir::new();
    let below = t.dir().path("").unwrap();
    assert!(ConfigDir::open(&below).is_err());
}

#[test]
fn plugin_timeout_prefers_the_plugins_own_file() {
    // covers CFS-36
    let t = TestDir::new();
    let limit = |name: &str| t.dir().plugin_timeout(name).unwrap();
    assert_eq!(limit("a"), Some(Duration::from_secs(30)));
    t.write("plugin_timeout", "2.5\n");
    assert_eq!(limit("a"), Some(Duration::from_millis(2500)));
    t.write("queue/smtp_forward.timeout", "300s");
    assert_eq!(limit("queue/smtp_forward"), Some(Duration::from_secs(300)));
    t.write("a.timeout", "0");
    assert_eq!(limit("a"), None);
    t.write("a.timeout", "soon");
    assert_eq!(limit("a"), Some(Duration::from_millis(2500)));
}

#[test]
fn environment_stands_for_files_without_keys() {
    let t = TestDir::new();
    t.write("me", "file.test\n");
    t.write("host_list", "file.test\n");
    let vars = [
        ("HARAKA_ME", "env.test"),
        ("HARAKA_HOST_LIST", "a.test; b.test"),
        ("HARAKA_QUEUE_X_TIMEOUT", "5"),
        ("HARAKA_PLUGIN_TIMEOUT", ""),
    ];
    let vars = vars.map(|(n, v)| (n.to_owned(), v.to_owned()));
    let env = Environment::new(vars);
    let dir = ConfigDir::with_environment(t.dir().install_dir(), env).unwrap();
    let (at, me) = dir.first_item("me").unwrap().unwrap();
    assert_eq!(
        (at.to_string(), me),
        ("environment HARAKA_ME".into(), "env.test".into())
    );
    assert_eq!(dir.list("host_list").unwrap(), ["a.test", "b.test"]);
    assert_eq!(
        dir.plugin_timeout("queue/x").unwrap(),
        Some(Duration::from_secs(5))
    );
    assert_eq!(
        dir.plugin_timeout("y").unwrap(),
        Some(Duration::from_secs(30))
    );
}

#[test]
fn overrides_are_read_again_on_demand_and_bad_ones_change_nothing() {
    // covers CFS-15
    let t = TestDir::new();
    t.write("smtp.yaml", "'!me': one.test\n'!x.ini': {main: {a: 1}}\n");
    let dir = ConfigDir::open(t.dir().install_dir()).unwrap();
    assert_eq!(dir.value("me").unwrap().as_deref(), Some("one.test"));
    assert_eq!(dir.ini("x.ini").unwrap().text("main", "a"), Some("1"));
    assert!(dir.exists("me") && dir.overrides().by() == "smtp.yaml");
    t.write("smtp.json", "{");
    assert!(dir.refresh_overrides().is_err());
    assert_eq!(dir.value("me").unwrap().as_deref(), Some("one.test"));
    t.write(
        "smtp.json",
        r#"{"!me": "two.test", "!x.ini": {"main": {"a": 1}}}"#,
    );
    let changed = dir.refresh_overrides().unwrap();
    assert_eq!(changed, [t.dir().path("me").unwrap()]);
    assert_eq!(dir.value("me").unwrap().as_deref(), Some("two.test"));
}

#[test]
fn numbers_and_directories_are_read() {
    // covers CFS-04, CFS-05
    let t = TestDir::new();
    for (text, want) in [
        ("12abc", Some(12)),
        ("-3", Some(-3)),
        ("x1", None),
        ("", None),
    ] {
        t.write("n", text);
        assert_eq!(t.dir().int("n").unwrap(), want, "{text}");
    }
    t.write("d/b.pem", "\u{1}");
    t.write("d/sub/a.pem", "2");
    std::os::unix::fs::symlink("..", t.dir().path("d/sub/up").unwrap()).unwrap();
    let below: Vec<_> = t.dir().files_below("d").unwrap();
    let names: Vec<_> = below.iter().map(|p| p.file_name().unwrap()).collect();
    assert_eq!(names[..2], ["b.pem", "a.pem"]);
    assert!(t.dir().files_below("none").is_err());
    assert_eq!(t.dir().bytes("d/b.pem").unwrap(), Some(vec![1]));
}
