//! Jobs on other threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;

use super::run;
use crate::rt::{OffloadError, offload, spawn, yield_now};

// covers PB-50
#[test]
fn job_runs_on_another_thread_and_its_result_comes_back() {
    let here = thread::current().id();
    let (there, name) = run(offload(|| {
        let thread = thread::current();
        (thread.id(), thread.name().map(str::to_owned))
    }))
    .unwrap();
    assert_ne!(there, here);
    assert!(name.unwrap().starts_with("offload-"));
}

#[test]
fn panicking_job_is_an_error_and_the_pool_goes_on() {
    run(async {
        for _ in 0..20 {
            let result = offload(|| -> u8 { panic!("job failed on purpose") }).await;
            let Err(OffloadError::Panicked(panicked)) = result else {
                panic!("{result:?}");
            };
            assert!(panicked.to_string().contains("job failed on purpose"));
        }
        assert_eq!(offload(|| 3).await.unwrap(), 3);
    });
}

#[test]
fn more_jobs_than_the_queue_holds_all_run() {
    let done = Arc::new(AtomicUsize::new(0));
    let jobs = super::super::offload::QUEUE * 3;
    run(async {
        let tasks: Vec<_> = (0..jobs)
            .map(|_| {
                let done = Arc::clone(&done);
                spawn(offload(move || done.fetch_add(1, Ordering::Relaxed)))
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
    assert_eq!(done.load(Ordering::Relaxed), jobs);
}

#[test]
fn jobs_that_need_each_other_run_side_by_side() {
    run(async {
        for _ in 0..500 {
            let meeting = Arc::new(Barrier::new(2));
            let pair = [(); 2].map(|()| {
                let meeting = Arc::clone(&meeting);
                spawn(offload(move || meeting.wait().is_leader()))
            });
            for job in pair {
                job.await.unwrap().unwrap();
            }
        }
    });
}

#[test]
fn job_that_began_ends_although_nobody_waits_for_it() {
    let (release, gate) = channel::<()>();
    let (began, has_begun) = channel();
    let (ended, has_ended) = channel();
    run(async {
        let started = spawn(offload(move || {
            began.send(()).unwrap();
            let _ = gate.recv();
            ended.send(()).unwrap();
        }));
        yield_now().await;
        has_begun.recv().unwrap();
        drop(started);
        yield_now().await;
    });
    drop(release);
    has_ended.recv().unwrap();
}
