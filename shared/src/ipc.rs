//! What master and workers say to each other, and how it is put into bytes.
//!
//! [`ToWorker`] and [`ToMaster`] are the whole protocol. A frame is a `u32` length in network order,
//! then that many bytes of bincode; the length is checked before memory is taken for it. The first
//! frame each way is `Hello`. This module turns values into bytes and back, and never touches a
//! descriptor: see `docs/adr/0005-ipc-frames.md`. Changing an enum means raising [`PROTOCOL`] and
//! rewriting the golden samples in `shared/tests/ipc/`.

use std::fmt;
use std::marker::PhantomData;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::queue_order::{Order, Outcome};
use crate::usage::Usage;

/// Version of the protocol. Both sides come from one executable, so a difference means that a
/// worker was left behind by an upgrade.
pub const PROTOCOL: u32 = 5;

/// Which build of the program speaks; shown in the log when versions differ.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");

/// Largest frame without its length, in bytes. An ownership table of fifty thousand dead workers
/// fits; anything larger is an error on the other side.
pub const MAX_FRAME: usize = 1024 * 1024;

/// Bytes of the length in front of each frame.
const LENGTH: usize = 4;

/// From the master to one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// First frame.
    Hello {
        /// [`PROTOCOL`] of the sender.
        protocol: u32,
        /// [`BUILD`] of the sender.
        build: String,
    },
    /// The receiver now owns its share of the queue and starts to deliver it. Until then it
    /// delivers only what it accepted itself.
    OwnQueue {
        /// Number of slots, at least 1. A file of an unknown incarnation belongs to the slot that
        /// its name hashes to.
        nodes: u32,
        /// The receiver's slot, from 0.
        slot: u32,
        /// Every incarnation of this generation, living and dead, with the slot that owns the
        /// files that it wrote. An incarnation is the six characters of its file names.
        incarnations: Vec<(String, u32)>,
    },
    /// Try deferred messages now, all or those for one domain.
    Flush {
        /// Lower case; `None` for all.
        domain: Option<String>,
    },
    /// Accept nothing more; finish open sessions and deliveries, say `Drained`, and exit.
    Drain {
        /// Time for that in milliseconds; the master sends `Stop` when it is over.
        deadline_ms: u64,
    },
    /// Stop at once but cleanly: clients get 421, commits in progress finish.
    Stop,
    /// Write the log to the descriptor that arrives with the first byte of this frame.
    ReopenLog,
    /// Answer with `Stats`.
    QueueStats {
        /// Comes back in the answer.
        request: u64,
    },
    /// Answer with `Usage`.
    Usage {
        /// Comes back in the answer.
        request: u64,
    },
    /// Do this with the items that are the receiver's, and answer with `OrderDone`.
    Order {
        /// Comes back in the answer.
        request: u64,
        /// What, with which.
        order: Order,
    },
    /// The file of suspensions in the queue directory has changed.
    Suspensions,
    /// Make TLS tickets with the first of these keys from now on, and read those of all.
    TicketKeys {
        /// The present key, then those before it.
        keys: Vec<TicketKey>,
    },
}

/// A key that TLS tickets are made with. The master makes it; it stays in memory and is never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKey {
    /// What a ticket names it by.
    pub id: [u8; 16],
    /// The key itself.
    pub secret: [u8; 32],
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey")
    }
}

/// From one worker to the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToMaster {
    /// First frame.
    Hello {
        /// [`PROTOCOL`] of the sender.
        protocol: u32,
        /// [`BUILD`] of the sender.
        build: String,
    },
    /// Plugins are loaded and connections are accepted.
    Ready {
        /// Process number.
        pid: u32,
    },
    /// The worker cannot start and exits.
    Failed {
        /// One line for the operator.
        reason: String,
    },
    /// Answer to `QueueStats`.
    Stats {
        /// As asked.
        request: u64,
        /// Deliveries under way.
        in_progress: u64,
        /// Messages that wait for a free delivery.
        pending_delivery: u64,
        /// Messages that wait for their time.
        deferred: u64,
    },
    /// Answer to `Usage` of the master.
    Usage {
        /// As asked.
        request: u64,
        /// The limits per destination that the sender knows to be in use.
        rows: Vec<Usage>,
    },
    /// Answer to `Order`.
    OrderDone {
        /// As asked.
        request: u64,
        /// For each name that was the sender's, its place in the order and what became of it.
        outcomes: Vec<(u32, Outcome)>,
    },
    /// After `Drain`: nothing is left, the worker exits.
    Drained,
    /// A local client asked on an SMTP port for deferred mail to be tried (`INTERNALCMD`).
    FlushQueue {
        /// Lower case; `None` for all.
        domain: Option<String>,
    },
    /// A local client asked on an SMTP port for a graceful restart (`INTERNALCMD`).
    GracefulRestart,
    /// The worker serves, but not for long: it wants to be drained once another one serves in its place.
    Successor,
}

impl ToWorker {
    /// The first frame.
    #[must_use]
    pub fn hello() -> ToWorker {
        ToWorker::Hello {
            protocol: PROTOCOL,
            build: BUILD.to_owned(),
        }
    }
}

impl ToMaster {
    /// The first frame.
    #[must_use]
    pub fn hello() -> ToMaster {
        ToMaster::Hello {
            protocol: PROTOCOL,
            build: BUILD.to_owned(),
        }
    }
}

/// What is wrong with a frame. None of these can be recovered from: the channel is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpcError {
    /// The length in front is above [`MAX_FRAME`], or the value to encode is.
    #[error("frame of {0} bytes, at most {MAX_FRAME} are allowed")]
    TooLong(usize),
    /// The bytes are no value of the expected type.
    #[error("malformed frame: {0}")]
    Malformed(String),
    /// The value ends before its frame does.
    #[error("{0} bytes after the end of the value")]
    Trailing(usize),
    /// The other side is of another version.
    #[error("protocol {theirs} of build {build}, expected {PROTOCOL}")]
    Version {
        /// Its version.
        theirs: u32,
        /// Its build.
        build: String,
    },
    /// Something came before `Hello`, or `Hello` came twice.
    #[error("Hello expected as the first frame and only there")]
    Greeting,
}

/// Fails unless `protocol` is ours.
pub fn check_version(protocol: u32, build: &str) -> Result<(), IpcError> {
    if protocol == PROTOCOL {
        return Ok(());
    }
    Err(IpcError::Version {
        theirs: protocol,
        build: build.to_owned(),
    })
}

/// One frame, with its length in front.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, IpcError> {
    let body = bincode::serde::encode_to_vec(value, format())
        .map_err(|e| IpcError::Malformed(e.to_string()))?;
    if body.len() > MAX_FRAME {
        return Err(IpcError::TooLong(body.len()));
    }
    let length = u32::try_from(body.len()).map_err(|_| IpcError::TooLong(body.len()))?;
    let mut frame = Vec::with_capacity(LENGTH + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Collects bytes and gives whole values. Holds at most one frame and what was pushed with its end,
/// provided that [`Decoder::next`] is called until it gives `None` after each push.
#[derive(Debug)]
pub struct Decoder<T> {
    held: Vec<u8>,
    /// Bytes at the front of `held` that were given out already.
    used: usize,
    /// Set by the first error; nothing after it can be trusted.
    failed: Option<IpcError>,
    kind: PhantomData<fn() -> T>,
}

impl<T> Default for Decoder<T> {
    fn default() -> Self {
        Decoder {
            held: Vec::new(),
            used: 0,
            failed: None,
            kind: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Decoder<T> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Decoder<T> {
        Decoder::default()
    }

    /// Takes bytes as they arrived. After an error they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.used > 0 {
            self.held.drain(..self.used);
            self.used = 0;
        }
        self.held.extend_from_slice(bytes);
    }

    /// The next value, or `None` if its bytes are not complete. The same error comes again on each
    /// call once there was one.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator could not report errors and go on"
    )]
    pub fn next(&mut self) -> Result<Option<T>, IpcError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        self.take().inspect_err(|e| {
            self.failed = Some(e.clone());
            self.held = Vec::new();
            self.used = 0;
        })
    }

    fn take(&mut self) -> Result<Option<T>, IpcError> {
        let rest = self.held.get(self.used..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(IpcError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let (value, read) = bincode::serde::decode_from_slice::<T, _>(body, format())
            .map_err(|e| IpcError::Malformed(e.to_string()))?;
        if read != length {
            return Err(IpcError::Trailing(length - read));
        }
        self.used += LENGTH + length;
        if self.used == self.held.len() {
            self.held.clear();
            self.used = 0;
        }
        Ok(Some(value))
    }
}

/// bincode's standard form, told to refuse lengths beyond a frame before it takes memory for them.
fn format() -> Configuration<LittleEndian, Varint, Limit<MAX_FRAME>> {
    bincode::config::standard().with_limit::<MAX_FRAME>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(bytes: &[u8], step: usize) -> Vec<ToWorker> {
        let mut decoder = Decoder::new();
        let mut out = Vec::new();
        for piece in bytes.chunks(step) {
            decoder.push(piece);
            while let Some(value) = decoder.next().unwrap() {
                out.push(value);
            }
        }
        out
    }

    fn samples() -> Vec<ToWorker> {
        vec![
            ToWorker::hello(),
            ToWorker::OwnQueue {
                nodes: 2,
                slot: 1,
                incarnations: vec![("aB3dEf".to_owned(), 0), ("Zz9yXw".to_owned(), 1)],
            },
            ToWorker::Flush { domain: None },
            ToWorker::Stop,
        ]
    }

    // covers PRC-22
    #[test]
    fn frames_survive_any_cut() {
        let bytes: Vec<u8> = samples().iter().flat_map(|s| encode(s).unwrap()).collect();
        for step in 1..=bytes.len() {
            assert_eq!(decode_all(&bytes, step), samples(), "pieces of {step}");
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_bytes_arrive() {
        let mut decoder = Decoder::<ToWorker>::new();
        decoder.push(&u32::try_from(MAX_FRAME + 1).unwrap().to_be_bytes());
        assert_eq!(decoder.next(), Err(IpcError::TooLong(MAX_FRAME + 1)));
        // Nothing is taken after an error, and the error stays.
        decoder.push(&encode(&ToWorker::Stop).unwrap());
        assert_eq!(decoder.next(), Err(IpcError::TooLong(MAX_FRAME + 1)));
        assert_eq!(decoder.held.capacity(), 0);
    }

    #[test]
    fn bytes_after_the_value_are_an_error() {
        let mut frame = encode(&ToWorker::Stop).unwrap();
        frame.push(0);
        frame[3] += 1;
        let mut decoder = Decoder::<ToWorker>::new();
        decoder.push(&frame);
        assert_eq!(decoder.next(), Err(IpcError::Trailing(1)));
    }

    #[test]
    fn a_string_that_claims_more_than_its_frame_takes_no_memory() {
        // Flush { domain: Some(<2^60 bytes>) }
        let body = [2u8, 1, 253, 0, 0, 0, 0, 0, 0, 0, 16];
        let mut decoder = Decoder::<ToWorker>::new();
        decoder.push(&u32::try_from(body.len()).unwrap().to_be_bytes());
        decoder.push(&body);
        assert!(matches!(decoder.next(), Err(IpcError::Malformed(_))));
    }

    #[test]
    fn an_unknown_kind_and_an_empty_frame_are_errors() {
        for body in [&[200u8][..], &[]] {
            let mut decoder = Decoder::<ToMaster>::new();
            decoder.push(&u32::try_from(body.len()).unwrap().to_be_bytes());
            decoder.push(body);
            assert!(
                matches!(decoder.next(), Err(IpcError::Malformed(_))),
                "{body:?}"
            );
        }
    }

    #[test]
    fn a_value_larger_than_a_frame_is_not_encoded() {
        let flush = ToWorker::Flush {
            domain: Some("x".repeat(MAX_FRAME)),
        };
        assert!(matches!(
            encode(&flush),
            Err(IpcError::TooLong(_) | IpcError::Malformed(_))
        ));
    }

    #[test]
    fn another_version_is_refused_with_its_name() {
        assert_eq!(check_version(PROTOCOL, BUILD), Ok(()));
        let refused = check_version(PROTOCOL + 1, "9.9").unwrap_err();
        assert_eq!(refused.to_string(), "protocol 6 of build 9.9, expected 5");
    }
}
