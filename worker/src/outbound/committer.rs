//! Group commit: messages that arrive while the disk is busy share the next round of fsyncs.
//!
//! One batch is on its way at a time; the rest gathers. With one client that is one fsync a message,
//! with a hundred it is one for all of them, and nobody waits for a timer.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use haraka_shared::limits::{COMMIT_BATCH, COMMIT_BATCH_BYTES};
use haraka_shared::spool::{Committed, NewMessage, Spool, SpoolError};

use crate::rt;
use crate::rt::sync::oneshot;

type Answer = oneshot::Sender<Result<Committed, CommitError>>;

/// Why a message is not on disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// The disk or its file system.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The thread that writes is gone.
    #[error("the thread that writes the queue failed")]
    Thread,
}

/// Collects messages and commits them in batches.
#[derive(Clone)]
pub(crate) struct Committer(Rc<State>);

struct State {
    spool: Arc<Spool>,
    gathered: RefCell<VecDeque<(NewMessage, Answer)>>,
    busy: Cell<bool>,
}

impl Committer {
    pub(crate) fn new(spool: Arc<Spool>) -> Committer {
        Committer(Rc::new(State {
            spool,
            gathered: RefCell::default(),
            busy: Cell::new(false),
        }))
    }

    /// Stores a message. When this resolves with `Ok`, data and names are on disk. Dropping the
    /// future does not take the message back.
    pub(crate) async fn commit(&self, message: NewMessage) -> Result<Committed, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.0.gathered.borrow_mut().push_back((message, answer));
        if !self.0.busy.replace(true) {
            rt::spawn(self.clone().write()).detach();
        }
        answered.await.unwrap_or(Err(CommitError::Thread))
    }

    /// Whether anything is being written or waits for it.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.busy.get()
    }

    async fn write(self) {
        let state = &self.0;
        loop {
            let (messages, answers) = state.next_batch();
            if messages.is_empty() {
                state.busy.set(false);
                return;
            }
            let spool = Arc::clone(&state.spool);
            let done = rt::offload(move || spool.commit(messages)).await;
            match done {
                Ok(results) => {
                    for (answer, result) in answers.into_iter().zip(results) {
                        // A session that is gone does not want to know; its message stays queued.
                        drop(answer.send(result.map_err(CommitError::from)));
                    }
                }
                Err(_) => {
                    for answer in answers {
                        drop(answer.send(Err(CommitError::Thread)));
                    }
                }
            }
        }
    }
}

impl State {
    fn next_batch(&self) -> (Vec<NewMessage>, Vec<Answer>) {
        let mut gathered = self.gathered.borrow_mut();
        let (mut messages, mut answers) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        while messages.len() < COMMIT_BATCH && bytes < COMMIT_BATCH_BYTES {
            let Some((message, answer)) = gathered.pop_front() else {
                break;
            };
            bytes += usize::try_from(message.body.len()).unwrap_or(usize::MAX / 2);
            messages.push(message);
            answers.push(answer);
        }
        (messages, answers)
    }
}
