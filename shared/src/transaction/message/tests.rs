//! Edits and readings of whole messages.

use std::future::Future;
use std::path::Path as FilePath;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::address::Address;
use crate::config::{Config, ConfigDir};
use crate::dial::{DialError, Dialogue, Endpoint};
use crate::header::{Header, HeaderLimits};
use crate::hook::{Params, Path};
use crate::message_stream::ReadOptions;
use crate::mime::charset::{self, Missing};
use crate::mime::transfer::TransferEncoding;
use crate::plugin::LocalFuture;
use crate::route::Route;
use crate::services::{Dns, ForwardError, Forwarded, QueueError};

/// Services of which only blocking work is done, at once.
struct Inline;

impl Services for Inline {
    fn config(&self) -> std::rc::Rc<Config> {
        unreachable!("not for a message")
    }
    fn config_dir(&self) -> &ConfigDir {
        unreachable!("not for a message")
    }
    fn install_dir(&self) -> &FilePath {
        unreachable!("not for a message")
    }
    fn dns(&self) -> &dyn Dns {
        unreachable!("not for a message")
    }
    fn sleep(&self, _: Duration) -> LocalFuture<'static, ()> {
        unreachable!("not for a message")
    }
    fn offload(&self, work: Box<dyn FnOnce() + Send>) -> LocalFuture<'static, ()> {
        work();
        Box::pin(std::future::ready(()))
    }
    fn dial<'a>(
        &'a self,
        _: &'a Endpoint,
        _: Duration,
    ) -> LocalFuture<'a, Result<Box<dyn Dialogue>, DialError>> {
        unreachable!("not for a message")
    }
    fn forward<'a>(
        &'a self,
        _: Route,
        _: &'a Transaction,
        _: bool,
    ) -> LocalFuture<'a, Result<Forwarded, ForwardError>> {
        unreachable!("not for a message")
    }
    fn enqueue<'a>(&'a self, _: &'a Transaction) -> LocalFuture<'a, Result<(), QueueError>> {
        unreachable!("not for a message")
    }
}

fn done<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing to wait for"),
    }
}

fn transaction(message: &[u8], on_disk: bool) -> Transaction {
    let sender = Path {
        address: Address::null(),
        params: Params::default(),
    };
    let transaction = Transaction::new("U.1".to_owned(), sender);
    let (header, body) = Header::split(message, HeaderLimits::default());
    *transaction.header.borrow_mut() = header;
    let bytes = &message[body..];
    *transaction.body.borrow_mut() = if on_disk {
        let name = format!("haraka-message-{}", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        Body::from_file(Arc::new(file), 0, bytes.len() as u64)
    } else {
        Body::from_bytes(bytes.to_vec())
    };
    transaction
}

fn prepare(transaction: &Transaction) {
    done(transaction.prepare_body(&Inline, MimeLimits::default())).unwrap();
}

fn stored(transaction: &Transaction) -> Vec<u8> {
    let options = ReadOptions {
        stuffed: true,
        skip_headers: true,
        ..ReadOptions::default()
    };
    done(transaction.reader(options).get_data(&Inline, usize::MAX)).unwrap()
}

/// A message of a text part in the middle and two attachments around it that must not change.
struct Sample {
    label: &'static str,
    encoding: TransferEncoding,
    html: bool,
    text: String,
}

const BEFORE: &[u8] = b"pre\xff\r\n--=_b\r\nContent-Type: application/x\r\n\r\n\x80\xff=\x00..\r\n\
    ...\r\n--=_b\r\n";
const BEHIND: &[u8] = b"--=_b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\
    Content-Transfer-Encoding: base64\r\n\r\naGVs\r\n  bG8=  \r\n\r\n--=_b--\r\n..\xfe\r\n";

impl Sample {
    fn part(&self) -> (Vec<u8>, Vec<u8>) {
        let subtype = if self.html { "html" } else { "plain" };
        let header = format!(
            "Content-Type: text/{subtype}; charset=\"{}\"\r\nContent-Transfer-Encoding: {}\r\n\r\n",
            self.label, self.encoding
        );
        let plain = charset::encode(&self.text, self.label, Missing::Question).unwrap();
        let mut encoded = Vec::new();
        self.encoding.encode(&plain, &mut encoded);
        let mut content = Vec::new();
        let mut stuffer = crate::stuffing::Stuffer::new();
        stuffer.push(&encoded, &mut |b| content.extend_from_slice(b));
        (header.into_bytes(), content)
    }

    fn message(&self) -> Vec<u8> {
        let (header, content) = self.part();
        let top = b"Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n";
        [top, BEFORE, &header, &content, BEHIND].concat()
    }
}

fn samples() -> Vec<Sample> {
    let texts = [
        ("iso-8859-1", "Grüße\n.punkt\nEnde ä \n"),
        ("iso-8859-2", "Žluťoučký kůň\nx=y\n"),
        ("iso-8859-15", "1 €\n"),
        ("shift_jis", "日本語ソ表\n.能\n"),
        ("gb18030", "简体中文𠀀\n"),
        ("iso-2022-jp", "日本語\n終\n"),
        ("utf-8", "grüße 🙂\n.\n..\n"),
        ("koi8-r", "Привет\n"),
    ];
    let encodings = [
        TransferEncoding::Identity,
        TransferEncoding::QuotedPrintable,
        TransferEncoding::Base64,
    ];
    let mut samples = Vec::new();
    for (label, text) in texts {
        for encoding in encodings {
            for html in [false, true] {
                let text = if html {
                    format!("<html><BODY>{text}  </BODY></html>\n")
                } else {
                    text.to_owned()
                };
                samples.push(Sample {
                    label,
                    encoding,
                    html,
                    text,
                });
            }
        }
    }
    samples.push(Sample {
        label: "utf-16le",
        encoding: TransferEncoding::Base64,
        html: true,
        text: "<html><body>ä日</body></html>\n".to_owned(),
    });
    samples
}

fn text_of(transaction: &Transaction) -> String {
    let tree = done(transaction.parse_mime(&Inline, MimeLimits::default())).unwrap();
    tree.text(2, 1 << 20).unwrap().text.clone()
}

// covers TXN-15, PB-35, PA-25: octets outside of the splice stay, whatever they are
#[test]
fn banner_changes_nothing_but_the_text_that_it_joins() {
    for sample in samples() {
        let message = sample.message();
        let (header, content) = sample.part();
        for on_disk in [false, true] {
            let transaction = transaction(&message, on_disk);
            transaction.set_banner("Banner\nof two.", None);
            prepare(&transaction);
            let what = format!("{} {} {}", sample.label, sample.encoding, sample.html);
            let expected = if sample.html {
                sample
                    .text
                    .replacen("</BODY>", "<P>Banner<br/>\nof two.</P></BODY>", 1)
                    .replacen("</body>", "<P>Banner<br/>\nof two.</P></body>", 1)
            } else {
                format!("{}\nBanner\nof two.\n", sample.text)
            };
            let text = text_of(&transaction);
            // base64 keeps the line ends that were written into it
            assert_eq!(text.replace("\r\n", "\n"), expected, "{what}");

            let edited = stored(&transaction);
            let head = [BEFORE, &header].concat();
            let kept = edited.strip_prefix(&*head).expect(&what);
            let kept = kept.strip_suffix(BEHIND).expect(&what);
            let same = kept.iter().zip(&content).take_while(|(a, b)| a == b);
            let same = same.count();
            if sample.encoding == TransferEncoding::Base64 {
                let rest = content.len() - same;
                let tail = if sample.html { 80 } else { 12 };
                assert!(rest <= tail, "{what}: {rest} octets were moved");
            } else {
                assert!(kept.ends_with(&content[same..]), "{what}: only insertions");
            }
            let longest = kept.split(|b| *b == b'\n').map(<[u8]>::len).max().unwrap();
            assert!(
                sample.encoding == TransferEncoding::Identity || longest <= 77,
                "{what}"
            );
        }
    }
}

// covers TXN-15
#[test]
fn banner_is_where_haraka_puts_it() {
    for (content, expected) in [
        ("text/plain\r\n\r\nhello\r\n", "hello\r\n\r\nB\r\n"),
        ("text/plain\r\n\r\n", "\r\nB\r\n"),
        (
            "text/html\r\n\r\n<p>x\r\n</HTML>\r\n",
            "<p>x\r\n<P>H</P></HTML>\r\n",
        ),
        ("text/html\r\n\r\nno end\r\n", "no end<P>H</P>\r\n"),
        ("text/calendar\r\n\r\nBEGIN\r\n", "BEGIN\r\n"),
        (
            "text/plain\r\nContent-Disposition: attachment\r\n\r\nx\r\n",
            "x\r\n",
        ),
    ] {
        let message = format!("Content-Type: {content}");
        let transaction = transaction(message.as_bytes(), false);
        transaction.set_banner("B", Some("H"));
        prepare(&transaction);
        assert_eq!(String::from_utf8_lossy(&stored(&transaction)), expected);
        prepare(&transaction);
        let again = stored(&transaction);
        assert_eq!(again, expected.as_bytes(), "an edit is applied once");
    }
}

// covers TXN-16
#[test]
fn filters_write_a_part_anew_only_if_they_change_it() {
    for sample in samples() {
        let message = sample.message();
        let transaction = transaction(&message, false);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&seen);
        transaction.add_body_filter(BodyFilter::of_type("TEXT/", move |_, charset, text| {
            log.borrow_mut().push((charset.to_owned(), text.to_vec()));
            None
        }));
        transaction.add_body_filter(BodyFilter::of_type("text/", |_, _, text| {
            Some(text.to_vec())
        }));
        transaction.add_body_filter(BodyFilter::of_type("image/", |_, _, _| Some(vec![])));
        prepare(&transaction);
        let body = &message[message.len() - stored(&transaction).len()..];
        assert!(stored(&transaction) == body, "nothing was changed");
        let plain = charset::encode(&sample.text, sample.label, Missing::Question).unwrap();
        assert_eq!(*seen.borrow(), [(sample.label.to_owned(), plain.clone())]);

        transaction.add_body_filter(BodyFilter {
            wants: Box::new(|content_type| content_type.contains("charset")),
            text: Box::new(|_, text| Some([text, b".dot\n..", text].concat())),
        });
        prepare(&transaction);
        let edited = stored(&transaction);
        let (header, _) = sample.part();
        let head = [BEFORE, &header].concat();
        assert!(edited.starts_with(&head) && edited.ends_with(BEHIND));
        let tree = transaction.mime().unwrap();
        let text = done(tree.text_reader(2).unwrap().collect(&Inline, usize::MAX)).unwrap();
        let expected = [&plain[..], b".dot\n..", &plain].concat();
        assert_eq!(text, expected, "{} {}", sample.label, sample.encoding);
    }
}

// covers TXN-13, TXN-14
#[test]
fn attachments_are_announced_and_read_when_the_hook_wants() {
    let data: Vec<u8> = (0..400_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    let mut encoded = Vec::new();
    TransferEncoding::Base64.encode(&data, &mut encoded);
    let message = [
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n\
          Content-Type: application/zip; name=x.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        &encoded[..],
        b"--b--\r\n",
    ]
    .concat();
    for on_disk in [false, true] {
        let transaction = transaction(&message, on_disk);
        transaction.wishes.discard_data.set(true);
        let kept = Rc::new(RefCell::new(Vec::new()));
        let list = Rc::clone(&kept);
        transaction.on_attachment(move |attachment| list.borrow_mut().push(attachment));
        prepare(&transaction);
        assert!(transaction.body.borrow().is_empty(), "discarded (TXN-12)");
        let mut attachment = kept.borrow_mut().pop().unwrap();
        assert!(kept.borrow().is_empty());
        assert_eq!(attachment.filename, "x.zip");
        assert!(attachment.content_type.starts_with("application/zip"));
        let mut all = Vec::new();
        while let Some(piece) = done(attachment.stream.next(&Inline)).unwrap() {
            assert!(!piece.is_empty() && piece.len() <= 64 * 1024, "bounded");
            all.extend(piece);
        }
        assert!(all == data);
        let mut again = attachment.tree.reader(attachment.part).unwrap();
        let limited = done(again.collect(&Inline, 1000));
        assert_eq!(
            limited.unwrap_err().kind(),
            std::io::ErrorKind::FileTooLarge
        );
    }
}

#[test]
fn nothing_is_done_for_a_message_that_nobody_asked_about() {
    let transaction = transaction(b"Content-Type: text/plain\r\n\r\nx\r\n", false);
    prepare(&transaction);
    assert!(transaction.mime().is_none());
    assert!(!transaction.wishes.read_body());
    transaction.wishes.parse_body.set(true);
    prepare(&transaction);
    let tree = transaction.mime().unwrap();
    assert_eq!(tree.text(0, 100).unwrap().text, "x\n");
}

// covers CON-35
#[test]
fn too_many_parts_stop_before_anything_is_edited() {
    let message = [
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_vec(),
        b"--b\r\n\r\n\r\n".repeat(1000),
    ]
    .concat();
    let transaction = transaction(&message, true);
    transaction.set_banner("x", None);
    let result = done(transaction.prepare_body(&Inline, MimeLimits::default()));
    assert!(matches!(result, Err(MimeError::TooManyParts)));
    assert!(message.ends_with(&stored(&transaction)));
}

// covers TXN-29, PA-23: fields of plugins and edits are in what is read out
#[test]
fn message_is_read_with_fields_and_edits() {
    let transaction = transaction(b"A: b\r\n\r\nx\r\n..\r\n", true);
    transaction.header.borrow_mut().add("X", "ü");
    transaction.set_banner("B", None);
    prepare(&transaction);
    let mut reader = transaction.reader(ReadOptions::default());
    let all = done(reader.get_data(&Inline, 1000)).unwrap();
    assert_eq!(
        String::from_utf8(all).unwrap(),
        "X: =?UTF-8?Q?=C3=BC?=\r\nA: b\r\n\r\nx\r\n.\r\n\r\nB\r\n"
    );
    let mut reader = transaction.reader(ReadOptions::WIRE);
    assert!(done(reader.get_data(&Inline, 10)).is_err());
}

// covers TXN-17
#[test]
fn texts_over_the_limit_stay_as_they_came_and_the_others_are_edited() {
    let message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n0123456789\r\n\
        --b\r\n\r\n01234567890\r\n--b--\r\n";
    // the line end counts, as it belongs to what filters get
    for (limit, expected) in [
        (12, "0123456789\n\nbye\n|01234567890\n"),
        (11, "0123456789\n|01234567890\n"),
        (13, "0123456789\n\nbye\n|01234567890\n\nbye\n"),
    ] {
        for on_disk in [false, true] {
            let transaction = transaction(message, on_disk);
            transaction.set_banner("bye", None);
            let limits = MimeLimits {
                max_buffered: limit,
                ..MimeLimits::default()
            };
            done(transaction.prepare_body(&Inline, limits)).unwrap();
            let all = String::from_utf8(stored(&transaction)).unwrap();
            let texts = all.replace("\r\n", "\n");
            let texts: Vec<_> = texts.split("--b").map(str::trim_start).collect();
            assert_eq!(texts[1..3].join("|"), expected, "{limit} {all:?}");
        }
    }
}
