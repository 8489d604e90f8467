//! Plugins of the `log` hook see lines before they are written (HOK-24, LOG-08).
//!
//! Only the thread that runs plugins offers its lines: while it loads them they are held, and then
//! offered one by one. Without such a plugin all this is one look at a flag.

use std::cell::{Cell, RefCell};
use std::mem;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Line;

/// Takes a line, and writes it by [`Line::write`] if it is to be written.
pub type Tap = Rc<dyn Fn(Line)>;

enum State {
    Direct,
    Held(Vec<Line>),
    Tapped(Tap),
}

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State::Direct) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Some thread holds or offers its lines.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Lines that can be held; plugins that load do not say more.
const MOST_HELD: usize = 10_000;

/// Lines of this thread are held while this lives. Dropped, it writes them.
#[must_use = "dropping it ends the holding"]
pub struct Held(());

/// Holds the lines of this thread from now on (LOG-08).
pub fn hold() -> Held {
    WATCHED.store(true, Ordering::Relaxed);
    STATE.with(|s| *s.borrow_mut() = State::Held(Vec::new()));
    Held(())
}

impl Held {
    /// Offers the held lines, and all later ones of this thread.
    pub fn offer_to(self, tap: Tap) {
        let before = STATE.with(|s| s.replace(State::Tapped(Rc::clone(&tap))));
        if let State::Held(lines) = before {
            lines.into_iter().for_each(|line| tap(line));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let lines = STATE.with(|s| match &mut *s.borrow_mut() {
            State::Held(lines) => Some(mem::take(lines)),
            State::Direct | State::Tapped(_) => None,
        });
        let Some(lines) = lines else { return };
        STATE.with(|s| *s.borrow_mut() = State::Direct);
        lines.into_iter().for_each(Line::write);
    }
}

/// Runs a step of a plugin that listens to the log: lines that it writes go out at once, or it
/// would listen to itself for ever.
pub fn quietly<T>(step: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            QUIET.set(self.0);
        }
    }
    let before = Before(QUIET.replace(true));
    let done = step();
    drop(before);
    done
}

/// Whether some thread holds or offers its lines.
pub(super) fn watched() -> bool {
    WATCHED.load(Ordering::Relaxed)
}

/// Gives the line back if nobody wants to see it first.
pub(super) fn pass(line: Line) -> Option<Line> {
    if !watched() || QUIET.get() {
        return Some(line);
    }
    let tap = STATE.with(|s| match &mut *s.borrow_mut() {
        State::Direct => Err(line),
        State::Held(lines) if lines.len() >= MOST_HELD => Err(line),
        State::Held(lines) => {
            lines.push(line);
            Ok(None)
        }
        State::Tapped(tap) => Ok(Some((Rc::clone(tap), line))),
    });
    match tap {
        Err(line) => return Some(line),
        Ok(None) => {}
        Ok(Some((tap, line))) => tap(line),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Level;

    fn line(text: &str) -> Line {
        Line {
            level: Level::Info,
            text: text.to_owned(),
            said: None,
        }
    }

    // covers LOG-08, HOK-24
    #[test]
    fn lines_from_before_the_plugins_are_offered_first_and_in_order() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let held = hold();
        assert_eq!(pass(line("one")), None);
        assert_eq!(pass(line("two")), None);
        assert!(seen.borrow().is_empty());
        let sink = Rc::clone(&seen);
        held.offer_to(Rc::new(move |line: Line| {
            sink.borrow_mut().push(line.text.clone());
            // A plugin that logs while it looks at a line is not asked about its own line.
            assert_eq!(
                quietly(|| pass(line.clone())).map(|l| l.text),
                Some(line.text)
            );
        }));
        assert_eq!(pass(line("three")), None);
        assert_eq!(*seen.borrow(), ["one", "two", "three"]);
    }

    // covers LOG-08
    #[test]
    fn nobody_to_offer_to_means_direct_again() {
        drop(hold());
        assert_eq!(pass(line("x")), Some(line("x")));
    }
}
