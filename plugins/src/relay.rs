//! Who may send mail to elsewhere, and where mail for some domains goes.
//!
//! Four features, each with its switch in `relay.ini`: addresses that may relay (`acl`), domains that
//! anyone may send to (`dest_domains`), fixed next hops (`force_routing`), and an open relay (`all`).

mod acl;
mod destinations;

use haraka_shared::config::{ConfigDir, Live, Warning};
use haraka_shared::delivery::Delivery;
use haraka_shared::hook::{HookName, Hooks, Path, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};

use acl::Acl;
use destinations::{Action, Destinations};

/// The file of the switches.
const FILE: &str = "relay.ini";

/// See `docs/plugins/relay.md`.
pub struct Relay {
    settings: Live<Settings>,
}

/// What the files say.
struct Settings {
    /// None when the feature is off.
    acl: Option<Acl>,
    /// None when neither feature that reads the file is on.
    destinations: Option<Destinations>,
    dest_domains: bool,
    force_routing: bool,
    all: bool,
}

impl Settings {
    fn load(config: &ConfigDir, warnings: &mut Vec<Warning>) -> Result<Settings, PluginError> {
        let ini = config.ini(FILE)?;
        let on = |key, default| ini.bool("relay", key, default);
        let dest_domains = on("dest_domains", false);
        let force_routing = on("force_routing", true);
        let acl = if on("acl", true) {
            let (acl, complaints) = Acl::parse(&config.items(acl::FILE)?);
            warnings.extend(complaints);
            Some(acl)
        } else {
            None
        };
        let destinations = if dest_domains || force_routing {
            Some(Destinations::parse(&config.ini(destinations::FILE)?)?)
        } else {
            None
        };
        Ok(Settings {
            acl,
            destinations,
            dest_domains,
            force_routing,
            all: on("all", false),
        })
    }
}

impl Plugin for Relay {
    const NAME: &'static str = "relay";
    const HOOKS: &'static [Wants] = &[
        Wants::hook(HookName::ConnectInit).called("acl"),
        Wants::hook(HookName::Connect).called("pass_relaying"),
        Wants::hook(HookName::GetMx).called("force_routing"),
        Wants::hook(HookName::Rcpt).called("dest_domains"),
    ];

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        let files = [FILE, acl::FILE, destinations::FILE];
        Ok(Relay {
            settings: env.live(Self::NAME, &files, Settings::load)?,
        })
    }

    /// As the features are switched at start; one that is switched on later needs a restart.
    fn wants(&self) -> Vec<Wants> {
        let settings = self.settings.get();
        let mut wants = Vec::new();
        if settings.acl.is_some() {
            wants.push(Wants::hook(HookName::ConnectInit).called("acl"));
            wants.push(Wants::hook(HookName::Connect).called("pass_relaying"));
        }
        if settings.force_routing {
            wants.push(Wants::hook(HookName::GetMx).called("force_routing"));
        }
        if settings.dest_domains {
            wants.push(Wants::hook(HookName::Rcpt).called("dest_domains"));
        } else if settings.all {
            wants.push(Wants::hook(HookName::Rcpt).called("all"));
        }
        wants
    }
}

impl Hooks for Relay {
    async fn connect_init(&self, cx: &HookCx, _none: ()) -> Verdict {
        let settings = self.settings.get();
        let (Some(acl), Some(connection)) = (&settings.acl, &cx.connection) else {
            return Verdict::CONT;
        };
        let ip = connection.remote_ip();
        log_plugin!(Level::Debug, cx, "checking {ip} in relay_acl_allow");
        if !acl.allows(ip) {
            connection.results.add(&cx.plugin, "skip", "acl(unlisted)");
            return Verdict::CONT;
        }
        log_plugin!(
            Level::Debug,
            cx,
            "checking if {ip} is in relay_acl_allow: yes"
        );
        connection.results.add(&cx.plugin, "pass", "acl");
        connection.set_relaying(true);
        Verdict::OK
    }

    /// Whoever may relay is spared the connect plugins that come later.
    async fn connect(&self, cx: &HookCx, _none: ()) -> Verdict {
        match &cx.connection {
            Some(connection) if connection.relaying() => Verdict::OK,
            _ => Verdict::CONT,
        }
    }

    async fn rcpt(&self, cx: &HookCx, to: &Path) -> Verdict {
        let settings = self.settings.get();
        if settings.dest_domains {
            let verdict = settings.check_destination(cx, to);
            if verdict != Verdict::CONT {
                return verdict;
            }
        }
        match &cx.connection {
            Some(connection) if settings.all => {
                log_plugin!(Level::Info, cx, "confirming recipient {}", to.address);
                connection.set_relaying(true);
                Verdict::OK
            }
            _ => Verdict::CONT,
        }
    }

    async fn get_mx(&self, cx: &HookCx, item: &Delivery) -> Verdict {
        let settings = self.settings.get();
        if !settings.force_routing {
            return Verdict::CONT;
        }
        let domain = &*item.domain.borrow();
        match settings
            .destinations
            .as_ref()
            .and_then(|d| d.next_hop(domain))
        {
            Some(route) => {
                log_plugin!(
                    Level::Debug,
                    cx,
                    "using {}:{} for: {domain}",
                    route.host,
                    route.port()
                );
                Verdict::routes(vec![route.clone()])
            }
            None => {
                log_plugin!(Level::Debug, cx, "using normal MX lookup for: {domain}");
                Verdict::CONT
            }
        }
    }
}

impl Settings {
    fn check_destination(&self, cx: &HookCx, to: &Path) -> Verdict {
        let (Some(connection), Some(transaction)) = (&cx.connection, cx.transaction()) else {
            return Verdict::CONT;
        };
        let results = &transaction.results;
        if connection.relaying() {
            results.add(&cx.plugin, "skip", "relay_dest_domain(relay)");
            return Verdict::CONT;
        }
        let Some(destinations) = self.destinations.as_ref().filter(|d| d.listed) else {
            results.add(&cx.plugin, "skip", "relay_dest_domain(config)");
            return Verdict::CONT;
        };
        let domain = to.address.host();
        log_plugin!(Level::Debug, cx, "dest_domain = {domain}");
        let action = destinations.action(domain);
        match action {
            Action::Accept | Action::Continue => {
                connection.set_relaying(true);
                results.add(&cx.plugin, "pass", "relay_dest_domain");
                if action == Action::Accept {
                    Verdict::OK
                } else {
                    Verdict::CONT
                }
            }
            Action::Deny => {
                results.add(&cx.plugin, "fail", "relay_dest_domain");
                Verdict::deny("You are not allowed to relay")
            }
            Action::Unknown => {
                results.add(&cx.plugin, "fail", "relay_dest_domain");
                Verdict::deny("Mail for that recipient is not accepted here.")
            }
        }
    }
}
