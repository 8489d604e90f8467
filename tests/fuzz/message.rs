//! Targets for what plugins read of a message: decoded fields, address fields, MIME parts and edits.

use std::io::Cursor;

use haraka_shared::body::{Body, Splice};
use haraka_shared::header::addresses::{self, HeaderAddress, Options, StartAt};
use haraka_shared::header::{Header, HeaderLimits, words};
use haraka_shared::message_stream::{LineEnd, MessageReader, ReadOptions};
use haraka_shared::mime::{Banner, BodyFilter, MimeLimits, MimeTree, PartKind, edit_part};

/// A field's value: decoding never fails, and what is encoded reads back.
pub fn header_text(input: &[u8]) {
    let message = [
        b"Content-Type: text/plain; charset=koi8-r\r\nX: ",
        input,
        b"\r\n\r\n",
    ]
    .concat();
    let (header, _) = Header::split(&message, HeaderLimits::default());
    let all: Vec<_> = header.get_all_decoded("x").collect();
    assert_eq!(header.get_decoded("x"), all.join("\n"));
    let text = String::from_utf8_lossy(input);
    let encoded = words::encode(&text);
    assert!(encoded.is_ascii());
    if !text.contains("=?") && !text.contains(['\r', '\n']) {
        assert_eq!(words::decode(&encoded.replace("\r\n", "")), text);
    }
    let mut added = Header::new();
    added.add("X", &text);
    assert_eq!(added.fields().count(), 1);
    assert!(added.as_bytes().is_ascii());
}

/// An address field: what is found can be written, and reads back the same.
pub fn address_header(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for options in [
        Options::default(),
        Options {
            postel: true,
            ..Options::default()
        },
        Options {
            comma_in_name: true,
            at_in_name: false,
            ..Options::default()
        },
        Options::at(StartAt::Group),
        Options::at(StartAt::AngleAddr),
    ] {
        let Ok(found) = addresses::parse_header(&text, options) else {
            continue;
        };
        assert!(!found.is_empty());
        for address in found {
            let _ = address.name();
            let shown = address.to_string();
            assert!(!shown.contains(|c: char| c.is_ascii_control()));
            let HeaderAddress::Mailbox(mailbox) = &address else {
                continue;
            };
            assert!(mailbox.host.is_ascii() && !mailbox.user.is_empty());
            let again = Options {
                postel: true,
                ..Options::at(StartAt::Mailbox)
            };
            match addresses::parse_header(&shown, again).as_deref() {
                Ok([HeaderAddress::Mailbox(again)]) => {
                    assert_eq!((&again.user, &again.host), (&mailbox.user, &mailbox.host));
                }
                other => panic!("{shown:?} reads back as {other:?}"),
            }
        }
    }
}

/// A message: parts lie within each other, any cut gives the same, and edits are only insertions.
pub fn mime(input: &[u8]) {
    let limits = MimeLimits {
        max_depth: 5,
        max_parts: 50,
        max_buffered: 1 << 20,
    };
    let (header, at) = Header::split(input, HeaderLimits::default());
    // stored form has line ends of CRLF, and the last line has one
    let mut stored = Vec::new();
    for line in input[at..].split_inclusive(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        stored.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        stored.extend_from_slice(b"\r\n");
    }
    let body = Body::from_bytes(stored.clone());
    let Ok(tree) = MimeTree::parse(&header, &body, limits) else {
        return;
    };
    assert!(tree.parts().len() <= 51);
    let cut = stored.len() / 2;
    let splice = Splice {
        at: cut as u64,
        remove: 0,
        insert: Vec::new(),
    };
    let pieces = MimeTree::parse(&header, &body.spliced(vec![splice]), limits).unwrap();
    assert_eq!(pieces.parts().len(), tree.parts().len());
    for (index, part) in tree.parts().iter().enumerate() {
        let range = part.content();
        assert!(range.start <= range.end && range.end <= body.len());
        assert_eq!(pieces.parts()[index].content(), range);
        let _ = (part.filename(), part.charset(), tree.text(index, 1 << 20));
        if let Some(parent) = part.parent() {
            assert!(parent < index && tree.parts()[parent].children().contains(&index));
        }
        let mut data = Vec::new();
        let mut reader = tree.reader(index).unwrap();
        while reader.read(&mut data).unwrap() {}
        if part.kind() == PartKind::Text {
            edits(&tree, index, &stored);
        }
    }
    read_out(&header, &body);
}

fn edits(tree: &MimeTree, index: usize, stored: &[u8]) {
    let part = &tree.parts()[index];
    let range = part.content();
    let content = &stored[range.start as usize..range.end as usize];
    let mut plain = Vec::new();
    let mut reader = tree.text_reader(index).unwrap();
    while reader.read(&mut plain).unwrap() {}
    let banner = Banner::new("ban\n.ner", None);
    let filter = [BodyFilter::of_type("", |_, _, text| Some(text.to_vec()))];
    let splice = edit_part(part, content, &plain, Some(&banner), &[]);
    assert_eq!(
        edit_part(part, content, &plain, Some(&banner), &filter),
        splice
    );
    assert_eq!(edit_part(part, content, &plain, None, &filter), None);
    if let Some(splice) = splice {
        assert!(splice.at >= range.start && splice.at + splice.remove <= range.end);
        assert!(
            !splice.insert.starts_with(b".\r\n"),
            "no line may end the message"
        );
        assert!(!splice.insert.windows(5).any(|w| w == b"\r\n.\r\n"));
    }
}

fn read_out(header: &Header, body: &Body) {
    let read = |options| {
        let mut out = Cursor::new(Vec::new());
        let reader = MessageReader::new(header, body, options);
        reader.write_to(&mut out).unwrap();
        out.into_inner()
    };
    let plain = read(ReadOptions::default());
    let lf = read(ReadOptions {
        line_ends: LineEnd::Lf,
        ..ReadOptions::default()
    });
    assert!(lf.len() <= plain.len());
    let frames = read(ReadOptions {
        clamd_style: true,
        ..ReadOptions::default()
    });
    assert!(frames.len() >= plain.len() + 4 && frames.ends_with(&[0; 4]));
    assert!(read(ReadOptions::WIRE).ends_with(b"\r\n.\r\n"));
}
