//! The operator's words for bounces, which follow their files: read again at the next bounce once they
//! are a second old, so that a flood of bounces does not read them each time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use haraka_shared::config::ConfigDir;
use haraka_shared::log::Level;
use haraka_shared::log_at;

use super::template::Templates;
use crate::rt;

/// The words as they were last read.
#[derive(Default)]
pub(super) struct Words(RefCell<Option<(Instant, Rc<Templates>)>>);

impl Words {
    /// The words for a bounce that is written now.
    pub(super) fn of_bounces(&self, dir: &ConfigDir) -> Rc<Templates> {
        let now = rt::now();
        if let Some((read, words)) = &*self.0.borrow()
            && now.saturating_duration_since(*read) < GOOD_FOR
        {
            return Rc::clone(words);
        }
        let words = Rc::new(read(dir));
        self.0.replace(Some((now, Rc::clone(&words))));
        words
    }
}

fn read(dir: &ConfigDir) -> Templates {
    let text = |name: &str| match dir.bytes(name) {
        Ok(bytes) => bytes.map(|b| String::from_utf8_lossy(&b).into_owned()),
        Err(e) => {
            log_at!(
                Level::Error,
                &"-",
                "outbound",
                [],
                "{e}; the built-in text is used"
            );
            None
        }
    };
    Templates::new(
        text("outbound.bounce_message"),
        text("outbound.bounce_message_html"),
        text("outbound.bounce_message_image"),
    )
}

const GOOD_FOR: Duration = Duration::from_secs(1);
