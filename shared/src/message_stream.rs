//! A stored message read out: whole or without header, with or without dot-stuffing, in the line ends
//! and frames that the reader asks for (TXN-25 to TXN-29, PA-23).
//!
//! Owns no bytes of the body and holds one piece of it at a time. The message stays as it is; any number
//! of readers may be at it. What blocks on disk says so; the async forms go through the offload pool.

use std::io::{self, Write};
use std::sync::mpsc;

use memchr::memchr;

use crate::body::Body;
use crate::header::Header;
use crate::limits::BODY_CHUNK;
use crate::services::Services;
use crate::stuffing::{LineFeeds, Unstuffer};
use crate::transaction::Transaction;

/// How lines end in the copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnd {
    /// As on the wire.
    #[default]
    Crlf,
    /// As Unix keeps mail.
    Lf,
}

/// How a message is read out. The default gives it as programs want it: plain text with CRLF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// `line_endings`.
    pub line_ends: LineEnd,
    /// Keep dot-stuffing, for another SMTP server: the opposite of the option `dot_stuffed` in
    /// scripts, which says that what is read *was* stuffed; the same as their older `dot_stuffing`.
    pub stuffed: bool,
    /// Add the final dot; keeps dot-stuffing, whatever else is asked for.
    pub ending_dot: bool,
    /// The body alone.
    pub skip_headers: bool,
    /// Frames for `INSTREAM` of clamd: the length of each line in four octets, most significant first,
    /// before it, and four zeros at the end.
    pub clamd_style: bool,
}

impl ReadOptions {
    /// The message as it would go to another SMTP server, with the final dot.
    pub const WIRE: ReadOptions = ReadOptions {
        line_ends: LineEnd::Crlf,
        stuffed: true,
        ending_dot: true,
        skip_headers: false,
        clamd_style: false,
    };

    /// What a script's `dot_stuffed` and `dot_stuffing` mean together; `ending_dot` overrides both.
    #[must_use]
    pub fn stuffing(dot_stuffed: Option<bool>, dot_stuffing: Option<bool>) -> bool {
        match (dot_stuffed, dot_stuffing) {
            (Some(was_stuffed), _) => !was_stuffed,
            (None, Some(keep)) => keep,
            (None, None) => false,
        }
    }
}

/// Reads one message from its beginning to its end; see [`Transaction::reader`].
#[derive(Clone, Debug)]
pub struct MessageReader {
    /// What is still to come before the body.
    head: Vec<u8>,
    body: Body,
    at: u64,
    form: Form,
    ended: bool,
}

impl MessageReader {
    /// A reader at the beginning of this message. Later changes to either part do not reach it.
    #[must_use]
    pub fn new(header: &Header, body: &Body, options: ReadOptions) -> MessageReader {
        let mut head = Vec::new();
        if !options.skip_headers {
            head.reserve(header.as_bytes().len() + 2);
            head.extend_from_slice(header.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        MessageReader {
            head,
            body: body.clone(),
            at: 0,
            form: Form::new(options),
            ended: false,
        }
    }

    /// Appends the next piece, some 64 KiB; false at the end. Blocks on disk.
    ///
    /// # Errors
    /// The disk's; [`io::ErrorKind::UnexpectedEof`] if the body's file is shorter than the body.
    pub fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let raw = self.raw()?;
        Ok(self.take(&raw, out))
    }

    /// As [`read`](Self::read), without blocking.
    ///
    /// # Errors
    /// As [`read`](Self::read), or that the offload pool is gone.
    pub async fn next(&mut self, services: &dyn Services) -> io::Result<Option<Vec<u8>>> {
        let raw = if self.head.is_empty() && self.body.on_disk() {
            let (body, at) = (self.body.clone(), self.at);
            blocking(services, move || read_chunk(&body, at, body.len())).await??
        } else {
            self.raw()?
        };
        let mut out = Vec::new();
        Ok(self.take(&raw, &mut out).then_some(out))
    }

    /// The rest of the message at once; no more than `limit` octets.
    ///
    /// # Errors
    /// As [`next`](Self::next); [`io::ErrorKind::FileTooLarge`] over the limit.
    pub async fn get_data(&mut self, services: &dyn Services, limit: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next(services).await? {
            if all.len() + piece.len() > limit {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            all.extend(piece);
        }
        Ok(all)
    }

    /// Writes the rest of the message. Blocks on disk and on the writer.
    ///
    /// # Errors
    /// As [`read`](Self::read), and the writer's.
    pub fn write_to(mut self, to: &mut impl Write) -> io::Result<()> {
        let mut piece = Vec::with_capacity(BODY_CHUNK);
        while self.read(&mut piece)? {
            to.write_all(&piece)?;
            piece.clear();
        }
        Ok(())
    }

    fn raw(&mut self) -> io::Result<Vec<u8>> {
        if self.head.is_empty() {
            read_chunk(&self.body, self.at, self.body.len())
        } else {
            Ok(Vec::new())
        }
    }

    /// Puts what was read in form. `raw` is empty before the header and at the end.
    fn take(&mut self, raw: &[u8], out: &mut Vec<u8>) -> bool {
        if self.ended {
            return false;
        }
        if self.head.is_empty() {
            self.at += raw.len() as u64;
            self.form.push(raw, out);
        } else {
            let head = std::mem::take(&mut self.head);
            self.form.push(&head, out);
        }
        if self.at >= self.body.len() {
            self.form.finish(out);
            self.ended = true;
        }
        true
    }
}

impl Transaction {
    /// The message as it is now, with the fields and edits of plugins.
    #[must_use]
    pub fn reader(&self, options: ReadOptions) -> MessageReader {
        MessageReader::new(&self.header.borrow(), &self.body.borrow(), options)
    }
}

/// The next octets of a body, up to `end`; none only there. Blocks on disk.
pub(crate) fn read_chunk(body: &Body, at: u64, end: u64) -> io::Result<Vec<u8>> {
    let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
    let mut piece = vec![0; left.min(BODY_CHUNK)];
    if piece.is_empty() {
        return Ok(piece);
    }
    let n = body.read_at(at, &mut piece)?;
    if n == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    piece.truncate(n);
    Ok(piece)
}

/// Runs blocking work on the offload pool.
pub(crate) async fn blocking<T: Send + 'static>(
    services: &dyn Services,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (tx, rx) = mpsc::sync_channel(1);
    services
        .offload(Box::new(move || {
            // The receiver is this very future; when it is gone nobody wants the result.
            drop(tx.send(work()));
        }))
        .await;
    rx.try_recv()
        .map_err(|_| io::Error::other("no thread to read with"))
}

/// Turns stored form into what is asked for, in pieces that may end anywhere.
#[derive(Clone, Debug)]
struct Form {
    options: ReadOptions,
    unstuffer: Unstuffer,
    feeds: LineFeeds,
    frames: Frames,
}

impl Form {
    fn new(options: ReadOptions) -> Form {
        Form {
            options,
            unstuffer: Unstuffer::new(),
            feeds: LineFeeds::default(),
            frames: Frames::default(),
        }
    }

    fn push(&mut self, stored: &[u8], out: &mut Vec<u8>) {
        let Form {
            options,
            unstuffer,
            feeds,
            frames,
        } = self;
        let mut framed = |octets: &[u8]| {
            frames.push(octets, options.clamd_style, out);
        };
        let mut ended = |octets: &[u8]| match options.line_ends {
            LineEnd::Crlf => framed(octets),
            LineEnd::Lf => feeds.push(octets, &mut framed),
        };
        if options.stuffed || options.ending_dot {
            ended(stored);
        } else {
            unstuffer.push(stored, &mut ended);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let clamd = self.options.clamd_style;
        let frames = &mut self.frames;
        self.feeds
            .finish(&mut |octets| frames.push(octets, clamd, out));
        if self.options.ending_dot {
            let end: &[u8] = match self.options.line_ends {
                LineEnd::Crlf => b"\r\n",
                LineEnd::Lf => b"\n",
            };
            if !frames.at_line_start() {
                frames.push(end, clamd, out);
            }
            frames.push(b".", clamd, out);
            frames.push(end, clamd, out);
        }
        frames.finish(clamd, out);
    }
}

/// Puts a length before each line; or nothing, and only sees where lines end.
#[derive(Clone, Debug, Default)]
struct Frames {
    line: Vec<u8>,
    in_line: bool,
}

impl Frames {
    fn at_line_start(&self) -> bool {
        !self.in_line
    }

    fn push(&mut self, octets: &[u8], on: bool, out: &mut Vec<u8>) {
        let Some(last) = octets.last() else { return };
        self.in_line = *last != b'\n';
        if !on {
            out.extend_from_slice(octets);
            return;
        }
        let mut rest = octets;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            // a line of any length is sent in bounded frames: to clamd they are one stream
            let end = end.min(BODY_CHUNK - self.line.len());
            let (line, after) = rest.split_at(end);
            self.line.extend_from_slice(line);
            if self.line.ends_with(b"\n") || self.line.len() == BODY_CHUNK {
                self.flush(out);
            }
            rest = after;
        }
    }

    fn finish(&mut self, on: bool, out: &mut Vec<u8>) {
        if on {
            self.flush(out);
            out.extend_from_slice(&[0; 4]);
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if self.line.is_empty() {
            return;
        }
        let length = u32::try_from(self.line.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.append(&mut self.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::HeaderLimits;

    const WIRE: &[u8] =
        b"Subject: .x\r\n..dot: y\r\n\r\n..one\r\n.\r\n..\r\na..b\rc\r\n\r\nend\r\n";

    fn read(message: &[u8], options: ReadOptions) -> Vec<u8> {
        let (header, body) = Header::split(message, HeaderLimits::default());
        let body = Body::from_bytes(message[body..].to_vec());
        let mut out = Vec::new();
        MessageReader::new(&header, &body, options)
            .write_to(&mut out)
            .unwrap();
        out
    }

    fn text(options: ReadOptions) -> String {
        String::from_utf8(read(WIRE, options)).unwrap()
    }

    // covers TXN-26, TXN-27, PA-23
    #[test]
    fn each_option_does_what_it_says() {
        let default = ReadOptions::default();
        assert_eq!(
            text(default),
            "Subject: .x\r\n.dot: y\r\n\r\n.one\r\n\r\n.\r\na..b\rc\r\n\r\nend\r\n"
        );
        let lf = ReadOptions {
            line_ends: LineEnd::Lf,
            ..default
        };
        assert_eq!(
            text(lf),
            "Subject: .x\n.dot: y\n\n.one\n\n.\na..b\rc\n\nend\n"
        );
        assert_eq!(
            text(ReadOptions::WIRE),
            format!("{}.\r\n", std::str::from_utf8(WIRE).unwrap())
        );
        let body = ReadOptions {
            skip_headers: true,
            ..lf
        };
        assert_eq!(text(body), ".one\n\n.\na..b\rc\n\nend\n");
        let dot = ReadOptions {
            ending_dot: true,
            ..body
        };
        assert_eq!(text(dot), "..one\n.\n..\na..b\rc\n\nend\n.\n");
        let open = read(b"A: b\r\n\r\nopen", ReadOptions::WIRE);
        assert_eq!(
            open, b"A: b\r\n\r\nopen\r\n.\r\n",
            "the dot has its own line"
        );
        assert_eq!(
            read(b"\r\nx\r\n", default),
            b"\r\nx\r\n",
            "no header at all"
        );
        assert_eq!(read(b"A: b\r\n\r\n", default), b"A: b\r\n\r\n", "no body");
    }

    // covers TXN-26
    #[test]
    fn names_of_scripts_mean_what_they_meant() {
        for (dot_stuffed, dot_stuffing, keep) in [
            (None, None, false),
            (Some(true), None, false),
            (Some(false), None, true),
            (None, Some(true), true),
            (None, Some(false), false),
            (Some(true), Some(true), false),
        ] {
            assert_eq!(ReadOptions::stuffing(dot_stuffed, dot_stuffing), keep);
        }
    }

    // covers TXN-26
    #[test]
    fn clamd_frames_hold_the_lines_and_end_with_zero() {
        let options = ReadOptions {
            clamd_style: true,
            ..ReadOptions::default()
        };
        let long = vec![b'x'; 3 * BODY_CHUNK / 2];
        let message = [b"A: b\r\n\r\n", &long[..], b"\r\n..\r\n"].concat();
        let framed = read(&message, options);
        let mut rest = &framed[..];
        let mut frames = Vec::new();
        loop {
            let (length, after) = rest.split_first_chunk::<4>().unwrap();
            let (frame, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            rest = after;
            if frame.is_empty() {
                break;
            }
            frames.push(frame);
        }
        assert!(rest.is_empty());
        assert_eq!(frames[0], b"A: b\r\n");
        assert_eq!(frames[1], b"\r\n");
        assert_eq!(frames[2].len(), BODY_CHUNK);
        assert_eq!(frames[4], b".\r\n");
        assert_eq!(frames.concat(), read(&message, ReadOptions::default()));
    }

    #[test]
    fn body_on_disk_that_is_cut_short_is_an_error() {
        let path = std::env::temp_dir().join(format!("cut_{}", std::process::id()));
        std::fs::write(&path, b"only this\r\n").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let body = Body::from_file(std::sync::Arc::new(file), 0, 500);
        let reader = MessageReader::new(&Header::new(), &body, ReadOptions::default());
        let error = reader.write_to(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
