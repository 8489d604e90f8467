//! A message body as it came over the wire: dot-stuffed, CRLF line ends, without the final dot.
//!
//! Small bodies stay in memory in pieces; over a threshold they go to a file. Bytes are never altered:
//! an edit makes another body that shares with this one all that stays.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::limits::BODY_CHUNK;

/// A finished body; cheap to share, also with other threads.
#[derive(Clone, Debug, Default)]
pub struct Body(Arc<Stored>);

#[derive(Debug, Default)]
struct Stored {
    segments: Vec<Segment>,
    /// Where each segment begins.
    starts: Vec<u64>,
    len: u64,
    on_disk: bool,
}

#[derive(Debug)]
enum Segment {
    Memory(Vec<u8>),
    /// Part of a memory segment of another body.
    Slice {
        of: Body,
        segment: usize,
        from: usize,
        len: usize,
    },
    File(FilePart),
}

#[derive(Clone, Debug)]
struct FilePart {
    file: Arc<File>,
    offset: u64,
    len: u64,
}

/// A run of octets of a body.
#[derive(Clone, Copy, Debug)]
pub enum Chunk<'a> {
    /// In memory.
    Memory(&'a [u8]),
    /// In a file: offset of the first octet, and how many.
    File(&'a File, u64, u64),
}

/// A replacement of some octets by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Where it begins.
    pub at: u64,
    /// Octets that go.
    pub remove: u64,
    /// Octets that come, in stored form.
    pub insert: Vec<u8>,
}

impl Body {
    /// A body held in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Body {
        Body::from_segments(vec![Segment::Memory(bytes)])
    }

    /// A body in part of a file.
    pub fn from_file(file: Arc<File>, offset: u64, len: u64) -> Body {
        Body::from_segments(vec![Segment::File(FilePart { file, offset, len })])
    }

    fn from_segments(segments: Vec<Segment>) -> Body {
        let mut len = 0;
        let starts = segments
            .iter()
            .map(|segment| {
                let start = len;
                len += segment.len();
                start
            })
            .collect();
        let on_disk = segments.iter().any(|s| matches!(s, Segment::File(_)));
        Body(Arc::new(Stored {
            segments,
            starts,
            len,
            on_disk,
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

    /// Whether any of it is in a file, so that reading blocks.
    pub fn on_disk(&self) -> bool {
        self.0.on_disk
    }

    /// All of it in order.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'_>> {
        self.0.segments.iter().map(|segment| match segment {
            Segment::File(part) => Chunk::File(&part.file, part.offset, part.len),
            _ => Chunk::Memory(segment.memory()),
        })
    }

    /// What is in memory; all of it unless [`Body::on_disk`].
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let segments = self.0.segments.iter();
        segments.map(Segment::memory).filter(|m| !m.is_empty())
    }

    /// Reads up to `buffer.len()` bytes from `at`, fewer at the end and where a piece ends. Blocks on
    /// disk; call it where that is allowed.
    ///
    /// # Errors
    /// The disk's.
    pub fn read_at(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        // the last segment that begins at or before `at`; empty ones before it hold nothing
        let number = self.0.starts.partition_point(|start| *start <= at);
        let Some((segment, start)) = number
            .checked_sub(1)
            .and_then(|n| Some((self.0.segments.get(n)?, self.0.starts.get(n)?)))
        else {
            return Ok(0);
        };
        let skip = at - start;
        if let Segment::File(part) = segment {
            let left = usize::try_from(part.len.saturating_sub(skip)).unwrap_or(usize::MAX);
            let (buffer, _) = buffer.split_at_mut(left.min(buffer.len()));
            return part.file.read_at(buffer, part.offset.saturating_add(skip));
        }
        let from = segment
            .memory()
            .get(usize::try_from(skip).unwrap_or(usize::MAX)..)
            .unwrap_or_default();
        let n = from.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), from.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    /// The same body with some octets replaced; what stays is shared, not copied. `splices` are in
    /// order and do not overlap; those that break this are left out.
    #[must_use]
    pub fn spliced(&self, splices: Vec<Splice>) -> Body {
        let mut segments = Vec::new();
        let mut at = 0;
        for splice in splices {
            let end = splice.at.saturating_add(splice.remove);
            if splice.at < at || end > self.len() {
                continue;
            }
            self.cut(at, splice.at, &mut segments);
            if !splice.insert.is_empty() {
                segments.push(Segment::Memory(splice.insert));
            }
            at = end;
        }
        self.cut(at, self.len(), &mut segments);
        Body::from_segments(segments)
    }

    /// Appends what stands between two offsets.
    fn cut(&self, from: u64, to: u64, out: &mut Vec<Segment>) {
        let first = self.0.starts.partition_point(|start| *start <= from);
        let pairs = self.0.segments.iter().zip(&self.0.starts).enumerate();
        for (number, (segment, start)) in pairs.skip(first.saturating_sub(1)) {
            if *start >= to {
                return;
            }
            let skip = from.saturating_sub(*start);
            let left = to.min(start + segment.len()).saturating_sub(start + skip);
            if left == 0 {
                continue;
            }
            out.push(match segment {
                Segment::File(part) => Segment::File(FilePart {
                    file: Arc::clone(&part.file),
                    offset: part.offset + skip,
                    len: left,
                }),
                // both fit: they are offsets into memory
                Segment::Memory(_) => Segment::Slice {
                    of: self.clone(),
                    segment: number,
                    from: usize::try_from(skip).unwrap_or(usize::MAX),
                    len: usize::try_from(left).unwrap_or_default(),
                },
                Segment::Slice {
                    of,
                    segment,
                    from: before,
                    ..
                } => Segment::Slice {
                    of: of.clone(),
                    segment: *segment,
                    from: before + usize::try_from(skip).unwrap_or(usize::MAX),
                    len: usize::try_from(left).unwrap_or_default(),
                },
            });
        }
    }
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Segment::File(part) => part.len,
            Segment::Slice { len, .. } => *len as u64,
            Segment::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Its octets; none of a file.
    fn memory(&self) -> &[u8] {
        match self {
            Segment::Memory(bytes) => bytes,
            Segment::File(_) => &[],
            Segment::Slice {
                of,
                segment,
                from,
                len,
            } => match of.0.segments.get(*segment) {
                Some(Segment::Memory(bytes)) => bytes
                    .get(*from..)
                    .and_then(|b| b.get(..*len))
                    .unwrap_or_default(),
                _ => &[],
            },
        }
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
            None => Body::from_segments(self.pieces.into_iter().map(Segment::Memory).collect()),
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
        assert_eq!(body.slices().collect::<Vec<_>>().concat(), data);
        let mut got = vec![0; 1000];
        assert_eq!(body.read_at(BODY_CHUNK as u64 - 10, &mut got).unwrap(), 10);
        assert_eq!(got[..10], data[BODY_CHUNK - 10..BODY_CHUNK]);
    }

    // covers TXN-16, PB-35
    #[test]
    fn splices_share_what_stays_and_read_the_same_from_memory_and_disk() {
        let data: Vec<u8> = (0..150_000u32).map(|i| (i % 251) as u8).collect();
        let mut writer = BodyWriter::default();
        writer.push(&data);
        let path = std::env::temp_dir().join(format!("splice_{}", std::process::id()));
        std::fs::write(&path, [b"before".as_slice(), &data, b"behind"].concat()).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let mut random = fastrand::Rng::with_seed(11);
        for body in [writer.finish(), Body::from_file(file, 6, data.len() as u64)] {
            let (mut body, mut expected) = (body, data.clone());
            for _ in 0..4 {
                let mut splices = Vec::new();
                let mut plain = Vec::new();
                let mut at = 0;
                for _ in 0..random.usize(..6) {
                    let from = random.usize(at..=expected.len());
                    let remove = random.usize(..=(expected.len() - from).min(70_000));
                    let insert = vec![b'!'; random.usize(..3)];
                    plain.extend_from_slice(&expected[at..from]);
                    plain.extend_from_slice(&insert);
                    at = from + remove;
                    splices.push(Splice {
                        at: from as u64,
                        remove: remove as u64,
                        insert,
                    });
                }
                plain.extend_from_slice(&expected[at..]);
                (body, expected) = (body.spliced(splices), plain);
                assert_eq!(body.len(), expected.len() as u64);
                let mut read = Vec::new();
                let mut buffer = vec![0; 5000];
                loop {
                    match body.read_at(read.len() as u64, &mut buffer).unwrap() {
                        0 => break,
                        n => read.extend_from_slice(&buffer[..n]),
                    }
                }
                assert!(read == expected);
            }
        }
        let small = Body::from_bytes(b"abc".to_vec());
        let wrong = Splice {
            at: 2,
            remove: 5,
            insert: b"x".to_vec(),
        };
        assert_eq!(small.spliced(vec![wrong]).len(), 3, "left out");
    }
}
