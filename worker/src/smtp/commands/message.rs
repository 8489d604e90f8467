//! Reading a message from 354 to the final dot: header to memory, body to memory or disk. BDAT fills
//! the same store (`bdat.rs`).
//!
//! The bytes are kept as they came, dot-stuffed; only line ends that are no CRLF are dealt with
//! (PB-01). A message that is too big is read to its end so that its rest is not taken for commands.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use haraka_shared::body::BodyWriter;
use haraka_shared::config::{BareNewline, ConnectionIni, SpoolAfter};
use haraka_shared::connection::Connection;
use haraka_shared::header::{Header, HeaderLimits, HeaderReader, Progress};
use haraka_shared::limits::SPOOL_WRITE;
use haraka_shared::log::{self, Level};
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
    let mut scanner = DataScanner::new(policy(config));
    let mut incoming = Incoming::new(config, txn);
    let mut lines = DataLines::default();
    let end = s.data_time().map(|time| rt::now() + time);
    loop {
        if s.wire.buffered().is_empty() {
            s.wire.fill(end).await?;
        }
        let scan = scanner.scan(s.wire.buffered(), &mut |piece| incoming.push(piece));
        let taken = s.wire.buffered().get(..scan.consumed).unwrap_or_default();
        lines.log(&s.conn, taken);
        s.wire.consume(scan.consumed);
        if scan.done {
            incoming.end();
        }
        incoming.relieve(scan.done).await;
        if scan.done {
            break;
        }
    }
    // Haraka counts the final dot as well (LOG-12).
    count_octets(s, txn, scanner.received());
    match incoming.objection(s, scanner.violation()) {
        Some(objection) => Ok(objection),
        None => Ok(incoming.finish(s, txn)),
    }
}

/// What becomes of lone line ends.
pub(super) fn policy(config: &ConnectionIni) -> BareLineEnds {
    match config.bare_newline {
        BareNewline::Convert => BareLineEnds::Convert,
        BareNewline::Reject => BareLineEnds::Reject,
    }
}

/// Octets of a message that have come.
pub(super) fn count_octets(s: &Session, txn: &Transaction, octets: u64) {
    txn.data_bytes.set(txn.data_bytes.get() + octets);
    s.conn.total_bytes.set(s.conn.total_bytes.get() + octets);
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

/// Message data in the log, line by line (LOG-16).
#[derive(Default)]
pub(super) struct DataLines {
    begun: Vec<u8>,
}

impl DataLines {
    /// Logs what has come, if the log is to show it.
    pub(super) fn log(&mut self, conn: &Connection, piece: &[u8]) {
        if !log::enabled(Level::Data) {
            return;
        }
        for line in piece.split_inclusive(|b| *b == b'\n') {
            self.begun.extend_from_slice(line);
            if line.ends_with(b"\n") || self.begun.len() >= LONGEST_LOGGED {
                log_conn!(
                    Level::Data,
                    conn,
                    [],
                    "C: {}",
                    String::from_utf8_lossy(&self.begun)
                );
                self.begun.clear();
            }
        }
    }
}

/// A longer line of data is logged in parts.
const LONGEST_LOGGED: usize = 64 * 1024;

/// A message that is coming in.
pub(crate) struct Incoming {
    header: Reading,
    body: BodyWriter,
    header_too_large: bool,
    /// Nobody wants the body (TXN-12).
    unwanted: bool,
    bytes: u64,
    most: Option<u64>,
    spool: Spooling,
    disk_trouble: Option<std::io::Error>,
}

enum Reading {
    Header(HeaderReader),
    Body(Header),
}

impl Incoming {
    pub(super) fn new(config: &ConnectionIni, txn: &Transaction) -> Incoming {
        let limits = HeaderLimits {
            max_lines: config.max_header_lines,
            ..HeaderLimits::default()
        };
        Incoming {
            header: Reading::Header(HeaderReader::new(limits)),
            body: BodyWriter::default(),
            header_too_large: false,
            unwanted: txn.wishes.discard_data.get() && !txn.wishes.read_body(),
            bytes: 0,
            most: config.max_bytes,
            spool: Spooling {
                after: config.spool_after,
                file: config.spool_dir.join(format!("{}.eml", txn.uuid)),
            },
            disk_trouble: None,
        }
    }

    /// Moves what is held in memory to disk, if there is enough of it; with `last`, all that goes
    /// there at all.
    pub(super) async fn relieve(&mut self, last: bool) {
        if self.disk_trouble.is_none() {
            self.disk_trouble = self.spool.relieve(&mut self.body, last).await.err();
        }
        if self.disk_trouble.is_some() {
            // Read on without keeping anything: the answer has to wait for the end.
            self.body = BodyWriter::default();
        }
    }

    /// Why the message cannot be taken, as far as it has come.
    pub(super) fn objection(&self, s: &Session, violation: Option<Violation>) -> Option<Received> {
        if let Some(e) = &self.disk_trouble {
            log_conn!(
                Level::Crit,
                s.conn,
                [],
                "message not spooled to {}: {e}",
                self.spool.file.display()
            );
            let reply = Reply::new(452, "4.3.1 Insufficient system storage");
            return Some(Received::Unusable(reply));
        }
        if let Some(violation) = violation {
            return Some(Received::Unusable(bare(violation)));
        }
        if self.too_big() {
            return Some(Received::TooBig);
        }
        if self.header_too_large {
            let reply = Reply::new(554, "5.6.0 Message header too large");
            return Some(Received::Unusable(reply));
        }
        None
    }

    /// Puts the complete message into the transaction.
    pub(super) fn finish(self, s: &Session, txn: &Transaction) -> Received {
        let Incoming { header, body, .. } = self;
        let Reading::Body(mut header) = header else {
            return Received::Unusable(Reply::new(451, "4.3.0 Internal Server Error"));
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
        lead_with(&mut header, &txn.header.borrow());
        *txn.header.borrow_mut() = header;
        *txn.body.borrow_mut() = body.finish();
        Received::Whole
    }

    fn too_big(&self) -> bool {
        self.most.is_some_and(|most| self.bytes > most)
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
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
    pub(super) fn end(&mut self) {
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

/// Fields that plugins added before the message came stand before its own.
fn lead_with(header: &mut Header, early: &Header) {
    let fields: Vec<_> = early.fields().collect();
    for field in fields.into_iter().rev() {
        if let Some(name) = field.name() {
            header.add_raw(&String::from_utf8_lossy(name), field.value());
        }
    }
}
