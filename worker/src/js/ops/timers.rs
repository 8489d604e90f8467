//! Timers of scripts.

use std::rc::Rc;
use std::time::Duration;

use rquickjs::{Ctx, Function, Object};

use super::op;
use crate::js::host::Host;
use crate::rt;

/// Timers that scripts may have at a time; more are a loop that makes timers.
const MOST: usize = 100_000;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let h = Rc::clone(host);
    op!(ctx, field, "start", move |ms: f64, repeat: bool| start(
        &h, ms, repeat
    ));
    let h = Rc::clone(host);
    op!(ctx, field, "stop", move |number: u32| {
        let stopped = h.tasks.borrow_mut().remove(&number);
        drop(stopped);
    });
    Ok(())
}

/// Starts a timer and gives its number; 0 if there are too many. A negative time means the next turn.
fn start(host: &Rc<Host>, ms: f64, repeat: bool) -> u32 {
    if host.tasks.borrow().len() >= MOST {
        return 0;
    }
    let at_once = ms < 0.0;
    // As Node: less than one, and more than an int can say, is one millisecond.
    let ms = if (1.0..=2_147_483_647.0).contains(&ms) {
        ms
    } else {
        1.0
    };
    let pause = Duration::from_secs_f64(ms / 1000.0);
    let number = host.number();
    let weak = Rc::downgrade(host);
    let task = rt::spawn(async move {
        loop {
            match at_once {
                true => rt::yield_now().await,
                false => rt::sleep(pause).await,
            }
            let Some(engine) = weak.upgrade().and_then(|h| h.engine()) else {
                return;
            };
            if !repeat {
                // This very task: letting it run on frees the entry alone.
                let own = engine.host.tasks.borrow_mut().remove(&number);
                if let Some(own) = own {
                    own.detach();
                }
            }
            engine.tell("timer", |_, bridge| {
                let fire: Function<'_> = bridge.get("fire")?;
                fire.call((number,))
            });
            if !repeat {
                return;
            }
        }
    });
    host.tasks.borrow_mut().insert(number, task);
    number
}
