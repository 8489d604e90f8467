//! What the native side of scripts shares: the worker's services, answers that hooks wait for, work
//! whose result a script awaits.
//!
//! Reached from every op. Holds no script value.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use haraka_shared::config::{ConfigDir, Observing, Watch};
use haraka_shared::hook::Verdict;
use haraka_shared::log::Level;
use haraka_shared::log_at;
use haraka_shared::services::Services;
use rquickjs::{Function, IntoJs};

use super::code::{Code, Origin};
use super::convert::{Bytes, Json};
use super::engine::Engine;
use super::late_answers::LateAnswers;
use super::limits::Limits;
use super::parent::{Asked, Parents};
use super::rejections::Rejections;
use super::resolve::Known;
use crate::hooks::LateHooks;
use crate::rt;

/// What became of work that a script awaits.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Plain data.
    Data(serde_json::Value),
    /// Octets.
    Bytes(Vec<u8>),
    /// A failure with Node's code for it.
    Failed {
        /// Such as `ENOTFOUND`.
        code: String,
        /// What happened.
        message: String,
    },
}

impl From<std::io::Error> for Outcome {
    fn from(e: std::io::Error) -> Outcome {
        Outcome::Failed {
            code: super::convert::code_of(&e),
            message: e.to_string(),
        }
    }
}

/// A hook call that waits for `next()`.
#[derive(Default)]
struct Waiting {
    answered: bool,
    verdict: Option<Verdict>,
    /// Methods of native plugins that are to run meanwhile.
    asked: VecDeque<Asked>,
    waker: Option<Waker>,
}

/// What a hook call that waits hears.
pub(super) enum Heard {
    /// The plugin's answer.
    Verdict(Verdict),
    /// It wants a method of the native plugin that it inherits from to run.
    Parent(Asked),
}

/// Methods of native plugins that one hook call may have waiting.
const MOST_ASKED: usize = 16;

/// The host.
pub(super) struct Host {
    engine: Weak<Engine>,
    pub(super) limits: Limits,
    pub(super) code: Rc<Code>,
    /// Directories that were looked at.
    pub(super) known: Rc<Known>,
    pub(super) config: ConfigDir,
    pub(super) watch: Watch,
    pub(super) install_dir: PathBuf,
    services: OnceCell<Weak<dyn Services>>,
    numbers: Cell<u32>,
    answers: RefCell<BTreeMap<u32, Waiting>>,
    /// Hook calls made since the engine was last idle.
    recent: RefCell<Vec<u32>>,
    /// Answers of queue hooks that nobody waits for any more.
    pub(super) late_answers: RefCell<LateAnswers>,
    /// Timers and other work under way, so that they can be called off.
    pub(super) tasks: RefCell<BTreeMap<u32, rt::Task<()>>>,
    /// Who follows which configuration files, by the script's number.
    pub(super) watched: RefCell<BTreeMap<u32, Observing>>,
    /// Connections that ended, or a transaction of theirs alone.
    pub(super) ended: RefCell<Vec<(u32, Option<String>)>>,
    /// Takes methods that are registered after loading.
    pub(super) late: Rc<LateHooks>,
    /// Native plugins that scripts inherit from.
    pub(super) parents: Parents,
    pub(super) rejections: Rejections,
    /// `process.nextTick` has something to run.
    pub(super) ticks: Cell<bool>,
    /// What is to be ended with the engine.
    pub(super) at_end: RefCell<Vec<Box<dyn FnOnce()>>>,
    /// Some script wants to be told of promises; see `node/async_hooks.js`.
    pub(super) follow_promises: Cell<bool>,
    /// Octets of the engine's heap in use.
    pub(super) heap: Rc<Cell<usize>>,
    /// Where each plugin's scripts are, to tell whose an error is.
    pub(super) places: RefCell<Vec<(PathBuf, Rc<str>)>>,
}

impl Host {
    /// Over a configuration whose changes `watch` tells.
    pub(super) fn new(config: &ConfigDir, install_dir: &Path, watch: &Watch) -> Host {
        Host {
            engine: Weak::new(),
            limits: Limits::default(),
            code: Rc::default(),
            known: Rc::default(),
            config: config.clone(),
            watch: watch.clone(),
            install_dir: std::path::absolute(install_dir)
                .unwrap_or_else(|_| install_dir.to_owned()),
            services: OnceCell::new(),
            numbers: Cell::default(),
            answers: RefCell::default(),
            recent: RefCell::default(),
            late_answers: RefCell::default(),
            tasks: RefCell::default(),
            watched: RefCell::default(),
            ended: RefCell::default(),
            late: Rc::default(),
            parents: Parents::default(),
            rejections: Rejections::default(),
            ticks: Cell::default(),
            at_end: RefCell::default(),
            follow_promises: Cell::default(),
            heap: Rc::default(),
            places: RefCell::default(),
        }
    }

    /// With scripts from there.
    pub(super) fn with_code(self, origin: Origin) -> Host {
        Host {
            code: Rc::new(Code::new(origin)),
            ..self
        }
    }

    pub(super) fn of(self, engine: Weak<Engine>, limits: Limits) -> Host {
        Host {
            engine,
            limits,
            ..self
        }
    }

    /// With the place for methods that are registered after loading.
    pub(super) fn with_late(self, late: Rc<LateHooks>) -> Host {
        Host { late, ..self }
    }

    /// The worker is there.
    pub(super) fn serve(&self, services: Weak<dyn Services>) {
        // A second worker of the same plugins does not exist.
        drop(self.services.set(services));
    }

    /// The worker's services; none while plugins are loaded.
    pub(super) fn services(&self) -> Option<Rc<dyn Services>> {
        self.services.get().and_then(Weak::upgrade)
    }

    pub(super) fn engine(&self) -> Option<Rc<Engine>> {
        self.engine.upgrade()
    }

    /// A number that nothing else has.
    pub(super) fn number(&self) -> u32 {
        let number = self.numbers.get().wrapping_add(1);
        self.numbers.set(number);
        number
    }

    /// Starts waiting for the answer to a hook call.
    pub(super) fn expect_answer(&self) -> u32 {
        let call = self.number();
        let mut answers = self.answers.borrow_mut();
        answers.insert(call, Waiting::default());
        self.recent.borrow_mut().push(call);
        call
    }

    /// A script was stopped in its jobs, which tells nobody: whoever was called since the engine was
    /// idle and has not answered gets a soft denial. Others have their time limit.
    pub(super) fn stopped(&self) {
        for call in self.recent.take() {
            self.answer(call, Verdict::deny_soft("plugin stopped"));
        }
    }

    /// Nothing is left to run.
    pub(super) fn idle(&self) {
        self.recent.borrow_mut().clear();
    }

    /// A plugin answered; false if nobody waits any more.
    pub(super) fn answer(&self, call: u32, verdict: Verdict) -> bool {
        let mut answers = self.answers.borrow_mut();
        let Some(waiting) = answers.get_mut(&call) else {
            self.late_answers.borrow_mut().comes(call, verdict.code);
            return false;
        };
        if waiting.answered {
            return false;
        }
        waiting.answered = true;
        waiting.verdict = Some(verdict);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        true
    }

    /// A plugin wants its native parent to be asked; false if nobody waits any more, or for too much.
    pub(super) fn ask_parent(&self, call: u32, asked: Asked) -> bool {
        let mut answers = self.answers.borrow_mut();
        let Some(waiting) = answers.get_mut(&call) else {
            return false;
        };
        if waiting.answered || waiting.asked.len() >= MOST_ASKED {
            return false;
        }
        waiting.asked.push_back(asked);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        true
    }

    /// Waits for the answer, or for what is to be done before it.
    pub(super) async fn answered(&self, call: u32) -> Heard {
        std::future::poll_fn(|cx| {
            let mut answers = self.answers.borrow_mut();
            match answers.get_mut(&call) {
                Some(waiting) => match waiting.verdict.take() {
                    Some(verdict) => Poll::Ready(Heard::Verdict(verdict)),
                    None => match waiting.asked.pop_front() {
                        Some(asked) => Poll::Ready(Heard::Parent(asked)),
                        None => {
                            waiting.waker = Some(cx.waker().clone());
                            Poll::Pending
                        }
                    },
                },
                None => Poll::Ready(Heard::Verdict(Verdict::CONT)),
            }
        })
        .await
    }

    /// Nobody waits for the answer any more; whether it has come.
    pub(super) fn give_up(&self, call: u32) -> bool {
        let waiting = self.answers.borrow_mut().remove(&call);
        waiting.is_none_or(|w| w.answered)
    }

    /// Starts work whose outcome settles the script's promise of this number.
    pub(super) fn start(&self, work: impl Future<Output = Outcome> + 'static) -> u32 {
        let number = self.number();
        let engine = Weak::clone(&self.engine);
        let task = rt::spawn(async move {
            let outcome = work.await;
            if let Some(engine) = engine.upgrade() {
                let own = engine.host.tasks.borrow_mut().remove(&number);
                if let Some(own) = own {
                    own.detach();
                }
                engine.settle(number, outcome);
            }
        });
        self.tasks.borrow_mut().insert(number, task);
        number
    }

    /// Ends what scripts have under way: timers, sockets, programs. Nothing is left to tell them.
    pub(super) fn close(&self) {
        drop(self.tasks.take());
        drop(self.watched.take());
        self.late.clear();
        for end in self.at_end.take() {
            end();
        }
    }

    /// Logs what a script did wrong, in the name of its plugin where the stack shows it.
    pub(super) fn log_failure(&self, text: &str) {
        let places = self.places.borrow();
        let whose = places
            .iter()
            .filter_map(|(path, name)| {
                let at = text.find(path.to_str()?)?;
                Some((at, name))
            })
            .min_by_key(|(at, _)| *at);
        match whose {
            Some((_, name)) => {
                log_at!(Level::Crit, &"-", name, [], "{text}");
            }
            None => log_at!(Level::Crit, &"-", "plugins", [], "{text}"),
        }
    }
}

impl Engine {
    /// Resolves or rejects a promise.
    pub(super) fn settle(&self, number: u32, outcome: Outcome) {
        self.tell("awaited work", |ctx, bridge| {
            let settle: Function<'_> = bridge.get("settle")?;
            match outcome {
                Outcome::Data(value) => settle.call((number, true, Json(value))),
                Outcome::Bytes(bytes) => settle.call((number, true, Bytes(bytes))),
                Outcome::Failed { code, message } => {
                    let why = serde_json::json!({ "code": code, "message": message });
                    settle.call((number, false, Json(why).into_js(ctx)?))
                }
            }
        });
    }
}
