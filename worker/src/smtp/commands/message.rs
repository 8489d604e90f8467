//! Reading a message from 354 to the final dot: header to memory, body to memory or disk.
//!
//! The bytes are kept as they came, dot-stuffed; only line ends that are no CRLF are dealt with
//! (PB-01). A message that is too big is read to its end so that its rest is not taken for commands.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use haraka_shared::body::BodyWriter;
use haraka_shared::config::{BareNewline, SpoolAfter};
use haraka_shared::header::{Header, HeaderLimits, HeaderReader, Progress};
use haraka_shared::limits::SPOOL_WRITE;
use haraka_shared::log::Level;
use haraka_shared::log_conn;
use haraka_shared::reply::{Enhanced, Reply};
use haraka_shared::transaction::Transaction;

use crate::rt;
use crate::smtp::proto::data::{BareLineEnds, DataScanner, Violation};
use crate::smtp::session::Session;
use crate::smtp::wire::Lost;

/// What came.
pub(super) enum Received {
    /// A message; it is in the transaction.
    Whole,
    /// More bytes than allowed.
    TooBig,
    /// A message that cannot be taken, with the answer.
    Unusable(Reply),
}

/// Reads a message into the transaction.
pub(super) async fn receive(s: &mut Session, txn: &Transaction) -> Result<Received, Lost> {
    let config = &s.config.connection;
    let policy = match config.bare_newline {
        BareNewline::Convert => BareLineEnds::Convert,
        BareNewline::Reject => BareLineEnds::Reject,
    };
    let mut scanner = DataScanner::new(policy);
    let mut incoming = Incoming::new(config.max_bytes, config.max_header_lines);
    incoming.unwanted = txn.wishes.discard_data.get() && !txn.wishes.read_body();
    let spool = Spooling {
        after: config.spool_after,
        file: config.spool_dir.join(format!("{}.eml", txn.uuid)),
    };
    let mut disk_trouble = None;
    let end = s.data_time().map(|time| rt::now() + time);
    loop {
        if s.wire.buffered().is_empty() {
            s.wire.fill(end).await?;
        }
        let scan = scanner.scan(s.wire.buffered(), &mut |piece| incoming.push(piece));
        s.wire.consume(scan.consumed);
        if scan.done {
            incoming.end();
        }
        if disk_trouble.is_none() {
            disk_trouble = spool.relieve(&mut incoming.body, scan.done).await.err();
        }
        if disk_trouble.is_some() {
            // Read on without keeping anything: the answer has to wait for the final dot.
            incoming.body = BodyWriter::default();
        }
        if scan.done {
            break;
        }
    }
    // Haraka counts the final dot as well (LOG-12).
    txn.data_bytes.set(scanner.received());
    s.conn
        .total_bytes
        .set(s.conn.total_bytes.get() + scanner.received());
    if let Some(e) = disk_trouble {
        log_conn!(
            Level::Crit,
            s.conn,
            [],
            "message not spooled to {}: {e}",
            spool.file.display()
        );
        return Ok(Received::Unusable(Reply::new(
            452,
            "4.3.1 Insufficient system storage",
        )));
    }
    if let Some(violation) = scanner.violation() {
        return Ok(Received::Unusable(bare(violation)));
    }
    if incoming.too_big() {
        return Ok(Received::TooBig);
    }
    if incoming.header_too_large {
        return Ok(Received::Unusable(Reply::new(
            554,
            "5.6.0 Message header too large",
        )));
    }
    let Incoming { header, body, .. } = incoming;
    let Reading::Body(header) = header else {
        return Ok(Received::Unusable(Reply::new(
            451,
            "4.3.0 Internal Server Error",
        )));
    };
    if header.is_over_line_limit() {
        let most = s.config.connection.max_header_lines;
        log_conn!(
            Level::Warn,
            s.conn,
            [],
            "Incoming message reached maximum parsing limit of {most} header lines"
        );
    }
    *txn.header.borrow_mut() = header;
    *txn.body.borrow_mut() = body.finish();
    Ok(Received::Whole)
}

fn bare(violation: Violation) -> Reply {
    let what = match violation {
        Violation::CarriageReturn => "carriage return",
        Violation::LineFeed => "line feed",
    };
    let reply = Reply::new(550, format!("Message has a bare {what}"));
    match Enhanced::new(5, 6, 11) {
        Some(status) => reply.with_enhanced(status),
        None => reply,
    }
}

/// A message that is coming in.
struct Incoming {
    header: Reading,
    body: BodyWriter,
    header_too_large: bool,
    /// Nobody wants the body (TXN-12).
    unwanted: bool,
    bytes: u64,
    most: Option<u64>,
}

enum Reading {
    Header(HeaderReader),
    Body(Header),
}

impl Incoming {
    fn new(most: Option<u64>, lines: usize) -> Incoming {
        let limits = HeaderLimits {
            max_lines: lines,
            ..HeaderLimits::default()
        };
        Incoming {
            header: Reading::Header(HeaderReader::new(limits)),
            body: BodyWriter::default(),
            header_too_large: false,
            unwanted: false,
            bytes: 0,
            most,
        }
    }

    fn too_big(&self) -> bool {
        self.most.is_some_and(|most| self.bytes > most)
    }

    fn push(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        if self.too_big() {
            return;
        }
        let Reading::Header(reader) = &mut self.header else {
            return self.keep(piece);
        };
        let progress = reader.push(piece);
        if progress == Progress::NeedMore {
            return;
        }
        let reading = std::mem::replace(&mut self.header, Reading::Body(Header::new()));
        let Reading::Header(reader) = reading else {
            return;
        };
        if let Progress::Ended { consumed } = progress {
            self.header = Reading::Body(reader.into_header());
            return self.keep(piece.get(consumed..).unwrap_or_default());
        }
        let (header, rest) = reader.finish();
        self.header_too_large = rest.is_empty();
        self.header = Reading::Body(header);
        self.keep(&rest);
    }

    fn keep(&mut self, piece: &[u8]) {
        if !self.unwanted {
            self.body.push(piece);
        }
    }

    /// No more comes: a header that no empty line ended gives back what is body (TXN-06).
    fn end(&mut self) {
        let reading = std::mem::replace(&mut self.header, Reading::Body(Header::new()));
        self.header = Reading::Body(match reading {
            Reading::Body(header) => header,
            Reading::Header(reader) => {
                let (header, rest) = reader.finish();
                self.body.push(&rest);
                header
            }
        });
    }
}

/// When and where a body goes to disk (KEY-13, KEY-14).
struct Spooling {
    after: SpoolAfter,
    file: PathBuf,
}

impl Spooling {
    /// Moves what is held in memory to disk, if there is enough of it.
    async fn relieve(&self, body: &mut BodyWriter, last: bool) -> std::io::Result<()> {
        if !body.on_disk() {
            let over = match self.after {
                SpoolAfter::Never => false,
                SpoolAfter::Always => true,
                SpoolAfter::Bytes(limit) => body.len() > limit,
            };
            if !over {
                return Ok(());
            }
            let path = self.file.clone();
            body.spool_to(offloaded(move || private_file(&path)).await?);
        }
        if body.held() < SPOOL_WRITE && !last {
            return Ok(());
        }
        let Some((mut file, pieces)) = body.take_held() else {
            return Err(std::io::Error::other(
                "no descriptor left for the spool file",
            ));
        };
        offloaded(move || pieces.iter().try_for_each(|p| file.write_all(p))).await
    }
}

/// A file that only this process sees: its name is gone at once, so no crash leaves it behind.
fn private_file(path: &std::path::Path) -> std::io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

async fn offloaded<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match rt::offload(work).await {
        Ok(done) => done,
        Err(e) => Err(std::io::Error::other(e.to_string())),
    }
}
