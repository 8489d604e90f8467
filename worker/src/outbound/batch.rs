//! Blocking work in batches: what arrives while the disk is busy shares the next turn.
//!
//! One batch is on its way at a time; the rest gathers. For commits that is group commit: with one
//! client one round of fsyncs a message, with a hundred one for all of them, and nobody waits for a timer.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::rt;
use crate::rt::sync::oneshot;

/// The thread that did the work is gone; nobody knows what became of it.
#[derive(Debug, thiserror::Error)]
#[error("the thread that writes the queue failed")]
pub(super) struct ThreadLost;

/// Gathers jobs and has them done in batches.
pub(super) struct Batches<J, A>(Rc<State<J, A>>);

type Work<J, A> = Arc<dyn Fn(Vec<J>) -> Vec<A> + Send + Sync>;
type Answer<A> = Box<dyn FnOnce(Result<A, ThreadLost>)>;

struct State<J, A> {
    work: Work<J, A>,
    /// How much a job counts towards `most`.
    weight: fn(&J) -> u64,
    most: u64,
    gathered: RefCell<VecDeque<(J, Answer<A>)>>,
    busy: Cell<bool>,
}

impl<J, A> Clone for Batches<J, A> {
    fn clone(&self) -> Self {
        Batches(Rc::clone(&self.0))
    }
}

impl<J: Send + 'static, A: Send + 'static> Batches<J, A> {
    /// `work` gives one answer for each job, in order. A batch ends with the job that brings its
    /// weight to `most`.
    pub(super) fn new(
        weight: fn(&J) -> u64,
        most: u64,
        work: impl Fn(Vec<J>) -> Vec<A> + Send + Sync + 'static,
    ) -> Self {
        Batches(Rc::new(State {
            work: Arc::new(work),
            weight,
            most,
            gathered: RefCell::default(),
            busy: Cell::new(false),
        }))
    }

    /// Has a job done. Dropping the future does not take the job back.
    pub(super) async fn run(&self, job: J) -> Result<A, ThreadLost> {
        let (answer, answered) = oneshot::channel();
        self.give(job, |done| {
            // Whoever is gone does not want to know; the job is done all the same.
            let _ = answer.send(done);
        });
        answered.await.unwrap_or(Err(ThreadLost))
    }

    /// Has a job done, and `then` called with what came of it, whether or not anybody waits: in the same
    /// turn of the loop for all jobs of a batch.
    pub(super) fn give(&self, job: J, then: impl FnOnce(Result<A, ThreadLost>) + 'static) {
        let job = (job, Box::new(then) as Answer<A>);
        self.0.gathered.borrow_mut().push_back(job);
        if !self.0.busy.replace(true) {
            rt::spawn(self.clone().work_off()).detach();
        }
    }

    /// Whether anything is being done or waits for it.
    pub(super) fn is_busy(&self) -> bool {
        self.0.busy.get()
    }

    async fn work_off(self) {
        let state = &self.0;
        loop {
            let (jobs, answers) = state.next();
            if jobs.is_empty() {
                state.busy.set(false);
                return;
            }
            let work = Arc::clone(&state.work);
            let mut done = rt::offload(move || work(jobs))
                .await
                .unwrap_or_default()
                .into_iter();
            for answer in answers {
                answer(done.next().ok_or(ThreadLost));
            }
        }
    }
}

impl<J, A> State<J, A> {
    fn next(&self) -> (Vec<J>, Vec<Answer<A>>) {
        let mut gathered = self.gathered.borrow_mut();
        let (mut jobs, mut answers) = (Vec::new(), Vec::new());
        let mut weight = 0;
        while weight < self.most
            && let Some((job, answer)) = gathered.pop_front()
        {
            weight += (self.weight)(&job);
            jobs.push(job);
            answers.push(answer);
        }
        (jobs, answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::Runtime;

    fn sizes(most: u64, jobs: u64) -> Vec<u64> {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let batches = Batches::new(
                |_: &u64| 1,
                most,
                |jobs: Vec<u64>| {
                    let size = jobs.len() as u64;
                    jobs.into_iter().map(|j| j * 1000 + size).collect()
                },
            );
            let waiting: Vec<_> = (0..jobs)
                .map(|j| {
                    let batches = batches.clone();
                    rt::spawn(async move { batches.run(j).await.unwrap() })
                })
                .collect();
            let mut got = Vec::new();
            for task in waiting {
                got.push(task.await.unwrap());
            }
            assert!(
                got.iter().enumerate().all(|(i, a)| a / 1000 == i as u64),
                "{got:?}"
            );
            assert!(!batches.is_busy());
            got.into_iter().map(|a| a % 1000).collect()
        })
    }

    #[test]
    fn jobs_that_come_while_one_batch_is_under_way_share_the_next() {
        // The first task starts a batch when it is polled; all jobs are there by the time that the
        // batch is put together.
        assert_eq!(sizes(100, 5), [5; 5]);
    }

    #[test]
    fn job_that_nobody_waits_for_any_more_is_done_and_followed_up() {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let batches = Batches::new(|_: &u64| 1, 1, |jobs: Vec<u64>| jobs);
            let seen = Rc::new(Cell::new(0));
            let followed = Rc::clone(&seen);
            batches.give(7, move |done| followed.set(done.unwrap()));
            drop(Box::pin(batches.run(8)));
            while batches.is_busy() {
                rt::sleep(std::time::Duration::from_millis(1)).await;
            }
            assert_eq!(seen.get(), 7);
        });
    }

    #[test]
    fn no_batch_is_heavier_than_allowed() {
        assert_eq!(sizes(2, 5), [2, 2, 2, 2, 1]);
    }

    #[test]
    fn a_panic_in_the_work_is_an_answer_and_later_jobs_go_on() {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let batches = Batches::new(
                |_: &bool| 1,
                1,
                |jobs: Vec<bool>| {
                    assert!(jobs.iter().all(|ok| *ok), "told to fail");
                    jobs
                },
            );
            assert!(batches.run(false).await.is_err());
            assert!(batches.run(true).await.is_ok());
        });
    }
}
