//! Handing messages to other hosts: which hosts, over which connections, and what they said.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use haraka_shared::config::{Config, ConfigDir, InetPrefer};
use haraka_shared::log::Level;
use haraka_shared::{log_at, log_server};

use super::attempt::{Attempt, Cause};
use super::client::{Client, ClientSettings, Timeouts};
use super::mail_hosts::{Local, Prefer};
use super::message::{Envelope, Outgoing};
use super::pool::Pool;
use super::route::{RouteSettings, Targets};
use crate::rt;

/// How often `outbound.ini` is looked at for `disabled`.
const LOOK: Duration = Duration::from_secs(1);

/// Connections to other hosts, and the settings that they go by.
pub(super) struct Mail {
    route: RouteSettings,
    client: Rc<ClientSettings>,
    pub(super) pool: Rc<Pool>,
    switch: Switch,
}

impl Mail {
    pub(super) fn new(config: &Config, dir: ConfigDir) -> Mail {
        let outbound = &config.outbound;
        Mail {
            route: RouteSettings {
                prefer: match outbound.inet_prefer {
                    InetPrefer::Default => Prefer::Default,
                    InetPrefer::V4 => Prefer::V4,
                    InetPrefer::V6 => Prefer::V6,
                },
                local_mx_ok: outbound.local_mx_ok,
                local: Local::of_this_host(&config.me, config.smtp.public_ip),
            },
            client: Rc::new(ClientSettings {
                me: config.me.clone(),
                timeouts: Timeouts {
                    connect: outbound.connect_timeout,
                    greeting: outbound.greeting_timeout,
                    hello: outbound.helo_timeout,
                    mail: outbound.mail_timeout,
                    rcpt: outbound.rcpt_timeout,
                    data: outbound.data_init_timeout,
                    block: outbound.data_block_timeout,
                    dot: outbound.data_done_timeout,
                    quit: outbound.quit_timeout,
                },
            }),
            pool: Rc::new(Pool::default()),
            switch: Switch::new(dir, outbound.disabled),
        }
    }

    pub(super) fn route_settings(&self) -> &RouteSettings {
        &self.route
    }

    /// Whether deliveries are switched off (OUT-17); takes effect without a restart.
    pub(super) fn disabled(&self) -> bool {
        self.switch.is_off()
    }

    /// Offers a message to one target after the other until one decides about it.
    pub(super) async fn offer(
        &self,
        mut targets: Targets<'_>,
        envelope: &Envelope<'_>,
        message: &Outgoing,
    ) -> Result<Attempt, Cause> {
        while let Some(target) = targets.next().await {
            let kept = self.pool.take(&target);
            let was_kept = kept.is_some();
            let client = match kept {
                Some(client) => Ok(client),
                None => Client::connect(&target, &self.client, envelope.uuid.clone()).await,
            };
            let unusable = match client {
                Ok(mut client) => match client.send(envelope, message).await {
                    Ok(attempt) => {
                        self.pool.put(client);
                        return Ok(attempt);
                    }
                    // The host may have closed while the connection was kept: that says nothing.
                    Err(_) if was_kept => {
                        targets.again(target);
                        continue;
                    }
                    Err(e) => e,
                },
                Err(e) => e,
            };
            log_at!(
                Level::Info,
                &envelope.uuid,
                "outbound",
                [],
                "{} at {} not used: {unusable}",
                target.host,
                target.peer().ip
            );
            targets.note(unusable.cause(&target.host));
        }
        // OUT-32
        Err(match targets.problem() {
            Some(cause) => {
                let mut cause = cause.clone();
                cause.text = format!("Tried all MXs, last: {}", cause.text);
                cause
            }
            None => Cause::temporary(1, 2, "Tried all MXs"),
        })
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
        let switch = Switch {
            dir,
            off: Cell::new(off),
            seen: Cell::new(None),
            next: Cell::new(rt::now() + LOOK),
        };
        switch.seen.set(switch.changed());
        switch
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
