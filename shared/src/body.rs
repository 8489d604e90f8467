//! A message body as it came over the wire: dot-stuffed, CRLF line ends, without the final dot.
//!
//! Small bodies stay in memory in pieces; over a threshold they go to a file. Bytes are never altered.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::limits::BODY_CHUNK;

/// A finished body; cheap to share, also with other threads.
#[derive(Clone, Debug, Default)]
pub struct Body(Arc<Stored>);

#[derive(Debug, Default)]
struct Stored {
    pieces: Vec<Vec<u8>>,
    spooled: Option<Spooled>,
    len: u64,
}

#[derive(Debug)]
struct Spooled {
    file: Arc<File>,
    offset: u64,
    len: u64,
}

impl Body {
    /// A body held in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Body {
        Body(Arc::new(Stored {
            len: bytes.len() as u64,
            pieces: vec![bytes],
            spooled: None,
        }))
    }

    /// A body in part of a file.
    pub fn from_file(file: Arc<File>, offset: u64, len: u64) -> Body {
        Body(Arc::new(Stored {
            pieces: Vec::new(),
            spooled: Some(Spooled { file, offset, len }),
            len,
        }))
    }

    /// Length in bytes, dot-stuffing included.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The pieces in memory; the whole body unless [`Body::file`] gives more.
    pub fn pieces(&self) -> &[Vec<u8>] {
        &self.0.pieces
    }

    /// The file part with offset and length; it comes before nothing: a spooled body has no pieces
    /// in memory.
    pub fn file(&self) -> Option<(&File, u64, u64)> {
        self.0.spooled.as_ref().map(|s| (&*s.file, s.offset, s.len))
    }

    /// Reads up to `buffer.len()` bytes from `at`. Blocks on disk; call it where that is allowed.
    pub fn read_at(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Some(s) = &self.0.spooled {
            let left = usize::try_from(s.len.saturating_sub(at)).unwrap_or(usize::MAX);
            let want = left.min(buffer.len());
            let (part, _) = buffer.split_at_mut(want);
            return s.file.read_at(part, s.offset.saturating_add(at));
        }
        let mut start = at;
        for piece in &self.0.pieces {
            let len = piece.len() as u64;
            if start >= len {
                start -= len;
                continue;
            }
            let from = piece
                .get(usize::try_from(start).unwrap_or(usize::MAX)..)
                .unwrap_or_default();
            let n = from.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..n), from.get(..n)) {
                to.copy_from_slice(from);
            }
            return Ok(n);
        }
        Ok(0)
    }
}

/// A body that is still coming in.
#[derive(Debug, Default)]
pub struct BodyWriter {
    pieces: Vec<Vec<u8>>,
    held: usize,
    file: Option<File>,
    written: u64,
}

impl BodyWriter {
    /// Adds bytes in memory.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.held += bytes.len();
        while !bytes.is_empty() {
            let room = match self.pieces.last() {
                Some(piece) => BODY_CHUNK.saturating_sub(piece.len()),
                None => 0,
            };
            if room == 0 {
                // The first piece grows from small, so that a small message costs little.
                let size = if self.pieces.is_empty() {
                    bytes.len().clamp(512, BODY_CHUNK)
                } else {
                    BODY_CHUNK
                };
                self.pieces.push(Vec::with_capacity(size));
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(piece) = self.pieces.last_mut() {
                piece.extend_from_slice(now);
            }
            bytes = later;
        }
    }

    /// Bytes that are held in memory.
    pub fn held(&self) -> usize {
        self.held
    }

    /// All bytes so far.
    pub fn len(&self) -> u64 {
        self.written + self.held as u64
    }

    /// Whether nothing came yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has gone over to a file.
    pub fn on_disk(&self) -> bool {
        self.file.is_some()
    }

    /// Goes over to this (empty, private) file.
    pub fn spool_to(&mut self, file: File) {
        self.file = Some(file);
    }

    /// Takes the held pieces out together with the file that they must be written to; the caller
    /// writes them elsewhere than on the event loop.
    pub fn take_held(&mut self) -> Option<(File, Vec<Vec<u8>>)> {
        let file = self.file.as_ref()?.try_clone().ok()?;
        self.written += self.held as u64;
        self.held = 0;
        Some((file, std::mem::take(&mut self.pieces)))
    }

    /// The finished body. Everything held must have been written before if it is on disk.
    pub fn finish(self) -> Body {
        match self.file {
            Some(file) => Body::from_file(Arc::new(file), 0, self.written),
            None => Body(Arc::new(Stored {
                pieces: self.pieces,
                spooled: None,
                len: self.held as u64,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_back_the_bytes_that_went_in() {
        let mut w = BodyWriter::default();
        let data: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        for part in data.chunks(777) {
            w.push(part);
        }
        let body = w.finish();
        assert_eq!(body.len(), data.len() as u64);
        assert_eq!(body.pieces().concat(), data);
        let mut got = vec![0; 1000];
        assert_eq!(body.read_at(BODY_CHUNK as u64 - 10, &mut got).unwrap(), 10);
        assert_eq!(got[..10], data[BODY_CHUNK - 10..BODY_CHUNK]);
    }
}
