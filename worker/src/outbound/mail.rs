//! What deliveries share: connections to other hosts, the settings that they go by, and the switch
//! that turns them off.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use haraka_shared::config::{Config, ConfigDir};
use haraka_shared::log::Level;
use haraka_shared::log_server;

use super::client::{ClientSettings, Timeouts};
use super::offer::Courier;
use super::route::RouteSettings;
use crate::rt;

/// How often `outbound.ini` is looked at for `disabled`.
const LOOK: Duration = Duration::from_secs(1);

/// What deliveries share.
pub(super) struct Mail {
    pub(super) routing: RouteSettings,
    pub(super) courier: Courier,
    switch: Switch,
}

impl Mail {
    pub(super) fn new(config: &Config, dir: ConfigDir) -> Mail {
        Mail {
            routing: RouteSettings::new(config),
            courier: Courier::new(ClientSettings {
                me: config.me.clone(),
                timeouts: Timeouts::from(&config.outbound),
            }),
            switch: Switch::new(dir, config.outbound.disabled),
        }
    }

    /// Whether deliveries are switched off (OUT-17); takes effect without a restart.
    pub(super) fn disabled(&self) -> bool {
        self.switch.is_off()
    }
}

/// `disabled` in outbound.ini, followed by looking at the file's time.
struct Switch {
    dir: ConfigDir,
    off: Cell<bool>,
    seen: Cell<Option<SystemTime>>,
    next: Cell<Instant>,
}

impl Switch {
    fn new(dir: ConfigDir, off: bool) -> Switch {
        Switch {
            dir,
            off: Cell::new(off),
            // Unknown: the file may have changed since the master read it.
            seen: Cell::new(None),
            next: Cell::new(rt::now() + LOOK),
        }
    }

    fn changed(&self) -> Option<SystemTime> {
        let path = self.dir.path("outbound.ini").ok()?;
        std::fs::metadata(path).ok()?.modified().ok()
    }

    fn is_off(&self) -> bool {
        let now = rt::now();
        if now < self.next.get() {
            return self.off.get();
        }
        self.next.set(now + LOOK);
        let changed = self.changed();
        if changed == self.seen.replace(changed) {
            return self.off.get();
        }
        match self.dir.ini("outbound.ini") {
            Ok(ini) => {
                let off = ini.bool("main", "disabled", false);
                if off != self.off.replace(off) {
                    log_server!(
                        Level::Notice,
                        "outbound deliveries are {}",
                        if off { "disabled" } else { "enabled" }
                    );
                }
            }
            Err(e) => log_server!(Level::Warn, "outbound.ini not read again: {e}"),
        }
        self.off.get()
    }
}
