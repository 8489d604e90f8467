//! Messages taken apart: shapes, limits and pieces.

use serde_json::Value;

use super::transfer::TransferEncoding;
use super::*;
use crate::body::Body;
use crate::header::{Header, HeaderLimits};

fn split(message: &[u8]) -> (Header, Vec<u8>) {
    let (header, body) = Header::split(message, HeaderLimits::default());
    (header, message[body..].to_vec())
}

fn tree_with(message: &[u8], limits: MimeLimits) -> Result<MimeTree, MimeError> {
    let (header, body) = split(message);
    MimeTree::parse(&header, &Body::from_bytes(body), limits)
}

fn tree(message: &[u8]) -> MimeTree {
    tree_with(message, MimeLimits::default()).unwrap()
}

fn unbase64(text: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let mut decoder = TransferEncoding::Base64.decoder();
    decoder.push(text.as_str().unwrap().as_bytes(), &mut out);
    decoder.finish(&mut out);
    out
}

fn octets(mut reader: PartReader) -> Vec<u8> {
    let mut out = Vec::new();
    while reader.read(&mut out).unwrap() {}
    out
}

fn same_part(name: &str, tree: &MimeTree, index: usize, expected: &Value) {
    let part = tree.part(index).unwrap();
    // of a part without content Haraka never says the type
    let expected_type = expected["ct"].as_str().unwrap_or("text/plain");
    assert_eq!(part.content_type(), expected_type, "{name}");
    if part.kind() == PartKind::Text {
        let text = tree.text(index, 1 << 20).unwrap();
        assert_eq!(text.text, expected["text"], "{name}");
        assert_eq!(text.encoding, expected["enc"], "{name}");
    }
    let children = expected["children"].as_array().unwrap();
    assert_eq!(part.children().len(), children.len(), "{name}");
    for (child, expected) in part.children().iter().zip(children) {
        assert_eq!(tree.part(*child).unwrap().parent(), Some(index));
        same_part(name, tree, *child, expected);
    }
}

// covers TXN-13, TXN-18, TXN-19, TXN-20, TXN-21: every row was produced by the real parser
#[test]
fn same_parts_and_texts_as_haraka() {
    let rows = include_str!("../../tests/data/mime_trees.json");
    let rows: Vec<Value> = serde_json::from_str(rows).unwrap();
    assert!(rows.len() > 20);
    for row in rows {
        let name = row["name"].as_str().unwrap();
        let tree = tree(&unbase64(&row["message"]));
        same_part(name, &tree, 0, &row["tree"]);
        let expected = row["attachments"].as_array().unwrap();
        let found: Vec<_> = tree.attachments().collect();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (index, expected) in found.into_iter().zip(expected) {
            let part = tree.part(index).unwrap();
            assert_eq!(part.content_type(), expected["ct"], "{name}");
            assert_eq!(part.filename(), expected["fn"], "{name}");
            let data = octets(tree.reader(index).unwrap());
            assert_eq!(data, unbase64(&expected["data"]), "{name}");
        }
    }
}

const NESTED: &[u8] = b"Content-Type: multipart/mixed; boundary=o\r\n\r\npre\r\n--o\r\n\
    Content-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n\r\none\r\n-\r\n--\r\n--i\r\n\
    Content-Type: image/x\r\n\r\n..two\r\n\r\n--o\r\nContent-Type: text/html\r\n--o\r\n\r\n--o--\r\n\
    --i\r\nepilogue\r\n";

fn contents(tree: &MimeTree) -> Vec<(String, Vec<u8>)> {
    (0..tree.parts().len())
        .map(|i| {
            let part = tree.part(i).unwrap();
            let data = octets(tree.reader(i).unwrap());
            (part.content_type().to_owned(), data)
        })
        .collect()
}

// covers TXN-18
#[test]
fn parts_end_with_any_outer_boundary_and_keep_their_own_line_ends() {
    let tree = tree(NESTED);
    let found = contents(&tree);
    let found: Vec<_> = found
        .iter()
        .skip(2)
        .map(|(ct, data)| (ct.as_str(), std::str::from_utf8(data).unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            ("text/plain", "one\r\n-\r\n--"),
            // #2731: an attachment keeps its CR and loses only stuffed dots
            ("image/x", ".two\r\n"),
            ("text/html", ""),
            ("text/plain", ""),
        ]
    );
    assert_eq!(tree.part(3).unwrap().depth(), 2);
    assert_eq!(tree.part(0).unwrap().children(), [1, 4, 5]);
    assert_eq!(
        tree.text(2, 100).unwrap().text,
        "one\n-\n--\n",
        "texts keep their last line end, as in Haraka"
    );
}

// covers TXN-18
#[test]
fn pieces_may_end_anywhere() {
    let (header, body) = split(NESTED);
    let shown = |part: &Part| {
        (
            part.content_type().to_owned(),
            part.content(),
            part.line_end,
        )
    };
    let whole: Vec<_> = tree(NESTED).parts().iter().map(shown).collect();
    for first in 0..body.len() {
        for second in [first, first + 1, first + 2, body.len()] {
            let second = second.min(body.len());
            let mut scanner = scan::Scanner::new(&header, MimeLimits::default());
            for piece in [&body[..first], &body[first..second], &body[second..]] {
                scanner.push(piece).unwrap();
            }
            let (parts, _) = scanner.finish().unwrap();
            let found: Vec<_> = parts.iter().map(shown).collect();
            assert_eq!(found, whole, "cut at {first} and {second}");
        }
    }
}

// covers CON-35
#[test]
fn too_many_parts_are_an_error() {
    let limits = MimeLimits {
        max_parts: 10,
        ..MimeLimits::default()
    };
    let message = |parts: usize| {
        let mut message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec();
        message.extend(b"--b\r\n\r\n".repeat(parts));
        message
    };
    assert_eq!(tree_with(&message(9), limits).unwrap().parts().len(), 10);
    assert!(matches!(
        tree_with(&message(10), limits),
        Err(MimeError::TooManyParts)
    ));
}

// covers PB-15, TXN-18
#[test]
fn nesting_over_the_limit_is_left_alone() {
    let mut message = b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n".to_vec();
    for depth in 0..500 {
        let inner = depth + 1;
        message.extend(
            format!("--b{depth}\r\nContent-Type: multipart/mixed; boundary=b{inner}\r\n\r\n")
                .bytes(),
        );
    }
    let tree = tree(&message);
    assert!(tree.is_too_deep());
    assert_eq!(tree.parts().len(), 101);
    assert_eq!(tree.part(100).unwrap().depth(), 100);
    assert!(tree.part(100).unwrap().children().is_empty());
}

// covers PB-15
#[test]
fn hostile_messages_take_linear_time_and_bounded_memory() {
    let boundary = "x".repeat(900);
    let mut nested = format!("Content-Type: multipart/mixed; boundary={boundary}00\r\n\r\n");
    for depth in 0..99 {
        let next = format!("{boundary}{:02}", depth + 1);
        nested += &format!(
            "--{boundary}{depth:02}\r\nContent-Type: multipart/mixed; boundary={next}\r\n\r\n"
        );
    }
    nested += &format!("--{boundary}zz\r\n").repeat(2000);
    let part = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    for message in [
        nested,
        format!("{part}{}", "--\r\n".repeat(1_000_000)),
        format!("{part}--b\r\n{}", "A: b\r\n".repeat(1_000_000)),
        format!("{part}--b\r\nA: {}", "x".repeat(6_000_000)),
        format!("{part}--b{}x\r\n", " ".repeat(6_000_000)),
        format!("{part}{}", "\n-".repeat(2_000_000)),
    ] {
        let started = std::time::Instant::now();
        let tree = tree(message.as_bytes());
        let took = started.elapsed();
        assert!(took.as_secs() < 5, "took {took:?}");
        let held: usize = tree
            .parts()
            .iter()
            .map(|part| part.header().as_bytes().len())
            .sum();
        assert!(held < 3 << 20, "{held} octets of headers");
    }
}

// covers TXN-20
#[test]
fn long_texts_are_not_held() {
    let message = format!(
        "Content-Type: text/plain\r\n\r\n{}\r\n",
        "x".repeat(300_000)
    );
    let tree = tree(message.as_bytes());
    assert!(tree.text(0, 100_000).is_err());
    tree.load_texts(100_000).unwrap();
    assert_eq!(tree.text(0, 1 << 20).unwrap().text.len(), 300_001);
}
