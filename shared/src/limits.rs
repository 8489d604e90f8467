//! Every cap that is not a setting, with the reason for its value.
//!
//! Caps that an operator may change are settings; see `config`.

/// Bytes read from a socket at once: a few full TCP segments, small enough for a pool of buffers.
pub const READ_BUFFER: usize = 16 * 1024;

/// Largest piece of a message body held in one allocation, so that growing never copies much.
pub const BODY_CHUNK: usize = 64 * 1024;

/// Bytes gathered before a body that lives on disk is written on: few system calls, little memory.
pub const SPOOL_WRITE: usize = 256 * 1024;

/// ESMTP parameters on one MAIL or RCPT; RFC-registered ones number fewer than twenty.
pub const ESMTP_PARAMS: usize = 32;

/// Largest header block that is taken apart; Haraka's own limit for a stored block is 1 MiB.
pub const HEADER_BLOCK: usize = 1024 * 1024;

/// Client addresses whose names a worker remembers.
pub const PTR_CACHE: usize = 4096;

/// Messages that one round of fsyncs commits; more would make the first of them wait too long.
pub const COMMIT_BATCH: u64 = 256;

/// Bytes of message bodies that one round of fsyncs takes on.
pub const COMMIT_BATCH_BYTES: u64 = 64 * 1024 * 1024;

/// Seconds that a queue hook whose time is up is waited for while its message is being stored. Clients
/// wait ten minutes for the reply to the final dot (RFC 5321 §4.5.3.2.6), of which the hooks before it
/// have had their share.
pub const STORING_PATIENCE: u64 = 240;
