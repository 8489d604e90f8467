//! A queue from many tasks to one.
//!
//! [`bounded`] makes senders wait when it is full. [`unbounded`] is for senders that cannot wait
//! and whose number is limited by something else; say by what where it is used.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::{Closed, Permit, Semaphore};

/// A queue without a limit of its own.
pub fn unbounded<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
    let queue = Rc::new(RefCell::new(Queue {
        items: VecDeque::new(),
        senders: 1,
        is_open: true,
        receiver: None,
    }));
    (UnboundedSender(Rc::clone(&queue)), UnboundedReceiver(queue))
}

/// A queue of at most `capacity` items.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = unbounded();
    let places = Semaphore::new(capacity);
    (
        Sender {
            queue: sender,
            places: places.clone(),
        },
        Receiver {
            queue: receiver,
            places,
        },
    )
}

/// The sending end of [`unbounded`].
#[derive(Debug)]
pub struct UnboundedSender<T>(Rc<RefCell<Queue<T>>>);

impl<T> UnboundedSender<T> {
    /// Appends `item`; it comes back if the receiver is gone.
    pub fn send(&self, item: T) -> Result<(), T> {
        let mut queue = self.0.borrow_mut();
        if !queue.is_open {
            return Err(item);
        }
        queue.items.push_back(item);
        let waker = queue.receiver.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        !self.0.borrow().is_open
    }
}

impl<T> Clone for UnboundedSender<T> {
    fn clone(&self) -> Self {
        self.0.borrow_mut().senders += 1;
        UnboundedSender(Rc::clone(&self.0))
    }
}

impl<T> Drop for UnboundedSender<T> {
    fn drop(&mut self) {
        let mut queue = self.0.borrow_mut();
        queue.senders -= 1;
        let waker = (queue.senders == 0).then(|| queue.receiver.take());
        drop(queue);
        if let Some(waker) = waker.flatten() {
            waker.wake();
        }
    }
}

/// The receiving end of [`unbounded`].
#[derive(Debug)]
pub struct UnboundedReceiver<T>(Rc<RefCell<Queue<T>>>);

impl<T> UnboundedReceiver<T> {
    /// The next item; `None` once the queue is empty and all senders are gone.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The poll behind [`recv`](UnboundedReceiver::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut queue = self.0.borrow_mut();
        if let Some(item) = queue.items.pop_front() {
            return Poll::Ready(Some(item));
        }
        if queue.senders == 0 {
            return Poll::Ready(None);
        }
        let replaced = queue.receiver.replace(cx.waker().clone());
        drop(queue);
        drop(replaced);
        Poll::Pending
    }

    /// The next item if there is one.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.borrow_mut().items.pop_front()
    }

    /// Items in the queue.
    pub fn len(&self) -> usize {
        self.0.borrow().items.len()
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for UnboundedReceiver<T> {
    fn drop(&mut self) {
        let mut queue = self.0.borrow_mut();
        queue.is_open = false;
        let unread = std::mem::take(&mut queue.items);
        drop(queue);
        drop(unread);
    }
}

/// The sending end of [`bounded`].
#[derive(Debug)]
pub struct Sender<T> {
    queue: UnboundedSender<(T, Permit)>,
    places: Semaphore,
}

impl<T> Sender<T> {
    /// Appends `item`, in the order in which senders began to wait. The item is lost with the
    /// future; it comes back if the receiver is gone.
    pub async fn send(&self, item: T) -> Result<(), T> {
        match self.places.acquire().await {
            Ok(place) => self.queue.send((item, place)).map_err(|(item, _)| item),
            Err(Closed) => Err(item),
        }
    }

    /// Appends `item` if there is a place for it now; else it comes back.
    pub fn try_send(&self, item: T) -> Result<(), T> {
        match self.places.try_acquire() {
            Some(place) => self.queue.send((item, place)).map_err(|(item, _)| item),
            None => Err(item),
        }
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender {
            queue: self.queue.clone(),
            places: self.places.clone(),
        }
    }
}

/// The receiving end of [`bounded`].
#[derive(Debug)]
pub struct Receiver<T> {
    queue: UnboundedReceiver<(T, Permit)>,
    places: Semaphore,
}

impl<T> Receiver<T> {
    /// The next item; `None` once the queue is empty and all senders are gone.
    pub async fn recv(&mut self) -> Option<T> {
        self.queue.recv().await.map(|(item, _place)| item)
    }

    /// The next item if there is one.
    pub fn try_recv(&mut self) -> Option<T> {
        self.queue.try_recv().map(|(item, _place)| item)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.places.close();
    }
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<T>,
    senders: usize,
    is_open: bool,
    receiver: Option<Waker>,
}
