//! What deliveries share: connections to other hosts, the settings that they go by, and the switch
//! that turns them off. The settings follow their files; a delivery goes by those of its beginning.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use haraka_shared::config::Config;
use haraka_shared::log::Level;
use haraka_shared::log_server;

use super::client::{ClientSettings, Timeouts};
use super::kits::Kits;
use super::offer::Courier;
use super::route::RouteSettings;

/// What deliveries share.
pub(super) struct Mail {
    routing: RefCell<Rc<RouteSettings>>,
    kits: Rc<Kits>,
    pub(super) courier: Courier,
    off: Cell<bool>,
}

impl Mail {
    pub(super) fn new(config: &Config, kits: Rc<Kits>) -> Mail {
        Mail {
            routing: RefCell::new(Rc::new(RouteSettings::new(config))),
            courier: Courier::new(client_settings(config, kits.clone())),
            kits,
            off: Cell::new(config.outbound.disabled),
        }
    }

    /// Goes by these settings from now on.
    pub(super) fn configure(&self, config: &Config) {
        self.routing.replace(Rc::new(RouteSettings::new(config)));
        self.kits.configure(&config.tls);
        let settings = client_settings(config, Rc::clone(&self.kits));
        self.courier.configure(settings);
        let off = config.outbound.disabled;
        if off != self.off.replace(off) {
            let state = if off { "disabled" } else { "enabled" };
            log_server!(Level::Notice, "outbound deliveries are {state}");
        }
    }

    /// What routing goes by now.
    pub(super) fn routing(&self) -> Rc<RouteSettings> {
        Rc::clone(&self.routing.borrow())
    }

    /// Whether deliveries are switched off (OUT-17); takes effect without a restart.
    pub(super) fn disabled(&self) -> bool {
        self.off.get()
    }
}

fn client_settings(config: &Config, kits: Rc<Kits>) -> ClientSettings {
    ClientSettings {
        me: config.me.clone(),
        timeouts: Timeouts::from(&config.outbound),
        enable_tls: config.outbound.enable_tls,
        auth_in_clear: config.outbound.auth_in_clear,
        kits,
    }
}
