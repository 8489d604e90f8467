//! Channels, semaphore, event.

use std::cell::RefCell;
use std::rc::Rc;

use super::run;
use crate::rt::sync::{Closed, Event, Notify, Semaphore, mpsc, oneshot};
use crate::rt::{spawn, yield_now};

#[test]
fn oneshot_carries_a_value_and_tells_when_a_side_is_gone() {
    run(async {
        let (tx, rx) = oneshot::channel();
        let waiting = spawn(rx);
        yield_now().await;
        assert_eq!(tx.send(5), Ok(()));
        assert_eq!(waiting.await.unwrap(), Ok(5));

        let (tx, rx) = oneshot::channel::<u8>();
        let waiting = spawn(rx);
        yield_now().await;
        drop(tx);
        assert_eq!(waiting.await.unwrap(), Err(Closed));

        let (mut tx, rx) = oneshot::channel();
        let watcher = spawn(async move {
            tx.closed().await;
            tx.send(1)
        });
        yield_now().await;
        drop(rx);
        assert_eq!(watcher.await.unwrap(), Err(1));
    });
}

#[test]
fn unbounded_queue_keeps_order_and_ends_with_its_senders() {
    run(async {
        let (tx, mut rx) = mpsc::unbounded();
        let other = tx.clone();
        let sender = spawn(async move {
            for i in 0..100 {
                tx.send(i).unwrap();
                yield_now().await;
            }
        });
        for i in 0..100 {
            assert_eq!(rx.recv().await, Some(i));
        }
        sender.await.unwrap();
        other.send(100).unwrap();
        drop(other);
        assert_eq!(rx.recv().await, Some(100));
        assert_eq!(rx.recv().await, None);
    });
}

#[test]
fn send_after_the_receiver_is_gone_gives_the_item_back() {
    run(async {
        let (tx, rx) = mpsc::unbounded();
        drop(rx);
        assert_eq!(tx.send(1), Err(1));
        let (tx, rx) = mpsc::bounded(1);
        tx.send(1).await.unwrap();
        let blocked = spawn(async move { tx.send(2).await });
        yield_now().await;
        drop(rx);
        assert_eq!(blocked.await.unwrap(), Err(2));
    });
}

#[test]
fn full_bounded_queue_makes_the_sender_wait() {
    run(async {
        let (tx, mut rx) = mpsc::bounded(2);
        let sent = Rc::new(RefCell::new(0));
        let count = Rc::clone(&sent);
        spawn(async move {
            for i in 0..5 {
                tx.send(i).await.unwrap();
                *count.borrow_mut() += 1;
            }
        })
        .detach();
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(*sent.borrow(), 2);
        let mut got = Vec::new();
        while let Some(i) = rx.recv().await {
            got.push(i);
        }
        assert_eq!(got, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn semaphore_serves_in_order_and_newcomers_do_not_overtake() {
    run(async {
        let sem = Semaphore::new(1);
        let held = sem.try_acquire().unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..3)
            .map(|i| {
                let (sem, order) = (sem.clone(), Rc::clone(&order));
                spawn(async move {
                    let _permit = sem.acquire().await.unwrap();
                    order.borrow_mut().push(i);
                    yield_now().await;
                })
            })
            .collect();
        yield_now().await;
        assert_eq!(sem.waiting(), 3);
        drop(held);
        assert!(sem.try_acquire().is_none(), "three wait already");
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.borrow(), [0, 1, 2]);
        assert_eq!(sem.free(), 1);
    });
}

#[test]
fn cancelled_waiter_passes_its_wake_on() {
    run(async {
        let sem = Semaphore::new(0);
        let (s1, s2) = (sem.clone(), sem.clone());
        let first = spawn(async move { s1.acquire().await.map(drop) });
        let second = spawn(async move { s2.acquire().await.map(drop) });
        yield_now().await;
        sem.add(1);
        drop(first);
        assert_eq!(second.await.unwrap(), Ok(()));
        assert_eq!((sem.free(), sem.waiting()), (1, 0));
    });
}

#[test]
fn permits_added_together_wake_as_many_waiters() {
    run(async {
        let sem = Semaphore::new(0);
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let sem = sem.clone();
                spawn(async move { std::mem::forget(sem.acquire().await) })
            })
            .collect();
        yield_now().await;
        sem.add(3);
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn closed_semaphore_turns_waiters_away() {
    run(async {
        let sem = Semaphore::new(0);
        let waiter = sem.clone();
        let waiting = spawn(async move { waiter.acquire().await.map(drop) });
        yield_now().await;
        sem.close();
        assert_eq!(waiting.await.unwrap(), Err(Closed));
        assert!(matches!(sem.acquire().await, Err(Closed)));
    });
}

#[test]
fn event_wakes_all_who_wait_and_later_ones_at_once() {
    run(async {
        let event = Event::new();
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let event = event.clone();
                spawn(async move { event.wait().await })
            })
            .collect();
        let given_up = spawn(event.wait());
        yield_now().await;
        drop(given_up);
        yield_now().await;
        assert!(!event.is_set());
        event.set();
        for task in tasks {
            task.await.unwrap();
        }
        event.wait().await;
    });
}

#[test]
fn notify_keeps_one_ring_for_a_late_waiter() {
    run(async {
        let bell = Notify::new();
        bell.notify();
        bell.notify();
        bell.notified().await;
        let ringer = bell.clone();
        let waiter = spawn(async move { bell.notified().await });
        yield_now().await;
        assert!(!waiter.is_finished(), "two rings were kept as one");
        ringer.notify();
        waiter.await.unwrap();
    });
}
