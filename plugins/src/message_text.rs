//! A message as a mailbox or a file holds it: header, blank line, body without dot-stuffing.
//!
//! Streams, so a message of any size needs one buffer. It blocks on disk: use it on the offload pool
//! only. It never changes a byte but for line ends and the dots that RFC 5321 §4.5.2 added.

use std::io::{self, Write};

use haraka_shared::body::Body;
use haraka_shared::limits::BODY_CHUNK;
use haraka_shared::stuffing::Unstuffer;
use haraka_shared::transaction::Transaction;
use memchr::memchr;

/// How lines end in the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineEnd {
    /// As on the wire.
    Crlf,
    /// As Unix keeps mail.
    Lf,
}

/// A finished message, detached from its transaction so that another thread can write it.
pub(crate) struct MessageText {
    /// In stored form, as the body.
    header: Vec<u8>,
    body: Body,
}

impl MessageText {
    /// The message of a transaction at the queue hooks, with the header as plugins left it.
    pub(crate) fn of(transaction: &Transaction) -> MessageText {
        MessageText {
            header: transaction.header.borrow().as_bytes().to_vec(),
            body: transaction.body.borrow().clone(),
        }
    }

    /// Writes the whole message.
    ///
    /// # Errors
    /// What reading a body on disk or the writer gives; a body file that is too short counts as
    /// [`io::ErrorKind::UnexpectedEof`].
    pub(crate) fn write_to(&self, out: &mut impl Write, ends: LineEnd) -> io::Result<()> {
        let mut text = Plain::new(out, ends);
        text.push(&self.header)?;
        text.push(b"\r\n")?;
        for piece in self.body.pieces() {
            text.push(piece)?;
        }
        if self.body.file().is_some() {
            let mut buffer = vec![0; BODY_CHUNK];
            let mut at = 0;
            while at < self.body.len() {
                let n = self.body.read_at(at, &mut buffer)?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                text.push(buffer.get(..n).unwrap_or_default())?;
                at += n as u64;
            }
        }
        text.finish()
    }
}

/// Turns the stored form into text, in pieces that may end anywhere.
struct Plain<'w, W> {
    unstuffer: Unstuffer,
    lines: Lines<'w, W>,
}

impl<'w, W: Write> Plain<'w, W> {
    fn new(out: &'w mut W, ends: LineEnd) -> Self {
        Plain {
            unstuffer: Unstuffer::new(),
            lines: Lines {
                out,
                ends,
                cr: false,
            },
        }
    }

    fn push(&mut self, stored: &[u8]) -> io::Result<()> {
        let lines = &mut self.lines;
        let mut result = Ok(());
        self.unstuffer.push(stored, &mut |bytes| {
            if result.is_ok() {
                result = lines.push(bytes);
            }
        });
        result
    }

    fn finish(self) -> io::Result<()> {
        if self.lines.cr {
            self.lines.out.write_all(b"\r")?;
        }
        Ok(())
    }
}

/// Writes line ends as asked for.
struct Lines<'w, W> {
    out: &'w mut W,
    ends: LineEnd,
    /// A CR came and it is not known yet what follows.
    cr: bool,
}

impl<W: Write> Lines<'_, W> {
    fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.ends == LineEnd::Crlf {
            return self.out.write_all(bytes);
        }
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.cr) && *first != b'\n' {
                self.out.write_all(b"\r")?;
            }
            let Some(at) = memchr(b'\r', bytes) else {
                return self.out.write_all(bytes);
            };
            let (text, after) = bytes.split_at(at);
            self.out.write_all(text)?;
            self.cr = true;
            bytes = after.get(1..).unwrap_or_default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &[u8] = b"..one\r\n.\r\n..\r\na..b\rc\r\n\r\nend\r\n";

    fn text(body: Body, ends: LineEnd) -> String {
        let mut out = Vec::new();
        let header = b"Subject: .x\r\n..dot: y\r\n".to_vec();
        let message = MessageText { header, body };
        message.write_to(&mut out, ends).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn stuffed_dots_go_and_line_ends_become_what_is_asked_for() {
        let body = || Body::from_bytes(WIRE.to_vec());
        assert_eq!(
            text(body(), LineEnd::Lf),
            "Subject: .x\n.dot: y\n\n.one\n\n.\na..b\rc\n\nend\n"
        );
        assert_eq!(
            text(body(), LineEnd::Crlf),
            "Subject: .x\r\n.dot: y\r\n\r\n.one\r\n\r\n.\r\na..b\rc\r\n\r\nend\r\n"
        );
    }

    #[test]
    fn pieces_may_end_anywhere() {
        let mut whole = Vec::new();
        let mut all = Plain::new(&mut whole, LineEnd::Lf);
        all.push(WIRE).unwrap();
        all.finish().unwrap();
        for size in 1..WIRE.len() {
            let mut out = Vec::new();
            let mut w = Plain::new(&mut out, LineEnd::Lf);
            for piece in WIRE.chunks(size) {
                w.push(piece).unwrap();
            }
            w.finish().unwrap();
            assert_eq!(out, whole, "pieces of {size}");
        }
    }

    #[test]
    fn body_on_disk_that_is_cut_short_is_an_error() {
        let path = std::env::temp_dir().join(format!("cut_{}", std::process::id()));
        std::fs::write(&path, b"only this\r\n").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let message = MessageText {
            header: Vec::new(),
            body: Body::from_file(file, 0, 500),
        };
        let error = message.write_to(&mut Vec::new(), LineEnd::Lf).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
