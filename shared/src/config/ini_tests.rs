//! Tests of the ini dialect.

use super::*;

fn parse(text: &str) -> Ini {
    Ini::parse("x.ini", text.as_bytes())
}

fn warnings(ini: &Ini) -> Vec<String> {
    ini.warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn keys_before_a_header_belong_to_main_and_names_are_trimmed() {
    // covers CFS-17, PA-33
    let ini = parse("a = 1\n[ sec ]\nb=2\n[main]\nc=3\n[sec]\nd=4\n");
    assert_eq!(ini.text("main", "a"), Some("1"));
    assert_eq!(ini.text("main", "c"), Some("3"));
    assert_eq!(ini.text("sec", "b"), Some("2"));
    assert_eq!(ini.text("sec", "d"), Some("4"));
    assert_eq!(ini.text("sec", "a"), None);
    let names: Vec<_> = ini.sections().map(|s| (&*s.name, s.line)).collect();
    assert_eq!(names, [("main", 0), ("sec", 2)]);
    assert_eq!(ini.get("sec", "d").unwrap().line, 7);
}

#[test]
fn odd_keys_are_taken_and_odd_lines_left_out_with_their_line() {
    // covers CFS-18
    let ini = parse("a:b = 1\nuser@x.org\n10.0.0.0/8\n[::1]:25 = v\n!bad = 1\n two words\n= x\n");
    assert_eq!(ini.text("main", "a:b"), Some("1"));
    assert!(ini.get("main", "user@x.org").unwrap().bare);
    assert!(ini.get("main", "10.0.0.0/8").unwrap().bare);
    assert_eq!(ini.text("main", "[::1]:25"), Some("v"));
    assert_eq!(
        warnings(&ini),
        [
            "x.ini:5: is not a setting; it is left out",
            "x.ini:6: is not a setting; it is left out",
            "x.ini:7: is not a setting; it is left out",
        ]
    );
}

#[test]
fn only_whole_lines_are_comments_and_quotes_are_text() {
    // covers PA-33
    // covers CFS-19
    let ini = parse("; c\n  # c\na = x ; y # z\nb = \"q\"\nc = a=b:c\\n\n");
    assert_eq!(ini.text("main", "a"), Some("x ; y # z"));
    assert_eq!(ini.text("main", "b"), Some("\"q\""));
    assert_eq!(ini.text("main", "c"), Some("a=b:c\\n"));
    assert!(ini.warnings().is_empty());
}

#[test]
fn backslash_joins_the_next_line() {
    // covers CFS-20
    let ini = parse("a = 1,\\\n# between\n\n  2,\\ \n3\nb = x\\\\\ny\nc = C:\\dir\n");
    let a = ini.get("main", "a").unwrap();
    assert_eq!((&*a.text, a.line), ("1,  2,3", 1));
    assert_eq!(ini.text("main", "b"), Some("x\\y"));
    assert_eq!(ini.text("main", "c"), Some("C:\\dir"));
}

#[test]
fn continuation_ends_at_a_header_and_at_the_end_of_the_file() {
    let ini = parse("a = 1\\\n[s]\nb = 2\\\\");
    assert_eq!(ini.text("main", "a"), Some("1"));
    assert_eq!(ini.text("s", "b"), Some("2\\"));
    assert_eq!(ini.warnings().len(), 2);
}

#[test]
fn array_lines_gather_and_the_last_plain_line_wins() {
    // covers CFS-21
    let ini = parse("l[] = a\nl[] =\nl[]=b\nk=1\nk=2\nm=x\nm[]=y\nn[]=x\nn=z\n");
    let l: Vec<_> = ini.array("main", "l").iter().map(|v| &*v.text).collect();
    assert_eq!(l, ["a", "", "b"]);
    assert_eq!(ini.text("main", "k"), Some("2"));
    assert_eq!(ini.array("main", "m").len(), 1);
    assert_eq!(ini.text("main", "n"), Some("z"));
}

#[test]
fn booleans_have_six_words_for_yes() {
    // covers CFS-23
    let ini = parse("a=True\nb=yes\nc=OK\nd=enabled\ne=On\nf=1\ng=y\nh=2\ni\nj=");
    for key in ["a", "b", "c", "d", "e", "f"] {
        assert!(ini.bool("main", key, false), "{key}");
    }
    for key in ["g", "h", "i", "j"] {
        assert!(!ini.bool("main", key, true), "{key}");
    }
    assert!(ini.bool("main", "absent", true));
    assert!(!ini.bool("other", "absent", false));
}

#[test]
fn unsafe_names_are_left_out() {
    // covers CFS-25
    let ini = parse("__proto__ = 1\nconstructor[] = 1\n[prototype]\na=1\n[s]\nb=1\n");
    assert_eq!(ini.sections().count(), 2);
    assert_eq!(ini.section("main").unwrap().entries().count(), 0);
    assert_eq!(ini.warnings().len(), 3);
    assert_eq!(ini.text("s", "b"), Some("1"));
}

#[test]
fn values_of_a_form_are_read_or_refused_with_their_place() {
    let port = crate::config::kinds::Count::<u16>::new(1, 65535);
    let ini = parse("[a.example]\nport = 2525\nother = 25a\nnone =\n");
    assert_eq!(ini.read("a.example", "port", &port).unwrap(), Some(2525));
    assert_eq!(ini.read("a.example", "none", &port).unwrap(), None);
    assert_eq!(ini.read("main", "port", &port).unwrap(), None);
    let e = ini.read("a.example", "other", &port).unwrap_err();
    let told = "x.ini:3: [a.example] other: \"25a\" is not a whole number";
    assert_eq!(e.to_string(), told);
}

#[test]
fn every_line_end_counts_and_a_byte_order_mark_does_not() {
    let ini = parse("\u{feff}a=1\r\nb=2\rc=3\n");
    assert_eq!(ini.get("main", "a").unwrap().line, 1);
    assert_eq!(ini.get("main", "b").unwrap().line, 2);
    assert_eq!(ini.get("main", "c").unwrap().line, 3);
}

#[test]
fn any_bytes_are_read_without_panic() {
    let ini = Ini::parse(
        "x.ini",
        b"a=gr\xfc\xdfe\n\xff\xfe\n[\n]\n=\n\\\n\0=\0\nok=1\\",
    );
    assert_eq!(ini.text("main", "ok"), Some("1"));
    assert_eq!(ini.text("main", "a"), Some("gr\u{fffd}\u{fffd}e"));
    let mut state = 7_u64;
    let alphabet = b"a[]=:;#\\ \r\n\t!1\xef\xb7\x90\x85\"'";
    for _ in 0..3000 {
        let bytes: Vec<u8> = (0..24)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                alphabet[(state >> 33) as usize % alphabet.len()]
            })
            .collect();
        let ini = Ini::parse("x.ini", &bytes);
        let broken = ini
            .warnings()
            .iter()
            .any(|w| w.text.contains("beyond the reader"));
        assert!(!broken, "{bytes:?}: {:?}", ini.warnings());
    }
}

#[test]
fn a_hundred_thousand_bare_keys_are_kept_in_order() {
    let text: String = (0..100_000).map(|i| format!("10.{i}\n")).collect();
    let ini = parse(&text);
    let section = ini.section("main").unwrap();
    assert_eq!(section.entries().count(), 100_000);
    assert_eq!(section.entries().nth(99_999).unwrap().key, "10.99999");
}
