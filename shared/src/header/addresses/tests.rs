//! Address fields of every odd shape.

use super::*;
use serde_json::{Value, json};

fn shown(address: &HeaderAddress) -> Value {
    match address {
        HeaderAddress::Mailbox(mailbox) => shown_mailbox(mailbox),
        HeaderAddress::Group(group) => json!({
            "g": group.phrase,
            "m": group.addresses.iter().map(shown_mailbox).collect::<Vec<_>>(),
            "f": group.to_string(),
            "n": address.name(),
        }),
    }
}

fn shown_mailbox(m: &Mailbox) -> Value {
    json!({
        "u": m.user, "h": m.host, "o": m.original_host, "p": m.phrase, "c": m.comment,
        "f": m.to_string(), "n": m.name(), "i": m.is_utf8(),
    })
}

fn outcome(mode: &str, input: &str) -> String {
    let start = |start_at| Options::at(start_at);
    let options = match mode {
        "postel" => Options {
            postel: true,
            ..Options::default()
        },
        "comma" => Options {
            comma_in_name: true,
            ..Options::default()
        },
        "sender" => start(StartAt::Sender),
        "angle-addr" => start(StartAt::AngleAddr),
        "group" => start(StartAt::Group),
        "from" => start(StartAt::From),
        _ => Options::default(),
    };
    match parse_header(input, options) {
        Ok(found) => Value::Array(found.iter().map(shown).collect()).to_string(),
        Err(e) => format!("!{}", Value::from(e.to_string())),
    }
}

// covers TXN-31: every row was produced by the real library
#[test]
fn same_result_or_error_text_as_haraka() {
    let rows = include_str!("../../../tests/data/header_addresses.tsv");
    let mut seen = 0;
    let mut failures = Vec::new();
    for row in rows.lines().filter(|row| !row.starts_with('#')) {
        let [mode, input, expected] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("row {row}")
        };
        let ours = match mode {
            "name" => {
                let [phrase, address]: [String; 2] = serde_json::from_str(input).unwrap();
                Value::from(extract_name(&phrase, &address)).to_string()
            }
            "plain" => {
                let input: String = serde_json::from_str(input).unwrap();
                match parse_address(&input, Limits::default(), false) {
                    Ok(_) => "1".to_owned(),
                    Err(e) => format!("!{}", Value::from(e.to_string())),
                }
            }
            mode => outcome(mode, &serde_json::from_str::<String>(input).unwrap()),
        };
        if ours != expected {
            failures.push(format!(
                "{mode} {input}\n  haraka {expected}\n  ours   {ours}"
            ));
        }
        seen += 1;
    }
    assert!(
        failures.is_empty(),
        "{}:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(seen > 1000, "only {seen} rows");
}

// covers PB-15
#[test]
fn hostile_fields_take_linear_time() {
    for unit in [
        "(",
        "\"",
        "a@b,",
        "a:",
        "(a)",
        "<",
        "((\\",
        "a.",
        "\\",
        ",",
        "a (b) ",
        "g:a@b,;,",
        "[",
        "\" \"",
        "@",
        ")",
        ");",
        "(,",
        "=?utf-8?q?a",
    ] {
        let text = unit.repeat(200_000 / unit.len());
        let started = std::time::Instant::now();
        for options in [
            Options::default(),
            Options {
                postel: true,
                comma_in_name: true,
                ..Options::default()
            },
        ] {
            drop(parse_header(&text, options));
        }
        drop(extract_name(&text, &text));
        drop(words::decode(&text));
        drop(crate::header::parameters::extended(&text));
        let took = started.elapsed();
        assert!(took.as_secs() < 5, "{unit:?} took {took:?}");
    }
}

// covers TXN-31
#[test]
fn fields_of_a_message_are_unfolded_joined_and_decoded() {
    let header = crate::header::Header::split(
        b"To: =?utf-8?Q?J=C3=B6rg=2C_A?= <a@b.c> (x\r\n\ty)\r\nto: g: d@e;\r\nCc: \r\nX: a@\r\n\r\n",
        crate::header::HeaderLimits::default(),
    )
    .0;
    let found = header.get_addresses("To").unwrap();
    let [HeaderAddress::Mailbox(first), HeaderAddress::Group(second)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(first.phrase, "Jörg, A");
    assert_eq!(first.comment, "x y");
    assert_eq!(second.addresses[0].address(), "d@e");
    assert_eq!(found[1].mailboxes().len(), 1);
    assert_eq!(header.get_addresses("cc"), Ok(Vec::new()));
    assert_eq!(header.get_addresses("none"), Ok(Vec::new()));
    assert!(header.get_addresses("x").is_err());
    assert!(parse_sender("a@b, c@d").is_err());
    assert_eq!(parse_from("a@b, c@d").unwrap().len(), 2);
    assert_eq!(parse_reply_to("a@b").unwrap().len(), 1);
    assert!(is_valid("a@b.c") && !is_valid("<a@b.c>"));
}
