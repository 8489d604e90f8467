//! The decoded octets of one part, pulled piece by piece.
//!
//! Whoever reads sets the pace: nothing is decoded before it is asked for, and one piece is held
//! (TXN-14).

use std::io;
use std::ops::Range;

use super::transfer::{Decoder, TransferEncoding};
use crate::body::Body;
use crate::message_stream::{blocking, read_chunk};
use crate::services::Services;
use crate::stuffing::{LineFeeds, Unstuffer};

/// Reads one part from its beginning; see [`MimeTree::reader`](super::MimeTree::reader).
#[derive(Clone, Debug)]
pub struct PartReader {
    body: Body,
    at: u64,
    end: u64,
    form: Form,
    ended: bool,
}

#[derive(Clone, Debug)]
struct Form {
    unstuffer: Unstuffer,
    feeds: Option<LineFeeds>,
    decoder: Decoder,
}

impl PartReader {
    pub(super) fn new(
        body: &Body,
        content: Range<u64>,
        encoding: TransferEncoding,
        line_feeds: bool,
    ) -> PartReader {
        PartReader {
            body: body.clone(),
            at: content.start,
            end: content.end,
            form: Form {
                unstuffer: Unstuffer::new(),
                feeds: line_feeds.then(LineFeeds::default),
                decoder: encoding.decoder(),
            },
            ended: false,
        }
    }

    /// Appends the next piece, 64 KiB or less; false at the end. Blocks on disk.
    ///
    /// # Errors
    /// The disk's; [`io::ErrorKind::UnexpectedEof`] if the body's file is shorter than the body.
    pub fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let raw = read_chunk(&self.body, self.at, self.end)?;
        Ok(self.take(&raw, out))
    }

    /// As [`read`](Self::read), without blocking; none at the end. Pieces are not empty.
    ///
    /// # Errors
    /// As [`read`](Self::read), or that the offload pool is gone.
    pub async fn next(&mut self, services: &dyn Services) -> io::Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        loop {
            let (at, end) = (self.at, self.end);
            let raw = if self.body.on_disk() {
                let body = self.body.clone();
                blocking(services, move || read_chunk(&body, at, end)).await??
            } else {
                read_chunk(&self.body, at, end)?
            };
            if !self.take(&raw, &mut out) {
                return Ok(None);
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
    }

    /// The rest of the part at once (`mailparser.attachment_max_buffered` is what `limit` is for).
    ///
    /// # Errors
    /// As [`next`](Self::next); [`io::ErrorKind::FileTooLarge`] over `limit` octets.
    pub async fn collect(&mut self, services: &dyn Services, limit: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next(services).await? {
            if all.len() + piece.len() > limit {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            all.extend(piece);
        }
        Ok(all)
    }

    fn take(&mut self, raw: &[u8], out: &mut Vec<u8>) -> bool {
        if self.ended {
            return false;
        }
        self.at += raw.len() as u64;
        self.form.push(raw, out);
        if self.at >= self.end {
            self.form.finish(out);
            self.ended = true;
        }
        true
    }
}

impl Form {
    fn push(&mut self, stored: &[u8], out: &mut Vec<u8>) {
        let Form {
            unstuffer,
            feeds,
            decoder,
        } = self;
        unstuffer.push(stored, &mut |octets| match feeds {
            Some(feeds) => feeds.push(octets, &mut |octets| decoder.push(octets, out)),
            None => decoder.push(octets, out),
        });
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let Form { feeds, decoder, .. } = self;
        if let Some(feeds) = feeds {
            feeds.finish(&mut |octets| decoder.push(octets, out));
        }
        decoder.finish(out);
    }
}
