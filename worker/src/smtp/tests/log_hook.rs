//! Plugins that look at the log: what they are shown, what they keep back, and what they cannot break.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use haraka_shared::hook::{Call, HookName, Verdict};
use haraka_shared::log::{Format, Level, configure, emit, hold};
use haraka_shared::plugin::Wants;

use super::rig::with;
use crate::hooks::lines;
use crate::hooks::tests::script::{Loaded, plugin};
use crate::rt;
use crate::rt::tests::{keep_logs, logged};

type Seen = Rc<RefCell<Vec<String>>>;

fn say(text: &str) {
    emit(Level::Notice, &"-", "test", &[], format_args!("{text}"));
}

/// A plugin that notes every line and answers OK to those with this word.
fn keeping(seen: &Seen, word: &'static str) -> Loaded {
    let seen = Rc::clone(seen);
    plugin("keeper", &[Wants::hook(HookName::Log)], move |call, _| {
        let Call::Log(line) = call else { panic!() };
        seen.borrow_mut().push(line.text.clone());
        let kept = line.text.contains(word);
        // Its own line must not come back to it.
        say("keeper looks at a line");
        Box::pin(async move { if kept { Verdict::OK } else { Verdict::CONT } })
    })
}

fn failing() -> Loaded {
    plugin("failing", &[Wants::hook(HookName::Log)], |_, _| {
        panic!("no")
    })
}

// covers HOK-24, LOG-08
#[test]
fn every_line_is_offered_once_and_only_cont_lets_it_be_written() {
    keep_logs();
    configure(Level::Info, Format::Default, false);
    let seen = Seen::default();
    let id = uuid::Uuid::new_v4().to_string();
    with("", vec![failing(), keeping(&seen, "secret")], async |rig| {
        let held = hold();
        say(&format!("{id} before"));
        held.offer_to(lines::tap(&Rc::downgrade(&rig.worker)));
        say(&format!("{id} secret"));
        say(&format!("{id} plain"));
        let mut c = rig.greeted().await;
        let uuid = c.uuid();
        c.last("QUIT").await;
        let about = |word: &str| seen.borrow().iter().filter(|l| l.contains(word)).count();
        assert_eq!(about(&id), 3, "{seen:?}");
        assert!(about(&uuid) >= 2, "{seen:?}");
        assert_eq!(about("keeper looks"), 0);
        let written = |part: &str| logged(&format!("{id} {part}")).len();
        assert_eq!(
            [written("before"), written("secret"), written("plain")],
            [1, 0, 1]
        );
        assert!(!logged("keeper looks").is_empty());
    });
}

// covers HOK-24
#[test]
fn a_plugin_that_takes_its_time_holds_back_its_line_alone_and_has_no_limit() {
    keep_logs();
    configure(Level::Info, Format::Default, false);
    let id = uuid::Uuid::new_v4().to_string();
    let slow = plugin("slow", &[Wants::hook(HookName::Log)], |call, _| {
        let Call::Log(line) = call else { panic!() };
        let slow = line.text.contains("slow");
        Box::pin(async move {
            if slow {
                rt::sleep(Duration::from_secs(7200)).await;
            }
            Verdict::CONT
        })
    });
    let (registration, _) = slow;
    let limited = (registration, Some(Duration::from_secs(1)));
    with("", vec![limited], async |rig| {
        hold().offer_to(lines::tap(&Rc::downgrade(&rig.worker)));
        say(&format!("{id} slow"));
        say(&format!("{id} quick"));
        assert_eq!(logged(&format!("{id} quick")).len(), 1);
        rt::sleep(Duration::from_secs(7100)).await;
        assert_eq!(logged(&format!("{id} slow")).len(), 0);
        rt::sleep(Duration::from_secs(200)).await;
        assert_eq!(logged(&format!("{id} slow")).len(), 1);
        assert!(logged("timed out").iter().all(|l| !l.contains("hook log")));
    });
}

// covers HOK-24
#[test]
fn lines_after_the_worker_has_gone_are_written_unasked() {
    keep_logs();
    configure(Level::Info, Format::Default, false);
    let seen = Seen::default();
    let id = uuid::Uuid::new_v4().to_string();
    with("", vec![keeping(&seen, "late")], async |rig| {
        hold().offer_to(lines::tap(&Rc::downgrade(&rig.worker)));
    });
    say(&format!("{id} late"));
    assert_eq!(logged(&format!("{id} late")).len(), 1);
}
