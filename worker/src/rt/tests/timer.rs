//! Timers, mostly on the virtual clock.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{run, run_virtual};
use crate::rt::executor::with_core;
use crate::rt::{
    Deadline, Elapsed, now, offload, sleep, sleep_until, spawn, timeout, timeout_at, yield_now,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn timers() -> usize {
    with_core(|core| core.timers.len()).unwrap()
}

fn insertions() -> u64 {
    with_core(|core| core.timers.inserted()).unwrap()
}

#[test]
fn timers_fire_in_order_of_time_and_equal_ones_in_order_of_arrival() {
    let order = run_virtual(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let start = now();
        for (name, delay) in [("c", 30), ("a", 10), ("b1", 20), ("b2", 20)] {
            let order = Rc::clone(&order);
            spawn(async move {
                sleep_until(start + ms(delay)).await;
                order.borrow_mut().push((name, now() - start));
            })
            .detach();
        }
        sleep(ms(40)).await;
        order.take()
    });
    assert_eq!(
        order,
        [("a", ms(10)), ("b1", ms(20)), ("b2", ms(20)), ("c", ms(30))]
    );
}

#[test]
fn real_sleep_is_never_short() {
    run(async {
        for wait in [ms(1), Duration::from_micros(1500), ms(7)] {
            let start = Instant::now();
            sleep(wait).await;
            assert!(start.elapsed() >= wait);
        }
    });
}

#[test]
fn virtual_clock_passes_a_day_at_once() {
    let real = Instant::now();
    run_virtual(async {
        let start = now();
        sleep(Duration::from_secs(86_400)).await;
        assert_eq!(now() - start, Duration::from_secs(86_400));
    });
    assert!(real.elapsed() < Duration::from_secs(10));
}

#[test]
fn virtual_clock_stands_still_while_a_job_is_offloaded() {
    run_virtual(async {
        let job = offload(|| std::thread::sleep(ms(20)));
        assert!(timeout(ms(1), job).await.is_ok());
    });
}

#[test]
fn timeout_gives_the_value_or_elapsed_and_leaves_no_timer() {
    run_virtual(async {
        assert_eq!(timeout(ms(10), async { 3 }).await, Ok(3));
        assert_eq!(insertions(), 0, "a future that is ready needs no timer");
        assert_eq!(timeout(ms(10), sleep(ms(5))).await, Ok(()));
        assert_eq!(timeout(ms(10), pending::<()>()).await, Err(Elapsed));
        let at = now() + ms(10);
        assert_eq!(timeout_at(at, pending::<()>()).await, Err(Elapsed));
        assert_eq!(now(), at);
        assert_eq!(timers(), 0);
    });
}

#[test]
fn dropped_sleep_gives_its_timer_back() {
    run_virtual(async {
        let task = spawn(sleep(ms(1000)));
        yield_now().await;
        yield_now().await;
        assert_eq!(timers(), 1);
        task.cancel().await;
        assert_eq!(timers(), 0);
    });
}

#[test]
fn deadline_moved_later_touches_the_timers_once_per_expiry_not_per_move() {
    run_virtual(async {
        let start = now();
        let mut idle = Deadline::after(ms(300));
        for _ in 0..1000 {
            // A client that sends a line every 10 ms for 10 s.
            let before = insertions();
            assert_eq!(idle.limit(sleep(ms(10))).await, Ok(()));
            idle.reset_after(ms(300));
            assert!(insertions() - before <= 2, "one of them is the sleep's own");
        }
        let own = insertions() - 1000;
        assert!(own <= 10_000 / 290 + 1, "{own} insertions for 1000 moves");
        assert_eq!(idle.limit(pending::<()>()).await, Err(Elapsed));
        assert_eq!(now() - start, ms(10_300));
    });
}

#[test]
fn deadline_moved_earlier_fires_earlier() {
    run_virtual(async {
        let start = now();
        let mut deadline = Deadline::after(ms(1000));
        assert_eq!(timeout(ms(10), &mut deadline).await, Err(Elapsed));
        deadline.reset_at(start + ms(50));
        (&mut deadline).await;
        assert_eq!(now() - start, ms(50));
        assert!(deadline.is_over());
        deadline.reset_after(ms(5));
        assert!(!deadline.is_over());
        deadline.await;
        assert_eq!(now() - start, ms(55));
        assert_eq!(timers(), 0);
    });
}

#[test]
fn deadline_handed_to_another_task_wakes_the_new_one() {
    run_virtual(async {
        let mut deadline = Deadline::after(ms(100));
        assert_eq!(timeout(ms(10), &mut deadline).await, Err(Elapsed));
        spawn(deadline).await.unwrap();
    });
}

#[test]
fn endless_sleep_is_not_an_overflow() {
    run_virtual(async {
        assert_eq!(timeout(ms(5), sleep(Duration::MAX)).await, Err(Elapsed));
    });
}
