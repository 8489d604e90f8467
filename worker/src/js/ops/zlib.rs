//! Compression and its undoing, in pieces or as a whole.
//!
//! What one call may give is bounded: a small input can decompress to very much.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use brotli_decompressor::writer::DecompressorWriter;
use flate2::write::{DeflateEncoder, GzEncoder, MultiGzDecoder, ZlibEncoder};
use flate2::{Compression, Decompress, FlushDecompress, Status};
use rquickjs::{Class, Ctx, Exception, Object};

use super::op;
use crate::js::convert::Bytes;
use crate::js::host::Host;
use crate::js::opaque::Opaque;

/// Octets of input between two looks at how much has come out.
const STEP: usize = 4096;

/// Octets that the decompressor of zlib writes at a time.
const ROOM: usize = 64 << 10;

enum Work {
    Deflate(ZlibEncoder<Vec<u8>>),
    DeflateRaw(DeflateEncoder<Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
    Inflate(Inflater),
    Gunzip(MultiGzDecoder<Vec<u8>>),
    Brotli(Box<DecompressorWriter<Vec<u8>>>),
}

/// Deflated data (RFC 1951), or with a header (RFC 1950), that ends by itself.
struct Inflater {
    state: Decompress,
    out: Vec<u8>,
    ended: bool,
}

type Zip = Opaque<RefCell<Work>>;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let most = usize::try_from(host.limits.file).unwrap_or(usize::MAX);
    op!(
        ctx,
        field,
        "start",
        |ctx: Ctx<'js>, name: String, level: i32| {
            match Work::new(&name, level) {
                Some(work) => Class::instance(ctx, Opaque(RefCell::new(work))),
                None => Err(Exception::throw_message(&ctx, "no such compression")),
            }
        }
    );
    op!(
        ctx,
        field,
        "feed",
        move |ctx: Ctx<'js>, zip: Class<'js, Zip>, octets: Bytes| {
            let fed = zip.borrow().0.borrow_mut().feed(&octets.0, most);
            fed.map(Bytes).map_err(|e| thrown(&ctx, &e))
        }
    );
    op!(
        ctx,
        field,
        "flush",
        |ctx: Ctx<'js>, zip: Class<'js, Zip>| {
            let flushed = zip.borrow().0.borrow_mut().flush();
            flushed.map(Bytes).map_err(|e| thrown(&ctx, &e))
        }
    );
    op!(
        ctx,
        field,
        "finish",
        |ctx: Ctx<'js>, zip: Class<'js, Zip>| {
            let finished = zip.borrow().0.borrow_mut().finish();
            finished.map(Bytes).map_err(|e| thrown(&ctx, &e))
        }
    );
    op!(ctx, field, "crc32", |octets: Bytes, before: u32| {
        crc32(&octets.0, before)
    });
    Ok(())
}

/// The message is for the script to make Node's error of.
fn thrown(ctx: &Ctx<'_>, e: &io::Error) -> rquickjs::Error {
    let text = match e.kind() {
        io::ErrorKind::UnexpectedEof => "unexpected end of file".to_owned(),
        io::ErrorKind::FileTooLarge => "too large".to_owned(),
        _ => e.to_string(),
    };
    Exception::throw_message(ctx, &text)
}

impl Work {
    fn new(name: &str, level: i32) -> Option<Work> {
        let out = Vec::new();
        let level = match u32::try_from(level) {
            Ok(level) => Compression::new(level.min(9)),
            Err(_) => Compression::default(),
        };
        let inflate = |header| {
            Work::Inflate(Inflater {
                state: Decompress::new(header),
                out: Vec::new(),
                ended: false,
            })
        };
        Some(match name {
            "deflate" => Work::Deflate(ZlibEncoder::new(out, level)),
            "deflateRaw" => Work::DeflateRaw(DeflateEncoder::new(out, level)),
            "gzip" => Work::Gzip(
                flate2::GzBuilder::new()
                    .operating_system(3)
                    .write(out, level),
            ),
            "inflate" => inflate(true),
            "inflateRaw" => inflate(false),
            "gunzip" => Work::Gunzip(MultiGzDecoder::new(out)),
            "brotliDecompress" => Work::Brotli(Box::new(DecompressorWriter::new(out, ROOM))),
            _ => return None,
        })
    }

    fn feed(&mut self, input: &[u8], most: usize) -> io::Result<Vec<u8>> {
        for part in input.chunks(STEP) {
            match self {
                Work::Deflate(to) => to.write_all(part)?,
                Work::DeflateRaw(to) => to.write_all(part)?,
                Work::Gzip(to) => to.write_all(part)?,
                Work::Inflate(to) => to.feed(part, most)?,
                Work::Gunzip(to) => to.write_all(part)?,
                Work::Brotli(to) => to.write_all(part)?,
            }
            if self.out().len() > most {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(std::mem::take(self.out()))
    }

    fn flush(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Work::Deflate(to) => to.flush()?,
            Work::DeflateRaw(to) => to.flush()?,
            Work::Gzip(to) => to.flush()?,
            Work::Inflate(_) | Work::Gunzip(_) | Work::Brotli(_) => {}
        }
        Ok(std::mem::take(self.out()))
    }

    fn finish(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Work::Deflate(to) => to.try_finish()?,
            Work::DeflateRaw(to) => to.try_finish()?,
            Work::Gzip(to) => to.try_finish()?,
            Work::Inflate(to) if to.ended => {}
            Work::Inflate(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Work::Gunzip(to) => to
                .try_finish()
                .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?,
            Work::Brotli(to) => to
                .close()
                .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?,
        }
        Ok(std::mem::take(self.out()))
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Work::Deflate(to) => to.get_mut(),
            Work::DeflateRaw(to) => to.get_mut(),
            Work::Gzip(to) => to.get_mut(),
            Work::Inflate(to) => &mut to.out,
            Work::Gunzip(to) => to.get_mut(),
            Work::Brotli(to) => to.get_mut(),
        }
    }
}

impl Inflater {
    fn feed(&mut self, mut part: &[u8], most: usize) -> io::Result<()> {
        while !self.ended {
            self.out.reserve(ROOM);
            let (input, output) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress_vec(part, &mut self.out, FlushDecompress::None)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
            let taken = usize::try_from(self.state.total_in() - input).unwrap_or(part.len());
            part = part.get(taken..).unwrap_or_default();
            if self.out.len() > most {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            match status {
                Status::StreamEnd => self.ended = true,
                _ if taken == 0 && self.state.total_out() == output => break,
                _ => {}
            }
        }
        Ok(())
    }
}

/// With the polynomial of gzip (RFC 1952, section 8), going on from an earlier value.
fn crc32(octets: &[u8], before: u32) -> u32 {
    let mut crc = !before;
    for byte in octets {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = match crc & 1 {
                1 => crc >> 1 ^ 0xedb8_8320,
                _ => crc >> 1,
            };
        }
    }
    !crc
}
