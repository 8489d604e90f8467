//! Tasks: order, panics, cancelling, wakes from other threads, what is left at the end.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;

use super::{keep_logs, run, was_logged};
use crate::rt::executor::with_core;
use crate::rt::{Runtime, TaskError, catch, sleep, spawn, yield_now};

/// Sets its flag when dropped.
struct OnDrop(Rc<Cell<bool>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn awaited_task_gives_its_value() {
    assert_eq!(run(async { spawn(async { 7 }).await }), Ok(7));
}

#[test]
fn ten_thousand_tasks_all_run() {
    let done = run(async {
        let done = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..10_000)
            .map(|_| {
                let done = Rc::clone(&done);
                spawn(async move {
                    yield_now().await;
                    done.set(done.get() + 1);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        done.get()
    });
    assert_eq!(done, 10_000);
}

#[test]
fn ready_tasks_run_in_the_order_of_their_wakes() {
    let order = run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        for name in 0..4 {
            let order = Rc::clone(&order);
            spawn(async move {
                order.borrow_mut().push(name);
                yield_now().await;
                order.borrow_mut().push(name + 10);
            })
            .detach();
        }
        while order.borrow().len() < 8 {
            yield_now().await;
        }
        order.take()
    });
    assert_eq!(order, [0, 1, 2, 3, 10, 11, 12, 13]);
}

#[test]
fn task_that_never_rests_starves_neither_timers_nor_the_main_future() {
    run(async {
        spawn(async {
            loop {
                yield_now().await;
            }
        })
        .detach();
        sleep(std::time::Duration::from_millis(5)).await;
    });
}

#[test]
fn panic_in_a_detached_task_is_logged_and_ends_only_that_task() {
    keep_logs();
    let value = run(async {
        spawn(async { panic!("marker-4711 in a detached task") }).detach();
        let other = spawn(async {
            yield_now().await;
            yield_now().await;
            "alive"
        });
        other.await
    });
    assert_eq!(value, Ok("alive"));
    assert!(was_logged("marker-4711"));
    assert!(was_logged("tests/executor.rs"), "the place is logged too");
}

#[test]
fn panic_in_an_awaited_task_is_an_error_with_message_and_place() {
    let result = run(async {
        spawn(async {
            yield_now().await;
            panic!("number {}", 5);
        })
        .await
    });
    let Err(TaskError::Panicked(panicked)) = result else {
        panic!("{result:?}");
    };
    let text = panicked.to_string();
    assert!(text.starts_with("panicked: number 5 at "), "{text}");
}

#[test]
fn panic_while_a_cancelled_task_is_dropped_is_caught() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("bomb");
        }
    }
    run(async {
        let bomb = Bomb;
        let task = spawn(async move {
            let _bomb = &bomb;
            pending::<()>().await;
        });
        yield_now().await;
        assert_eq!(task.cancel().await, None);
    });
}

#[test]
fn caught_future_is_dropped_as_soon_as_it_panics() {
    run(async {
        let dropped = Rc::new(Cell::new(false));
        let guard = OnDrop(Rc::clone(&dropped));
        let mut caught = std::pin::pin!(catch(async move {
            let _guard = guard;
            panic!("inner");
        }));
        assert!(caught.as_mut().await.is_err());
        assert!(dropped.get());
    });
}

#[test]
fn dropped_task_handle_cancels_the_task() {
    run(async {
        let dropped = Rc::new(Cell::new(false));
        let guard = OnDrop(Rc::clone(&dropped));
        let task = spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        yield_now().await;
        assert!(!dropped.get());
        drop(task);
        yield_now().await;
        assert!(dropped.get());
        assert_eq!(with_core(|core| core.task_count()), Some(0));
    });
}

#[test]
fn dropped_runtime_drops_tasks_that_wait_and_tasks_that_were_never_polled() {
    let rt = Runtime::new().unwrap();
    let flags: Vec<_> = (0..3).map(|_| Rc::new(Cell::new(false))).collect();
    let [waiting, sleeping, unpolled] = [0, 1, 2].map(|i| OnDrop(Rc::clone(&flags[i])));
    rt.block_on(async {
        spawn(async move {
            let _guard = waiting;
            pending::<()>().await;
        })
        .detach();
        spawn(async move {
            let _guard = sleeping;
            sleep(std::time::Duration::from_secs(3600)).await;
        })
        .detach();
        yield_now().await;
        spawn(async move {
            let _guard = unpolled;
        })
        .detach();
    });
    assert!(flags.iter().all(|f| !f.get()));
    drop(rt);
    assert!(flags.iter().all(|f| f.get()));
}

#[test]
fn task_spawned_while_the_runtime_is_dropped_is_dropped_with_it() {
    struct SpawnOnDrop(Rc<Cell<bool>>);
    impl Drop for SpawnOnDrop {
        fn drop(&mut self) {
            let late = OnDrop(Rc::clone(&self.0));
            spawn(async move {
                let _late = late;
                pending::<()>().await;
            })
            .detach();
        }
    }
    let rt = Runtime::new().unwrap();
    let dropped = Rc::new(Cell::new(false));
    let spawner = SpawnOnDrop(Rc::clone(&dropped));
    rt.block_on(async {
        spawn(async move {
            let _spawner = spawner;
            pending::<()>().await;
        })
        .detach();
        yield_now().await;
    });
    drop(rt);
    assert!(dropped.get());
}

#[test]
fn second_runtime_on_a_thread_is_refused_until_the_first_is_dropped() {
    let first = Runtime::new().unwrap();
    assert!(Runtime::new().is_err());
    drop(first);
    assert!(Runtime::new().is_ok());
}

#[test]
fn spawn_without_a_runtime_gives_a_cancelled_task() {
    let task = spawn(async { 1 });
    let result = run(task);
    assert_eq!(result, Err(TaskError::Cancelled));
}

/// A wake that got lost would leave the runtime asleep for ever, since it has no timer here but
/// the limit of the whole test; thousands of wakes race against falling asleep.
#[test]
fn wakes_from_another_thread_are_never_lost() {
    const ROUNDS: u32 = 5_000;
    let (to_thread, wakers) = mpsc::channel::<Waker>();
    let helper = thread::spawn(move || {
        for (round, waker) in wakers.iter().enumerate() {
            for _ in 0..round % 64 {
                std::hint::spin_loop();
            }
            waker.wake();
        }
    });
    run(async {
        for _ in 0..ROUNDS {
            let to_thread = to_thread.clone();
            // In a task, so that the wake takes the channel and not the main future's flag.
            spawn(async move {
                let mut asked = false;
                poll_fn(|cx| {
                    if asked {
                        return Poll::Ready(());
                    }
                    asked = true;
                    to_thread.send(cx.waker().clone()).unwrap();
                    Poll::Pending
                })
                .await;
            })
            .await
            .unwrap();
        }
    });
    drop(to_thread);
    helper.join().unwrap();
}

#[test]
fn main_future_is_woken_from_another_thread_while_the_runtime_sleeps() {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut helper = None;
    run(poll_fn(|cx| {
        if *DONE.lock().unwrap() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        helper.get_or_insert_with(|| {
            thread::spawn(move || {
                *DONE.lock().unwrap() = true;
                waker.wake();
            })
        });
        Poll::Pending
    }));
    helper.unwrap().join().unwrap();
}

#[test]
fn wake_after_the_runtime_is_gone_does_nothing() {
    let rt = Runtime::new().unwrap();
    let kept = Rc::new(RefCell::new(None));
    let keeper = Rc::clone(&kept);
    rt.block_on(async {
        spawn(poll_fn(move |cx| {
            *keeper.borrow_mut() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }))
        .detach();
        yield_now().await;
    });
    let waker = kept.take().unwrap();
    drop(rt);
    thread::spawn(move || waker.wake()).join().unwrap();
}

#[test]
fn what_an_idle_connection_holds_of_the_runtime_stays_small() {
    assert!(size_of::<crate::rt::TcpStream>() <= 16 + DEBUG_ID);
    assert!(size_of::<crate::rt::Deadline>() <= 48);
    assert!(size_of::<crate::rt::Task<()>>() <= 8);
}

/// Mio keeps the number of its `Poll` in each socket of a debug build,
/// padded.
const DEBUG_ID: usize = if cfg!(debug_assertions) { 16 } else { 0 };
