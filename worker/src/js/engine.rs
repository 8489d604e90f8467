//! The engine of a worker: one QuickJS runtime, entered for one call at a time.
//!
//! Owns entering and leaving: the time limit of each turn, the promise jobs that a call leaves behind,
//! and the log lines about scripts that failed. Scripts are reached through the `bridge`, an object of
//! functions that `boot.js` returns; nothing else keeps script values, so that all of them go before
//! their runtime does.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Instant;

use haraka_shared::log::{self, Level};
use haraka_shared::log_at;
use rquickjs::promise::PromiseHookType;
use rquickjs::{Context, Ctx, Function, Object, Persistent, Runtime, Value};

use super::burst::Burst;
use super::convert::{describe, describe_value};
use super::heap::Heap;
use super::host::Host;
use super::limits::Limits;
use super::watchdog::Watchdog;
use super::{modules, ops, sources};
use crate::rt;

/// Octets of heap at which garbage is looked for first; the engine sets the next itself. Not while
/// plugins are loaded, which leave little.
const GC_THRESHOLD: usize = 256 << 10;

/// Why a script could not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// It threw; message and stack.
    #[error("{0}")]
    Threw(String),
    /// It ran for too long and was stopped.
    #[error("stopped, as it ran too long: {0}")]
    Stopped(String),
    /// A script is running already; the engine runs one at a time.
    #[error("a script is running")]
    Busy,
    /// The engine cannot be made.
    #[error("JavaScript engine: {0}")]
    Engine(String),
}

/// The engine.
pub(crate) struct Engine {
    // In the order in which they are dropped: values, context, runtime.
    bridge: RefCell<Option<Persistent<Object<'static>>>>,
    context: Context,
    runtime: Runtime,
    limits: Limits,
    burst: Rc<Burst>,
    watchdog: Watchdog,
    pub(super) host: Rc<Host>,
    loading: Cell<bool>,
    /// Octets of heap above which garbage is collected and it is seen what is left.
    collect_at: Cell<usize>,
    /// It is full, and a task looks whether it stays so.
    judged: Cell<bool>,
    /// The level of log lines that scripts know.
    log_level: Cell<u8>,
    /// Some task will go on with the jobs that are left.
    continued: Cell<bool>,
    this: Weak<Engine>,
}

impl Engine {
    /// An engine with all that scripts find in it, and no plugin.
    ///
    /// # Errors
    /// No memory, or a defect in our own scripts.
    pub(crate) fn new(host: Host, limits: Limits) -> Result<Rc<Engine>, ScriptError> {
        let failed = |e: rquickjs::Error| ScriptError::Engine(e.to_string());
        let burst = Rc::new(Burst::new(limits));
        let heap = Heap::new(&burst, &host.heap);
        let runtime = Runtime::new_with_alloc(heap).map_err(failed)?;
        runtime.set_memory_limit(limits.memory);
        runtime.set_max_stack_size(limits.stack);
        runtime.set_gc_threshold(limits.memory / 4);
        let clock = Rc::clone(&burst);
        runtime.set_interrupt_handler(Some(Box::new(move || clock.is_over())));
        let context = Context::full(&runtime).map_err(failed)?;
        let engine = Rc::new_cyclic(|this| Engine {
            bridge: RefCell::default(),
            context,
            runtime,
            limits,
            burst,
            watchdog: Watchdog::start(limits.hang, limits.turn / 2, hung),
            host: Rc::new(host.of(Weak::clone(this), limits)),
            loading: Cell::new(true),
            collect_at: Cell::new(limits.full),
            judged: Cell::default(),
            log_level: Cell::new(log::level()),
            continued: Cell::default(),
            this: Weak::clone(this),
        });
        modules::install(&engine.runtime, &engine.host);
        engine.boot()?;
        Ok(engine)
    }

    fn boot(&self) -> Result<(), ScriptError> {
        let started = self.guarded(|ctx| {
            let natives = Object::new(ctx.clone())?;
            ops::install(ctx, &natives, &self.host)?;
            let boot =
                (self.host.code).function(ctx, ("boot.js", false), || sources::BOOT.to_owned())?;
            let bridge: Object<'_> = boot.call((natives,))?;
            *self.bridge.borrow_mut() = Some(Persistent::save(ctx, bridge));
            Ok(())
        });
        let host = Rc::clone(&self.host);
        self.runtime
            .set_host_promise_rejection_tracker(Some(Box::new(
                move |ctx, promise, reason, handled| {
                    host.rejections.note(&ctx, &promise, reason, handled);
                },
            )));
        started
    }

    /// Plugins are loaded; scripts have less time from now on.
    pub(crate) fn serve(&self) {
        self.loading.set(false);
        self.host.known.forget();
        self.burst.serve();
        self.runtime.set_gc_threshold(GC_THRESHOLD);
        self.runtime.run_gc();
        let used = self.host.heap.get();
        let (taken, made) = self.host.code.counts();
        log_at!(
            Level::Info,
            &"-",
            "plugins",
            [],
            "scripts hold {used} octets; {taken} were compiled before the start, {made} by this worker"
        );
        if used > self.limits.full {
            // A successor would be no better.
            self.collect_at.set(usize::MAX);
            log_at!(
                Level::Crit,
                &"-",
                "plugins",
                [],
                "scripts hold {} MB of memory from the start: raise memory in javascript.ini above {} MB",
                used >> 20,
                self.limits.memory >> 20
            );
        }
    }

    /// Whether a script was stopped since the engine was entered, so that what it wanted is not known.
    pub(super) fn stopped(&self) -> bool {
        self.burst.let_report();
        self.burst.stopped()
    }

    /// Whether a script is running.
    pub(super) fn busy(&self) -> bool {
        self.burst.inside()
    }

    /// Calls into scripts and lets the promise jobs run that follow from it. `what` names the call
    /// in log lines.
    ///
    /// # Errors
    /// What the call threw; what its jobs throw is logged.
    pub(super) fn enter<T>(
        &self,
        what: &str,
        call: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> rquickjs::Result<T>,
    ) -> Result<T, ScriptError> {
        if self.busy() {
            return Err(ScriptError::Busy);
        }
        let bridge = self.bridge.borrow().clone();
        let Some(bridge) = bridge else {
            return Err(ScriptError::Engine("not started".to_owned()));
        };
        self.go_in(what);
        let result = self.guarded(|ctx| {
            let bridge = bridge.restore(ctx)?;
            let level = log::level();
            if self.log_level.replace(level) != level {
                let configured: Function<'_> = bridge.get("configured")?;
                configured.call::<_, ()>((level,))?;
            }
            call(ctx, &bridge)
        });
        self.leave(what);
        result
    }

    /// As [`Engine::enter`] where a failure is worth a line and nothing more.
    pub(super) fn tell(
        &self,
        what: &str,
        call: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> rquickjs::Result<()>,
    ) {
        if let Err(e) = self.enter(what, call) {
            self.host.log_failure(&format!("{what} failed: {e}"));
        }
    }

    fn go_in(&self, what: &str) {
        let now = Instant::now();
        let time = self.burst.enter(now);
        let most = self.burst.allowed().saturating_mul(self.limits.patience);
        self.watchdog.enter(what, now, time.saturating_add(most));
    }

    fn guarded<T>(
        &self,
        call: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<T>,
    ) -> Result<T, ScriptError> {
        self.context.with(|ctx| {
            call(&ctx).map_err(|e| {
                self.burst.let_report();
                let text = describe(&ctx, &e);
                match self.burst.stopped() {
                    true => ScriptError::Stopped(text),
                    false => ScriptError::Threw(text),
                }
            })
        })
    }

    /// Promise jobs, then what was rejected, then what ended meanwhile.
    fn leave(&self, what: &str) {
        if self.host.follow_promises.take() {
            self.follow_promises();
        }
        self.run_ticks(what);
        for _ in 0..self.limits.jobs {
            match self.runtime.execute_pending_job() {
                Ok(true) => {}
                Ok(false) if self.host.ticks.get() => self.run_ticks(what),
                Ok(false) => break,
                Err(job) => {
                    self.burst.let_report();
                    let text = job.0.with(|ctx| describe_value(ctx.catch()));
                    self.host
                        .log_failure(&format!("{what}: promise job failed: {text}"));
                }
            }
        }
        self.watchdog.leave();
        let idle = !self.runtime.is_job_pending() && !self.host.ticks.get();
        if self.burst.leave(idle, self.loading.get()) {
            log_at!(
                Level::Crit,
                &"-",
                "plugins",
                [],
                "{what}: script stopped, as it ran for more than {:?} of processor time",
                if self.loading.get() {
                    self.limits.load
                } else {
                    self.limits.turn
                }
            );
            self.host.stopped();
        }
        if idle {
            self.host.idle();
            if !self.loading.get() && self.host.heap.get() > self.collect_at.get() {
                self.collect();
            }
        }
        self.host.rejections.report(&self.host);
        if !idle {
            self.go_on_later();
        }
        self.forget_ended();
    }

    /// The heap is nearly full. If that is what scripts hold, and go on to hold, the worker gets a
    /// successor.
    fn collect(&self) {
        if !self.is_full() || self.judged.replace(true) {
            return;
        }
        let engine = Weak::clone(&self.this);
        let pause = self.limits.full_for;
        rt::spawn(async move {
            rt::sleep(pause).await;
            if let Some(engine) = engine.upgrade() {
                engine.judged.set(false);
                engine.ask_for_successor();
            }
        })
        .detach();
    }

    /// Whether there is too much left after garbage was collected.
    fn is_full(&self) -> bool {
        self.runtime.run_gc();
        let used = self.host.heap.get();
        // Where little was left to collect, the next time is worth it after some more.
        let more = self.limits.memory / 20;
        self.collect_at.set(self.limits.full.max(used + more));
        used > self.limits.full
    }

    fn ask_for_successor(&self) {
        if !self.is_full() {
            return;
        }
        log_at!(
            Level::Crit,
            &"-",
            "plugins",
            [],
            "scripts hold {} of {} MB of memory (javascript.ini, memory): the worker is to be replaced",
            self.host.heap.get() >> 20,
            self.limits.memory >> 20
        );
        if let Some(services) = self.host.services() {
            services.ask_for_successor();
        }
    }

    /// Tells scripts of promises that are made and fulfilled from now on. Costs every promise a call, so
    /// it is done for whoever asks. Not while a script runs: it would be told of half of a promise.
    fn follow_promises(&self) {
        let engine = Weak::clone(&self.this);
        self.runtime
            .set_promise_hook(Some(Box::new(move |ctx, event, promise, _| {
                let bridge = engine.upgrade().and_then(|e| e.bridge.borrow().clone());
                if let Some(bridge) = bridge {
                    // Out of memory or of time: the script itself is told soon enough.
                    drop(tell_of_promise(&ctx, bridge, event, promise));
                }
            })));
    }

    /// What `process.nextTick` was given, before the promise jobs: they run when no script does.
    fn run_ticks(&self, what: &str) {
        if !self.host.ticks.take() {
            return;
        }
        let bridge = self.bridge.borrow().clone();
        let Some(bridge) = bridge else { return };
        let ran = self.guarded(|ctx| {
            let ticks: Function<'_> = bridge.restore(ctx)?.get("ticks")?;
            ticks.call::<_, ()>(())
        });
        if let Err(e) = ran {
            self.host
                .log_failure(&format!("{what}: process.nextTick failed: {e}"));
        }
    }

    /// More jobs are left than one turn may run.
    fn go_on_later(&self) {
        if self.continued.replace(true) {
            return;
        }
        let engine = Weak::clone(&self.this);
        rt::spawn(async move {
            rt::yield_now().await;
            if let Some(engine) = engine.upgrade() {
                engine.continued.set(false);
                engine.go_in("promise jobs");
                engine.leave("promise jobs");
            }
        })
        .detach();
    }

    /// Objects whose connection or transaction ended while a script was running.
    pub(super) fn forget_ended(&self) {
        if self.busy() {
            return;
        }
        let ended = self.host.ended.take();
        if !ended.is_empty() {
            self.tell("forgetting connections", |_, bridge| {
                let forget: Function<'_> = bridge.get("forget")?;
                for (connection, transaction) in ended {
                    forget.call::<_, ()>((connection, transaction))?;
                }
                Ok(())
            });
        }
    }

    /// Bytes of heap in use.
    #[cfg(test)]
    pub(super) fn memory_used(&self) -> i64 {
        self.runtime.memory_usage().malloc_size
    }
}

fn tell_of_promise<'js>(
    ctx: &Ctx<'js>,
    bridge: Persistent<Object<'static>>,
    event: PromiseHookType,
    promise: Value<'js>,
) -> rquickjs::Result<()> {
    let made = match event {
        PromiseHookType::Init => true,
        PromiseHookType::Resolve => false,
        PromiseHookType::Before | PromiseHookType::After => return Ok(()),
    };
    let promised: Function<'_> = bridge.restore(ctx)?.get("promised")?;
    promised.call((made, promise))
}

/// Nothing that the worker holds can be trusted to end any more.
fn hung(what: &str) {
    log_at!(
        Level::Crit,
        &"-",
        "plugins",
        [],
        "{what}: script does not come back and cannot be stopped: the worker ends"
    );
    std::process::abort();
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.host.close();
        // Before the context: they are values of it.
        self.bridge.borrow_mut().take();
        self.runtime.set_host_promise_rejection_tracker(None);
        self.runtime.set_interrupt_handler(None);
        self.runtime.set_promise_hook(None);
    }
}
