//! The mail queue on disk: plain files in Haraka's names and format, safe against any crash.
//!
//! Owns the queue directory's content: what a name means, how a message gets there whole or not at
//! all, and what start-up does with every state a crash can leave (`docs/spool.md`). Blocking calls
//! only; knows nothing of SMTP, schedules or the event loop.

mod commit;
mod directory;
mod entry;
mod error;
mod list;
mod message;
mod name;
mod ownership;
mod pending;
mod reader;
mod recover;
mod remark;
mod shelf;
mod spares;
mod staging;
mod store;
mod stored;
mod suspensions;
mod todo;
mod update;

pub use directory::{FaultPoint, Step};
pub use entry::Entry;
pub use error::{ItemError, SpoolError};
pub use list::{Listed, Listing, QueueStat};
pub use message::{Body, BodyPiece, Committed, NewItem, NewMessage};
pub use name::{
    ASIDE_PREFIX, BODY_PREFIX, Form, Incarnation, NameRef, NewName, OwnerKey, ParsedName,
    QueueName, TEMP_PREFIX, escape_host,
};
pub use ownership::{Claim, Ownership};
pub use pending::{PENDING_LIMIT, PendingHeap};
pub use reader::{Others, QueueReader};
pub use recover::ScanReport;
pub use shelf::TrashReport;
pub use staging::{Import, Source};
pub use store::{Item, Lock, Reuse, Spool, SpoolOptions, StoredBody, SyncWay};
pub use stored::{HOLD_PREFIX, STAGED_PREFIX, StagedName, State, StoredName, TRASH_PREFIX};
pub use suspensions::{Suspended, Suspension, Suspensions, SuspensionsError};
pub use todo::{ParsedItem, Recipient, RecipientState, Todo, header_len, parse_item, write_header};

/// Deliveries that an operator has suspended; see [`Suspensions`].
pub const SUSPENDED_FILE: &str = ".suspended";

/// Which files an import that is being finished has read; see [`Import`].
pub const IMPORT_FILE: &str = ".import";

/// Longest JSON header, in bytes. A thousand recipients with notes need less than one; anything
/// longer is damage, and is refused before memory is taken for it.
pub const HEADER_MAX: u32 = 64 * 1024 * 1024;

/// Bytes of the length field in front of the header.
const LENGTH_FIELD: u64 = 4;

/// Bytes of the first read of an item: nearly always the whole header.
const FIRST_READ: usize = 8 * 1024;
