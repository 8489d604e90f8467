//! What each fuzz target does with its input: parse, and check what must hold for any input.
//!
//! Used by `fuzz_targets/` (libfuzzer) and by `worker/tests/corpus.rs` (stable). A target for a new
//! parser is a function here, a file and a `[[bin]]` there, a row in `TARGETS` and a corpus folder.

use haraka_shared::address::{Address, Limits};
use haraka_shared::connection::HelloVerb;
use haraka_shared::dsn::{MessageRequest, RecipientRequest};
use haraka_shared::header::{Header, HeaderLimits, HeaderReader, Progress};
use haraka_shared::reply::ReplyParser;
use haraka_shared::stuffing::{Stuffer, Unstuffer};
use haraka_worker::smtp::proto::chunk::{Chunk, ChunkWriter};
use haraka_worker::smtp::proto::command::{Command, decode};
use haraka_worker::smtp::proto::data::{BareLineEnds, DataScanner, Resend, is_wire_form};
use haraka_worker::smtp::proto::line::{self, Split};
use haraka_worker::smtp::proto::params::{Arguments, Path};
use haraka_worker::smtp::proto::proxy::{self, Scan};

#[path = "auth.rs"]
mod auth;
#[path = "message.rs"]
mod message;
#[path = "queue_file.rs"]
mod queue_file;
#[path = "sts.rs"]
pub mod sts;

pub type Target = fn(&[u8]);

/// Name of the corpus folder and what to do with its files.
pub const TARGETS: [(&str, Target); 17] = [
    ("line", line),
    ("command", command),
    ("address", address),
    ("header", header),
    ("reply", reply),
    ("data", data),
    ("proxy", proxy),
    ("chunk", chunk),
    ("auth", auth::auth),
    ("dsn", dsn),
    ("queue_file", queue_file::queue_file),
    ("header_text", message::header_text),
    ("address_header", message::address_header),
    ("mime", message::mime),
    ("sts_record", sts::record),
    ("sts_policy", sts::policy),
    ("sts_answer", sts::answer),
];

/// The first octet says where the rest is cut in two pieces.
fn cut(input: &[u8]) -> (&[u8], usize) {
    match input.split_first() {
        Some((at, rest)) => (rest, usize::from(*at).min(rest.len())),
        None => (input, 0),
    }
}

pub fn line(input: &[u8]) {
    let (buffer, at) = cut(input);
    for max in [64, 512] {
        let whole = line::split(buffer, 0, max);
        if let Split::Line { end, consumed } = whole {
            assert!(consumed == end + 2 && consumed <= max);
            assert!(!buffer[..end].iter().any(|octet| b"\r\n\0".contains(octet)));
            assert_eq!(&buffer[end..consumed], b"\r\n");
        }
        match line::split(&buffer[..at], 0, max) {
            Split::Incomplete { scanned } => {
                assert!(scanned <= at && at < max);
                assert_eq!(line::split(buffer, scanned, max), whole);
            }
            found => assert_eq!(found, whole),
        }
    }
}

pub fn command(input: &[u8]) {
    assert!(decode(input, Some(HelloVerb::Helo)).is_some() == input.is_ascii());
    let text = line::text(input);
    match Command::parse(&text) {
        Command::Mail(rest) => arguments(Path::Mail, rest),
        Command::Rcpt(rest) => arguments(Path::Rcpt, rest),
        Command::Helo(Ok(host)) | Command::Ehlo(Ok(host)) => {
            assert!(!host.is_empty() && !host.bytes().any(|b| b == b' ' || b.is_ascii_control()));
        }
        Command::Unrecognized { verb, .. } => assert!(text.starts_with(verb)),
        _ => {}
    }
}

fn arguments(path: Path, text: &str) {
    for strict in [false, true] {
        match Arguments::parse(path, text, strict) {
            Ok(found) => {
                let _ = found.size();
                for param in &found.params {
                    assert!(
                        !param.key.is_empty() && !param.key.contains(|c: char| c.is_lowercase())
                    );
                    assert_ne!(param.value, Some(""));
                }
                address(found.path.as_bytes());
            }
            Err(error) => assert_lines_are_clean(&error.reply().to_wire()),
        }
    }
}

pub fn address(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let strict = Address::parse(&text, Limits { postel: false });
    let lenient = Address::parse(&text, Limits { postel: true });
    if strict.is_ok() {
        assert_eq!(strict, lenient);
    }
    let Ok(address) = lenient else { return };
    assert_eq!(address.original(), text);
    assert!(
        address.host().is_ascii() && !address.host().contains(|c: char| c.is_ascii_uppercase())
    );
    let shown = address.to_string();
    assert!(!shown.contains(|c: char| c.is_ascii_control()));
    assert_eq!(shown, address.format(false));
    if shown.len() < 990 {
        let again = Address::parse(&shown, Limits { postel: true }).unwrap();
        assert_eq!(
            (again.user(), again.host()),
            (address.user(), address.host())
        );
        assert_eq!(again.original_host(), address.original_host());
    }
    let json = serde_json::to_string(&address).unwrap();
    // a control character can only be where the client wrote it, and the grammar lets none pass
    assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), address);
}

pub fn header(input: &[u8]) {
    let (message, at) = cut(input);
    let limits = HeaderLimits {
        max_lines: 8,
        max_octets: 4096,
    };
    let (mut whole, body) = Header::split(message, limits);

    let mut reader = HeaderReader::new(limits);
    match reader.push(&message[..at]) {
        Progress::Ended { consumed } => assert_eq!(consumed, body),
        Progress::NeedMore => match reader.push(&message[at..]) {
            Progress::Ended { consumed } => {
                assert_eq!(at + consumed, body);
                assert_eq!(reader.into_header(), whole);
            }
            Progress::NeedMore | Progress::TooLarge => {
                assert_eq!(reader.finish().0, whole);
            }
        },
        Progress::TooLarge => assert!(at > limits.max_octets),
    }

    let block = whole.as_bytes().to_vec();
    assert!(message.starts_with(block.strip_suffix(b"\r\n").unwrap_or(&block)));
    let shown: usize = whole.fields().map(|field| field.raw().len()).sum();
    assert!(shown == block.len() || whole.is_over_line_limit());

    let fields = whole.fields().count();
    let text = String::from_utf8_lossy(message);
    let known = whole.count("X-Fuzz");
    whole.add_end("X-Fuzz", &text);
    assert_eq!(whole.fields().count(), fields + 1);
    assert_eq!(whole.remove("X-Fuzz"), known + 1);
    if known == 0 {
        assert_eq!(whole.as_bytes(), block);
    }
    let _ = (whole.joined("subject"), whole.get(&text));
}

pub fn reply(input: &[u8]) {
    let (stream, at) = cut(input);
    let whole = ReplyParser::new().feed(stream);
    let mut parser = ReplyParser::new();
    match parser.feed(&stream[..at]) {
        Ok(fed) if fed.reply.is_none() => match (parser.feed(&stream[at..]), &whole) {
            (Ok(then), Ok(whole)) => {
                assert_eq!(at + then.consumed, whole.consumed);
                assert_eq!(then.reply, whole.reply);
            }
            (then, whole) => assert_eq!(then.is_err(), whole.is_err()),
        },
        first => assert_eq!(first, whole),
    }
    let Ok(Some(reply)) = whole.map(|fed| fed.reply) else {
        return;
    };
    assert!((200..600).contains(&reply.code()));
    assert_lines_are_clean(&reply.to_wire());
    assert!(!reply.to_string().contains(['\r', '\n']));
}

fn assert_lines_are_clean(wire: &[u8]) {
    let lines: Vec<&[u8]> = wire
        .strip_suffix(b"\r\n")
        .unwrap()
        .split(|b| *b == b'\n')
        .collect();
    for (number, line) in lines.iter().enumerate() {
        let line = if number + 1 < lines.len() {
            line.strip_suffix(b"\r").unwrap()
        } else {
            line
        };
        assert!(line.len() >= 4 && line[..3] == wire[..3]);
        assert!(
            !line
                .iter()
                .any(|octet| octet.is_ascii_control() && *octet != b'\t')
        );
    }
}

pub fn data(input: &[u8]) {
    let (stream, at) = cut(input);
    let pieces: [&[&[u8]]; 2] = [&[stream], &[&stream[..at], &stream[at..]]];
    for policy in [BareLineEnds::Convert, BareLineEnds::Reject] {
        let [whole, cut] = pieces.map(|pieces| scan(policy, pieces));
        assert_eq!((whole.1, whole.2, whole.3), (cut.1, cut.2, cut.3));
        let message = &whole.0;
        if policy == BareLineEnds::Convert || whole.3 {
            assert_eq!(*message, cut.0);
        }
        if whole.2 && policy == BareLineEnds::Convert {
            assert!(is_wire_form(message));
            assert_eq!(resend(&[message]), *message);
            let plain = unstuffed(message);
            assert_eq!(unstuffed(&stuffed(&plain)), plain);
        }
    }
    let [whole, cut] = pieces.map(resend);
    assert_eq!(whole, cut);
    assert!(is_wire_form(&whole));
    assert!(is_wire_form(&stuffed(stream)));
}

pub fn proxy(input: &[u8]) {
    let (buffer, at) = cut(input);
    let whole = proxy::scan(buffer);
    match whole {
        Scan::Header { consumed, .. } => {
            assert!(consumed <= buffer.len() && consumed <= proxy::LONGEST_BINARY);
            // What follows the header has no say in it, and nothing less is enough.
            assert_eq!(proxy::scan(&buffer[..consumed]), whole);
            for end in 0..consumed {
                assert_eq!(proxy::scan(&buffer[..end]), Scan::Incomplete);
            }
        }
        Scan::Incomplete => assert!(buffer.len() < proxy::LONGEST_BINARY),
        Scan::Other | Scan::Bad(_) => {}
    }
    // More input never changes what is known.
    match proxy::scan(&buffer[..at]) {
        Scan::Incomplete => {}
        known => assert_eq!(known, whole),
    }
}

pub fn chunk(input: &[u8]) {
    let (stream, at) = cut(input);
    if let Some(line) = stream.split(|b| *b == b'\n').next() {
        let text = line::text(line);
        if let Some(chunk) = Chunk::parse(&text) {
            let shown = format!("{}{}", chunk.octets, if chunk.last { " LAST" } else { "" });
            assert_eq!(Chunk::parse(&shown), Some(chunk));
        }
    }
    let pieces: [&[&[u8]]; 2] = [&[stream], &[&stream[..at], &stream[at..]]];
    let convert = pieces.map(|pieces| chunks(BareLineEnds::Convert, pieces).0);
    assert_eq!(convert[0], convert[1]);
    assert_eq!(convert[0], stuffed(stream));
    assert!(is_wire_form(&convert[0]));
    let reject = pieces.map(|pieces| chunks(BareLineEnds::Reject, pieces));
    assert_eq!(reject[0].1, reject[1].1);
    if !reject[0].1 {
        assert_eq!(reject[0].0, convert[0]);
    }
}

/// Stored form, and whether it was rejected.
fn chunks(policy: BareLineEnds, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let mut writer = ChunkWriter::new(policy);
    for piece in pieces {
        writer.push(piece, &mut |octets| out.extend_from_slice(octets));
    }
    writer.finish(&mut |octets| out.extend_from_slice(octets));
    (out, writer.violation().is_some())
}

pub fn dsn(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let words = text
        .split_whitespace()
        .map(|word| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        });
    let params: Vec<_> = words.collect();
    let mut extra = serde_json::Map::new();
    if let Ok(request) = MessageRequest::from_params(&params) {
        assert_is_one_line(&request.params());
        request.store(&mut extra);
        assert_eq!(MessageRequest::of_item(&extra), request);
        if let Some(id) = request.envelope_id() {
            assert!(id.is_ascii() && !id.contains(|c: char| c.is_ascii_control()));
        }
    }
    extra.clear();
    if let Ok(request) = RecipientRequest::from_params(&params) {
        assert_is_one_line(&request.params(true));
        let ascii = request.params(false);
        assert!(ascii.is_ascii());
        assert_is_one_line(&ascii);
        request.store(&mut extra);
        assert_eq!(RecipientRequest::of_recipient(&extra), request);
        if let Some(original) = request.original_recipient() {
            assert!(!original.contains(char::is_control));
        }
    }
}

fn assert_is_one_line(params: &str) {
    assert!(!params.contains(|c: char| c.is_control()), "{params:?}");
    assert!(params.is_empty() || params.starts_with(' '));
}

/// Message, octets consumed, whether it ended, whether it has no violation.
fn scan(policy: BareLineEnds, pieces: &[&[u8]]) -> (Vec<u8>, usize, bool, bool) {
    let mut message = Vec::new();
    let mut scanner = DataScanner::new(policy);
    let mut done = false;
    for piece in pieces {
        if !done {
            done = scanner
                .scan(piece, &mut |octets| message.extend_from_slice(octets))
                .done;
        }
    }
    let consumed = usize::try_from(scanner.received()).unwrap();
    (message, consumed, done, scanner.violation().is_none())
}

fn resend(pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut cleaner = Resend::new();
    for piece in pieces {
        cleaner.push(piece, &mut |octets| out.extend_from_slice(octets));
    }
    cleaner.finish(&mut |octets| out.extend_from_slice(octets));
    out
}

fn stuffed(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut stuffer = Stuffer::new();
    stuffer.push(plain, &mut |octets| out.extend_from_slice(octets));
    stuffer.finish(&mut |octets| out.extend_from_slice(octets));
    out
}

fn unstuffed(stored: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Unstuffer::new().push(stored, &mut |octets| out.extend_from_slice(octets));
    out
}
