//! Seats that race, die and come back; shares, caps and rows that are given back.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use super::*;

const SLOWING: Slowing = Slowing {
    keep: 500,
    pause: 60_000_000,
    back: 100,
};

fn table(seats: usize) -> Arc<Traffic> {
    Arc::new(Traffic::new(seats).unwrap())
}

// covers PB-51
#[test]
fn connections_are_counted_across_seats_and_come_back() {
    let traffic = table(3);
    let key = Key::of("provider", "example.net");
    let one = traffic.connect(Seat(0), key, 2, None, 1).unwrap();
    let two = traffic.connect(Seat(2), key, 2, None, 1).unwrap();
    assert_eq!(
        traffic.connect(Seat(1), key, 2, None, 1).unwrap_err().limit,
        2
    );
    drop(one);
    let three = traffic.connect(Seat(1), key, 2, None, 1).unwrap();
    assert!(traffic.connect(Seat(0), key, 2, None, 1).is_err());
    assert_eq!(traffic.view(key, None, 1).unwrap().connections, 2);
    drop((two, three));
    assert_eq!(traffic.view(key, None, 1).unwrap().connections, 0);
    assert!(
        traffic
            .view(Key::of("provider", "other"), None, 1)
            .is_none()
    );
}

// covers PB-51
#[test]
fn seat_of_a_dead_worker_gives_up_all_it_had() {
    let traffic = table(2);
    let keys: Vec<_> = (0..200).map(|n| Key::of("d", &n)).collect();
    for key in &keys {
        std::mem::forget(traffic.connect(Seat(1), *key, 1, None, 1).unwrap());
        assert!(traffic.connect(Seat(0), *key, 1, None, 1).is_err());
    }
    traffic.making(2).map(std::mem::forget).unwrap();
    assert!(
        traffic
            .connect(Seat(0), Key::of("d", "new"), 1, None, 1)
            .is_err()
    );
    traffic.vacate(Seat(1));
    for key in &keys {
        drop(traffic.connect(Seat(0), *key, 1, None, 1).unwrap());
    }
    assert!(
        traffic
            .connect(Seat(0), Key::of("d", "new"), 1, None, 1)
            .is_ok()
    );
}

// covers PB-51
#[test]
fn complaint_halves_the_limit_and_time_brings_it_back() {
    let traffic = table(1);
    let key = Key::of("provider", "p");
    let minute = SLOWING.pause;
    let all: Vec<_> =
        std::iter::from_fn(|| traffic.connect(Seat(0), key, 10, None, minute).ok()).collect();
    let slow = |at| traffic.slow_down(Seat(0), key, 10, SLOWING, at);
    assert_eq!(slow(minute), Some(500));
    assert_eq!(slow(minute + 1), None);
    assert_eq!(slow(2 * minute), Some(300));
    drop(all);
    let open = |now| {
        let leases: Vec<_> =
            std::iter::from_fn(|| traffic.connect(Seat(0), key, 10, Some(SLOWING), now).ok())
                .collect();
        leases.len()
    };
    assert_eq!(open(2 * minute), 3);
    assert_eq!(open(5 * minute), 6);
    assert_eq!(open(9 * minute), 10);
    for n in 0..50 {
        slow((20 + n) * minute);
    }
    assert_eq!(open(69 * minute), 1, "never nothing");
}

// covers PB-51
#[test]
fn complaint_counts_from_what_was_in_use_where_that_is_less_than_the_limit() {
    let traffic = table(1);
    let key = Key::of("provider", "p");
    let few: Vec<_> = (0..8)
        .map(|_| traffic.connect(Seat(0), key, 1000, None, 1).unwrap())
        .collect();
    assert_eq!(
        traffic.slow_down(Seat(0), key, 1000, SLOWING, 1),
        Some(LEAST)
    );
    drop(few);
    let open = std::iter::from_fn(|| traffic.connect(Seat(0), key, 1000, Some(SLOWING), 2).ok());
    assert_eq!(open.collect::<Vec<_>>().len(), 10);
}

#[test]
fn refusal_of_another_seat_is_known_for_a_moment() {
    let traffic = table(3);
    let key = Key::of("provider", "p");
    let _one = traffic.connect(Seat(0), key, 1, None, 1_000_000).unwrap();
    assert!(!traffic.is_wanted(Seat(0), key, 1_000_000));
    assert!(traffic.connect(Seat(2), key, 1, None, 1_000_000).is_err());
    assert!(traffic.is_wanted(Seat(0), key, 1_000_001));
    assert!(!traffic.is_wanted(Seat(2), key, 1_000_001), "its own");
    assert!(traffic.connect(Seat(0), key, 1, None, 1_000_002).is_err());
    assert!(traffic.is_wanted(Seat(0), key, 1_000_003), "still noted");
    assert!(!traffic.is_wanted(Seat(0), key, 1_000_000 + RECENT));
}

// covers PB-51
#[test]
fn cap_of_a_day_ends_with_the_day() {
    let traffic = table(1);
    let key = Key::of("source", "10.0.0.1");
    for _ in 0..3 {
        traffic
            .count_today(Seat(0), key, 3, (20_000, 0), 1)
            .unwrap();
    }
    let full = |day, before| {
        traffic
            .count_today(Seat(0), key, 3, (day, before), 1)
            .is_err()
    };
    assert!(full(20_000, 0));
    assert_eq!(traffic.today(key, 20_000), Some(3));
    assert_eq!(traffic.today(key, 20_001), None);
    assert!(!full(20_001, 0));
    assert_eq!(traffic.view(key, None, 1).unwrap().today, 1);
    assert!(!full(20_002, 2), "two were counted elsewhere");
    assert!(full(20_002, 0));
}

#[test]
fn asking_when_the_next_message_may_go_takes_nothing() {
    let traffic = table(1);
    let key = Key::of("provider", "p");
    let rate = Rate {
        count: 1,
        period_ms: 1000,
    };
    for _ in 0..3 {
        assert_eq!(traffic.may_pace(key, rate, None, 5), Ok(()));
    }
    traffic.pace(Seat(0), key, rate, None, 5).unwrap();
    assert_eq!(traffic.may_pace(key, rate, None, 6), Err(1_050_005));
}

#[test]
fn suspension_lasts_until_its_time_or_is_ended() {
    let traffic = table(1);
    let key = Key::of("provider", "p");
    traffic.suspend(Seat(0), key, 500, 1);
    traffic.suspend(Seat(0), key, 300, 1);
    assert_eq!(traffic.suspended(key, 499), Some(500));
    assert_eq!(traffic.suspended(key, 500), None);
    traffic.suspend(Seat(0), key, 900, 501);
    traffic.resume(key);
    assert_eq!(traffic.suspended(key, 502), None);
}

#[test]
fn quiet_rows_are_given_back_and_those_in_use_are_not() {
    let traffic = table(2);
    let held = Key::of("d", "held");
    let lease = traffic.connect(Seat(1), held, 1, None, 10).unwrap();
    traffic.suspend(Seat(0), Key::of("d", "waits"), 1_000, 10);
    for n in 0..100 {
        drop(
            traffic
                .connect(Seat(0), Key::of("d", &n), 1, None, 10)
                .unwrap(),
        );
    }
    assert_eq!(traffic.sweep(10, 20), 0, "asked for just now");
    assert_eq!(traffic.sweep(11, 20), 100);
    assert!(traffic.connect(Seat(0), held, 1, None, 20).is_err());
    drop(lease);
    assert_eq!(traffic.sweep(21, 2_000), 2);
    // A row that is used again begins from nothing.
    assert!(traffic.suspended(Key::of("d", "waits"), 20).is_none());
}

#[test]
fn full_table_refuses_nobody() {
    let traffic = table(1);
    let mut now = 0;
    for n in 0..ROWS * 2 {
        now += 1;
        drop(
            traffic
                .connect(Seat(0), Key::of("d", &n), 1, None, now)
                .unwrap(),
        );
    }
    assert!(traffic.sweep(now, now + 1) > ROWS / 2);
}

/// Children take and give back connections as fast as they can and are killed at any moment. Each
/// sets a bit while it holds one; there are never more bits than the limit. They are in one word, as
/// flags that are read one after the other may be of holders that were never there together.
// covers PB-51
#[test]
#[allow(unsafe_code)]
fn limit_holds_while_processes_race_and_are_killed() {
    const LIMIT: u32 = 3;
    const CHILDREN: usize = 4;
    let traffic = table(CHILDREN);
    let key = Key::of("provider", "example.net");
    // A bit for each child: it holds a connection.
    let holds = Mapping::<AtomicU32>::zeroed(1).unwrap();
    let worst = Mapping::<AtomicU32>::zeroed(2).unwrap();
    let start = |seat: usize| {
        // SAFETY: the child touches shared memory only and ends by a signal.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => loop {
                for step in 0.. {
                    if let Ok(lease) = traffic.connect(Seat(seat), key, LIMIT, None, step) {
                        let others = holds[0].fetch_or(1 << seat, SeqCst);
                        worst[0].fetch_max(others.count_ones() + 1, SeqCst);
                        worst[1].fetch_add(1, SeqCst);
                        // The others have their chance to come in, however few processors there are.
                        std::thread::yield_now();
                        holds[0].fetch_and(!(1 << seat), SeqCst);
                        drop(lease);
                    } else {
                        std::thread::yield_now();
                    }
                }
            },
        }
    };
    let end = |seat: usize, child| {
        kill(child, Signal::SIGKILL).unwrap();
        waitpid(child, None).unwrap();
        // Before the seat is given back: the others may have its connection from then on.
        holds[0].fetch_and(!(1 << seat), SeqCst);
        traffic.vacate(Seat(seat));
    };
    let mut children: Vec<_> = (0..CHILDREN).map(start).collect();
    for round in 0..60 {
        let before = worst[1].load(SeqCst);
        while worst[1].load(SeqCst) < before + 500 {
            std::thread::yield_now();
        }
        let seat = round % CHILDREN;
        end(seat, children[seat]);
        children[seat] = start(seat);
    }
    for (seat, child) in children.into_iter().enumerate() {
        end(seat, child);
    }
    assert_eq!(worst[0].load(SeqCst), LIMIT, "reached, and never passed");
    assert_eq!(traffic.view(key, None, 1).unwrap().connections, 0);
}
