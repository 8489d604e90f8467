//! Readiness of descriptors: `mio::Poll`, the slots behind its tokens, and who waits.
//!
//! A descriptor gets a slot when its handle is made, and is registered with the kernel
//! (edge-triggered) only when somebody first has to wait for it: for reading at first, for writing
//! too once a write would have blocked. A refused client is thus greeted and closed without one
//! `epoll_ctl`, and no connection pays for a "writable" event that nobody waits for.
//!
//! Readiness, once reported, is remembered until an operation proves it gone. A token carries the
//! slot's generation, so an event for a closed descriptor (one may linger while a forked child
//! still holds a duplicate) hits nothing. All events of a turn are handed out before any task
//! runs, hence a slot can be freed as soon as its handle is dropped.

use std::cell::{Cell, RefCell};
use std::io;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use slab::Slab;

use super::executor::{with_core, without_runtime};

/// What a task can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
    /// The peer will send no more (it closed, or shut down its sending side).
    PeerClosed,
}

/// A handle's claim on one slot of this thread's reactor; frees the slot when dropped.
#[derive(Debug)]
pub(super) struct Registration {
    key: u32,
    generation: u32,
    /// A slot belongs to the reactor of one thread.
    not_send: PhantomData<*const ()>,
}

impl Registration {
    /// Takes a slot. `writable`: whether a write may be tried before any event was seen.
    pub(super) fn new(writable: bool) -> io::Result<Registration> {
        with_core(|core| core.reactor.open(writable)).unwrap_or_else(without_runtime)
    }

    /// Waits until `fd` is ready. Counts against the task's budget of this turn, so that a task
    /// whose peer never lets it wait still lets the others run.
    pub(super) fn poll_ready(
        &self,
        fd: RawFd,
        what: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        with_core(|core| {
            if !core.spend(1) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            core.reactor.poll_ready(self, fd, what, cx)
        })
        .unwrap_or_else(|| Poll::Ready(without_runtime()))
    }

    /// Registers for both directions at once, for a socket that is being connected.
    pub(super) fn arm_both(&self, fd: RawFd) -> io::Result<()> {
        with_core(|core| core.reactor.arm_both(self, fd)).unwrap_or_else(without_runtime)
    }

    /// Whether an operation is worth a system call: it is known to be ready, or nothing is known
    /// because the descriptor is not registered for it yet.
    pub(super) fn may_try(&self, what: Direction) -> bool {
        with_core(|core| {
            core.reactor
                .with_slot(self, |s| s.is_ready(what) || !s.armed.covers(what))
        })
        .flatten()
        .unwrap_or(true)
    }

    /// The last operation would have blocked: wait for an event before the next.
    pub(super) fn clear(&self, what: Direction) {
        with_core(|core| core.reactor.with_slot(self, |s| s.ready &= !what.bit()));
    }

    /// The last read or write moved fewer bytes than it was offered, so the next would block
    /// (epoll(7), question 9) unless the end of the stream is already known to wait there.
    pub(super) fn clear_after_short(&self, what: Direction) {
        with_core(|core| {
            core.reactor.with_slot(self, |s| {
                if s.ready & what.closed_bit() == 0 {
                    s.ready &= !what.bit();
                }
            })
        });
    }

    /// Whether an event has said that the peer will send no more.
    pub(super) fn peer_closed(&self) -> bool {
        with_core(|core| {
            core.reactor
                .with_slot(self, |s| s.is_ready(Direction::PeerClosed))
        })
        .flatten()
        .unwrap_or(false)
    }

    /// Takes `fd` out of the kernel's set. Only needed where another process holds the same open
    /// file (inherited listeners, socket pairs): closing the last descriptor does it by itself.
    pub(super) fn deregister(&self, fd: RawFd) {
        with_core(|core| core.reactor.deregister(self, fd));
    }

    fn token(&self) -> Token {
        Token((self.generation as usize) << KEY_BITS | self.key as usize)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let slot = with_core(|core| core.reactor.close(self)).flatten();
        drop(slot);
    }
}

/// The runtime's side: one `Poll`, made after the fork, and the slots.
pub(super) struct Reactor {
    poll: RefCell<mio::Poll>,
    events: RefCell<Events>,
    slots: RefCell<Slab<Slot>>,
}

impl Reactor {
    pub(super) fn new() -> io::Result<Reactor> {
        Ok(Reactor {
            poll: RefCell::new(mio::Poll::new()?),
            events: RefCell::new(Events::with_capacity(EVENTS_PER_TURN)),
            slots: RefCell::new(Slab::new()),
        })
    }

    /// A bell that other threads can ring to end [`Reactor::wait`].
    pub(super) fn bell(&self) -> io::Result<mio::Waker> {
        mio::Waker::new(self.poll.borrow().registry(), BELL)
    }

    /// Waits for events, at most for `limit`; see [`Reactor::wake_ready`] for what they bring.
    /// An interruption by a signal counts as no event.
    pub(super) fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        let mut events = self.events.borrow_mut();
        match self.poll.borrow_mut().poll(&mut events, limit) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => events.clear(),
            Err(e) => return Err(e),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Wakes the tasks for which the last [`Reactor::wait`] brought something. Returns whether
    /// there was any event.
    pub(super) fn wake_ready(&self) -> bool {
        let events = self.events.borrow();
        for event in events.iter().filter(|e| e.token() != BELL) {
            // No borrow of the slots is held while foreign wakers run.
            let (reader, writer) = self.note(event);
            if let Some(waker) = reader {
                waker.wake();
            }
            if let Some(waker) = writer {
                waker.wake();
            }
        }
        !events.is_empty()
    }

    fn note(&self, event: &mio::event::Event) -> (Option<Waker>, Option<Waker>) {
        let mut bits = 0;
        if event.is_readable() || event.is_error() {
            bits |= READABLE;
        }
        if event.is_read_closed() {
            bits |= READABLE | READ_CLOSED;
        }
        if event.is_writable() || event.is_error() {
            bits |= WRITABLE;
        }
        if event.is_write_closed() {
            bits |= WRITABLE | WRITE_CLOSED;
        }
        self.mark(event.token(), bits)
    }

    /// Sets readiness on the slot that `token` names, if that slot is still the same one.
    fn mark(&self, token: Token, bits: u8) -> (Option<Waker>, Option<Waker>) {
        let generation = token.0 >> KEY_BITS;
        let mut slots = self.slots.borrow_mut();
        match slots.get_mut(token.0 & KEY_MASK) {
            Some(slot) if slot.generation as usize == generation => {
                slot.ready |= bits;
                let reader = (bits & (READABLE | READ_CLOSED) != 0).then(|| slot.reader.take());
                let writer = (bits & WRITABLE != 0).then(|| slot.writer.take());
                (reader.flatten(), writer.flatten())
            }
            _ => (None, None),
        }
    }

    fn open(&self, writable: bool) -> io::Result<Registration> {
        let generation = GENERATION.with(|g| {
            let next = g.get().wrapping_add(1) & GENERATION_MASK;
            g.set(next);
            next
        });
        let mut slots = self.slots.borrow_mut();
        let key = slots.vacant_key();
        if key > KEY_MAX {
            return Err(io::Error::other("too many open descriptors"));
        }
        slots.insert(Slot {
            reader: None,
            writer: None,
            generation,
            ready: if writable { WRITABLE } else { 0 },
            armed: Armed::No,
        });
        Ok(Registration {
            key: key as u32,
            generation,
            not_send: PhantomData,
        })
    }

    fn close(&self, registration: &Registration) -> Option<Slot> {
        self.with_slot(registration, |_| ())?;
        self.slots
            .borrow_mut()
            .try_remove(registration.key as usize)
    }

    fn poll_ready(
        &self,
        registration: &Registration,
        fd: RawFd,
        what: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let waited = self.with_slot(registration, |slot| {
            if slot.is_ready(what) {
                return Ok(Waited::Ready);
            }
            if !slot.armed.covers(what) {
                let wanted = match what {
                    Direction::Write => Armed::Both,
                    _ => Armed::Read,
                };
                self.arm(slot, registration.token(), fd, wanted)?;
            }
            let place = slot.waiting(what);
            Ok(Waited::Pending(match place {
                Some(waker) if waker.will_wake(cx.waker()) => None,
                place => place.replace(cx.waker().clone()),
            }))
        });
        match waited {
            Some(Ok(Waited::Ready)) => Poll::Ready(Ok(())),
            Some(Ok(Waited::Pending(replaced))) => {
                drop(replaced);
                Poll::Pending
            }
            Some(Err(e)) => Poll::Ready(Err(e)),
            None => Poll::Ready(without_runtime()),
        }
    }

    fn arm_both(&self, registration: &Registration, fd: RawFd) -> io::Result<()> {
        self.with_slot(registration, |slot| {
            self.arm(slot, registration.token(), fd, Armed::Both)
        })
        .unwrap_or_else(without_runtime)
    }

    /// Changing a registration makes the kernel report again what is ready at that moment, so no
    /// edge that came before is lost.
    fn arm(&self, slot: &mut Slot, token: Token, fd: RawFd, wanted: Armed) -> io::Result<()> {
        let interest = match wanted {
            Armed::Both => Interest::READABLE | Interest::WRITABLE,
            _ => Interest::READABLE,
        };
        let poll = self.poll.borrow();
        let registry = poll.registry();
        match slot.armed {
            Armed::No => registry.register(&mut SourceFd(&fd), token, interest)?,
            _ => registry.reregister(&mut SourceFd(&fd), token, interest)?,
        }
        slot.armed = wanted;
        Ok(())
    }

    fn deregister(&self, registration: &Registration, fd: RawFd) {
        let registered = self.with_slot(registration, |slot| {
            std::mem::replace(&mut slot.armed, Armed::No) != Armed::No
        });
        if registered == Some(true) {
            // Failing means that it is not in the set, which is what was asked for.
            let _ = self.poll.borrow().registry().deregister(&mut SourceFd(&fd));
        }
    }

    /// Runs `f` on the slot of `registration`; `None` if it belongs to an earlier runtime.
    fn with_slot<R>(
        &self,
        registration: &Registration,
        f: impl FnOnce(&mut Slot) -> R,
    ) -> Option<R> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(registration.key as usize)?;
        (slot.generation == registration.generation).then(|| f(slot))
    }
}

/// What is known of one descriptor. Small on purpose: every idle connection has one.
struct Slot {
    reader: Option<Waker>,
    writer: Option<Waker>,
    generation: u32,
    ready: u8,
    armed: Armed,
}

impl Slot {
    fn is_ready(&self, what: Direction) -> bool {
        self.ready & what.bit() != 0
    }

    fn waiting(&mut self, what: Direction) -> &mut Option<Waker> {
        match what {
            Direction::Write => &mut self.writer,
            Direction::Read | Direction::PeerClosed => &mut self.reader,
        }
    }
}

/// For what the kernel has been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Armed {
    No,
    Read,
    Both,
}

impl Armed {
    fn covers(self, what: Direction) -> bool {
        match self {
            Armed::No => false,
            Armed::Read => what != Direction::Write,
            Armed::Both => true,
        }
    }
}

impl Direction {
    fn bit(self) -> u8 {
        match self {
            Direction::Read => READABLE,
            Direction::Write => WRITABLE,
            Direction::PeerClosed => READ_CLOSED,
        }
    }

    fn closed_bit(self) -> u8 {
        match self {
            Direction::Read | Direction::PeerClosed => READ_CLOSED,
            Direction::Write => WRITE_CLOSED,
        }
    }
}

enum Waited {
    Ready,
    /// Holds the waker that was there before, to be dropped outside the borrow.
    Pending(Option<Waker>),
}

thread_local! {
    /// Goes on counting from one runtime of the thread to the next, so that a handle which
    /// outlived its runtime matches nothing.
    static GENERATION: Cell<u32> = const { Cell::new(0) };
}

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const READ_CLOSED: u8 = 4;
const WRITE_CLOSED: u8 = 8;

const KEY_BITS: u32 = usize::BITS / 2;
const KEY_MASK: usize = (1 << KEY_BITS) - 1;
/// One short of the mask, so that no slot's token can equal [`BELL`].
const KEY_MAX: usize = KEY_MASK - 1;
const GENERATION_MASK: u32 = KEY_MASK as u32;
const BELL: Token = Token(usize::MAX);
/// As many as tasks are polled per turn.
const EVENTS_PER_TURN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::Runtime;

    #[test]
    fn event_for_a_reused_slot_with_an_old_generation_is_ignored() {
        let _rt = Runtime::new().unwrap();
        let old = Registration::new(false).unwrap();
        let (key, stale) = (old.key, old.token());
        drop(old);
        let new = Registration::new(false).unwrap();
        assert_eq!(new.key, key, "the slot is used again");
        with_core(|core| {
            core.reactor.mark(stale, READABLE);
            assert_eq!(core.reactor.with_slot(&new, |s| s.ready), Some(0));
            core.reactor.mark(new.token(), READABLE);
            assert_eq!(core.reactor.with_slot(&new, |s| s.ready), Some(READABLE));
        });
    }

    #[test]
    fn handle_of_an_earlier_runtime_does_not_touch_the_next_ones_slots() {
        let first = Runtime::new().unwrap();
        let old = Registration::new(false).unwrap();
        drop(first);
        let _second = Runtime::new().unwrap();
        let new = Registration::new(false).unwrap();
        assert_eq!(old.key, new.key);
        drop(old);
        assert_eq!(
            with_core(|core| core.reactor.slots.borrow().len()),
            Some(1),
            "the new slot survives the old handle"
        );
        drop(new);
    }

    #[test]
    fn slot_with_its_slab_overhead_is_at_most_40_bytes() {
        // An `Option` has the same choice of layouts as the slab's own entry type.
        assert!(
            size_of::<Option<Slot>>() <= 40,
            "{}",
            size_of::<Option<Slot>>()
        );
    }
}
