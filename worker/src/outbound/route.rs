//! From a destination to the addresses to try, in order (OUT-21 to OUT-29).
//!
//! Hosts are looked up one after the other as they are needed, so that the first attempt waits for
//! one lookup and not for all. The order of hosts and what is left out are pure functions in
//! `mail_hosts.rs`. Must never connect to anything.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::task::Poll;

use haraka_shared::address::Address;
use haraka_shared::config::{Config, InetPrefer};
use haraka_shared::route::{Host, Route};
use haraka_shared::services::{Dns, DnsError};

use super::attempt::{Cause, Peer};
use super::hooks_before::Own;
use super::mail_hosts::{Local, ascending, literal, preferred};
use super::policy::{Demand, Failure, HostPolicy, Scope};
use super::shaping::Permit;
use super::wish::TlsOutcome;

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Over TCP.
    Socket(SocketAddr),
    /// A Unix socket.
    Path(PathBuf),
}

/// One address to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host's name; its address or path when it came without one.
    pub host: Rc<str>,
    /// Where it listens.
    pub place: Place,
    /// What else the route says.
    pub route: Rc<Route>,
    /// What is demanded of TLS with it.
    pub policy: Rc<HostPolicy>,
}

impl Target {
    /// Who this is, before anything is said.
    pub fn peer(&self) -> Peer {
        let (ip, port) = match &self.place {
            Place::Socket(a) => (a.ip().to_string(), a.port()),
            Place::Path(p) => (p.display().to_string(), 0),
        };
        Peer {
            host: self.host.clone(),
            ip,
            port,
            lmtp: self.route.lmtp,
            dsn: false,
            secured: false,
            authenticated: false,
            tls_policy: self.policy.label(),
            tls: TlsOutcome::NotWanted,
        }
    }
}

/// Why a domain has no host to try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// It says so itself (RFC 7505).
    #[error("Domain {0} sends and receives no email (NULL MX)")]
    NullMx(String),
    /// There is no such name in the DNS.
    #[error("No Such Domain: {0}")]
    NoSuchDomain(String),
    /// The name is there, without any host.
    #[error("Nowhere to deliver mail to for domain: {0}")]
    Nowhere(String),
    /// The DNS gave no answer; it may later.
    #[error("DNS lookup failure: {0}")]
    Temporary(String),
}

impl NoRoute {
    /// As a cause for all recipients; its status says whether it is final.
    pub fn cause(&self) -> Cause {
        let text = self.to_string();
        match self {
            // RFC 7505 §4.1
            NoRoute::NullMx(_) => Cause::permanent(1, 10, text),
            NoRoute::NoSuchDomain(_) | NoRoute::Nowhere(_) => Cause::permanent(1, 2, text),
            NoRoute::Temporary(_) => Cause::temporary(4, 3, text),
        }
    }
}

/// What routing goes by.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Which addresses of a host come first.
    pub prefer: InetPrefer,
    /// Deliver to this server itself, if the DNS says so.
    pub local_mx_ok: bool,
    /// What this server is.
    pub local: Local,
}

impl RouteSettings {
    /// As configured, with the addresses that this machine has now.
    pub fn new(config: &Config) -> RouteSettings {
        RouteSettings {
            prefer: config.outbound.inet_prefer,
            local_mx_ok: config.outbound.local_mx_ok,
            local: Local::of_this_host(&config.me, config.smtp.public_ip),
        }
    }
}

/// The addresses of a destination, best first.
pub struct Targets<'a> {
    dns: &'a dyn Dns,
    settings: &'a RouteSettings,
    hosts: VecDeque<Rc<Route>>,
    ready: VecDeque<Target>,
    given: Vec<Place>,
    problem: Option<Cause>,
    scope: Option<Scope<'a>>,
    permit: Option<Permit>,
}

impl<'a> Targets<'a> {
    /// The targets of a domain (any host that `user@domain` may name, address literals included).
    ///
    /// # Errors
    /// [`NoRoute`] if there is none for sure, or if the DNS did not answer.
    pub async fn of_domain(
        dns: &'a dyn Dns,
        domain: &str,
        settings: &'a RouteSettings,
    ) -> Result<Targets<'a>, NoRoute> {
        let mut targets = Targets::of_routes(dns, Vec::new(), settings);
        if let Some(ip) = literal(domain) {
            let route = Route {
                from_dns: true,
                ..Route::to(Host::Ip(ip))
            };
            targets.hosts.push_back(Rc::new(route));
            return Ok(targets);
        }
        let name = ascii(domain);
        let found = match dns.mx(&name).await {
            Ok(records) if !records.is_empty() => records,
            // A name may have an address in the hosts file without being in the DNS.
            Ok(_) | Err(DnsError::NoData | DnsError::NoSuchName) => {
                targets.without_mx(domain, &name).await?;
                return Ok(targets);
            }
            Err(DnsError::Temporary(why)) => {
                return Err(NoRoute::Temporary(format!("{domain}: {why}")));
            }
        };
        if matches!(&*found, [only] if only.exchange.is_empty()) {
            return Err(NoRoute::NullMx(domain.to_owned()));
        }
        let mut rng = fastrand::Rng::new();
        let hosts = ascending(found, &mut rng);
        targets.hosts = hosts.into_iter().map(Rc::new).collect();
        if targets.hosts.is_empty() {
            return Err(NoRoute::Nowhere(domain.to_owned()));
        }
        Ok(targets)
    }

    /// The targets of routes from a plugin, in their order (PA-45).
    pub fn of_routes(
        dns: &'a dyn Dns,
        routes: Vec<Route>,
        settings: &'a RouteSettings,
    ) -> Targets<'a> {
        Targets {
            dns,
            settings,
            hosts: routes.into_iter().map(Rc::new).collect(),
            ready: VecDeque::new(),
            given: Vec::new(),
            problem: None,
            scope: None,
            permit: None,
        }
    }

    /// The same targets under the TLS policies of this delivery.
    #[must_use]
    pub fn under(mut self, scope: Scope<'a>) -> Targets<'a> {
        self.scope = Some(scope);
        self
    }

    /// The same targets, with this address and name of ours.
    #[must_use]
    pub(super) fn showing(mut self, own: &Own) -> Targets<'a> {
        let ready = self.ready.iter_mut().map(|target| &mut target.route);
        for route in self.hosts.iter_mut().chain(ready) {
            own.over(Rc::make_mut(route));
        }
        self
    }

    /// The same targets, with the right to deliver to them, from the address that it chose.
    #[must_use]
    pub(super) fn permitted(mut self, permit: Option<Permit>) -> Targets<'a> {
        if let Some(source) = permit.as_ref().and_then(Permit::source) {
            let ready = self.ready.iter_mut().map(|target| &mut target.route);
            for route in self.hosts.iter_mut().chain(ready) {
                if route.bind.is_none() {
                    let route = Rc::make_mut(route);
                    route.bind = Some(source.address);
                    let helo = route.bind_helo.take();
                    route.bind_helo = helo.or_else(|| source.helo.clone());
                }
            }
        }
        self.permit = permit;
        self
    }

    /// The right to deliver to them, where one is needed.
    pub(super) fn permit(&self) -> Option<&Permit> {
        self.permit.as_ref()
    }

    /// Notes how TLS with a target went, for TLS reports.
    pub fn note_tls(&self, target: &Target, failure: Option<&Failure>) {
        if let (Some(scope), Place::Socket(address)) = (&self.scope, &target.place) {
            let ip = address.ip().to_string();
            scope.note(&target.policy, &target.host, &ip, failure);
        }
    }

    /// RFC 5321 §5.1: a host without MX records is its own mail exchanger.
    async fn without_mx(&mut self, domain: &str, name: &str) -> Result<(), NoRoute> {
        let route = Rc::new(Route {
            from_dns: true,
            ..Route::to(Host::Name(name.to_owned()))
        });
        match self.addresses(name).await {
            Ok(addresses) if addresses.is_empty() => Err(NoRoute::Nowhere(domain.to_owned())),
            Ok(addresses) => {
                self.make_ready(&route, name, &addresses);
                Ok(())
            }
            Err(DnsError::NoSuchName) => Err(NoRoute::NoSuchDomain(domain.to_owned())),
            Err(DnsError::NoData) => Err(NoRoute::Nowhere(domain.to_owned())),
            Err(DnsError::Temporary(why)) => Err(NoRoute::Temporary(format!("{domain}: {why}"))),
        }
    }

    /// The next address to try; none when all were given out.
    pub async fn next(&mut self) -> Option<Target> {
        while self.given.len() < MOST_TARGETS {
            let Some(mut target) = self.ready.pop_front() else {
                let route = self.hosts.pop_front()?;
                self.look_up(route).await;
                continue;
            };
            if self.is_this_server(&target) || self.given.contains(&target.place) {
                continue;
            }
            if let Some(cause) = other_family(&target) {
                self.problem = Some(cause);
                continue;
            }
            self.given.push(target.place.clone());
            if let (Some(scope), Place::Socket(_)) = (&mut self.scope, &target.place) {
                target.policy = scope.judge(&target.host).await;
            }
            if target.policy.demand == Demand::Refused {
                // Another address does not make it another host.
                self.ready.retain(|t| t.host != target.host);
            }
            return Some(target);
        }
        None
    }

    /// Why hosts gave no address, or what was wrong with the last one tried.
    pub fn problem(&self) -> Option<&Cause> {
        self.problem.as_ref()
    }

    /// Notes why a target was of no use.
    pub fn note(&mut self, cause: Cause) {
        self.problem = Some(cause);
    }

    async fn look_up(&mut self, route: Rc<Route>) {
        match &route.host {
            Host::Path(path) => {
                let host = path.display().to_string().into();
                let place = Place::Path(path.clone());
                let policy = Rc::new(HostPolicy::OPPORTUNISTIC);
                self.ready.push_back(Target {
                    host,
                    place,
                    route,
                    policy,
                });
            }
            Host::Ip(ip) => {
                let ip = *ip;
                self.make_ready(&route, &ip.to_string(), &[ip]);
            }
            Host::Name(name) => {
                if route.from_dns && !self.settings.local_mx_ok && self.settings.local.is_name(name)
                {
                    self.skip_from(&route);
                    return;
                }
                match self.addresses(&ascii(name)).await {
                    Ok(addresses) => self.make_ready(&route, name, &addresses),
                    Err(e) => self.problem = Some(Cause::temporary(4, 3, format!("{name}: {e}"))),
                }
            }
        }
    }

    fn make_ready(&mut self, route: &Rc<Route>, host: &str, addresses: &[IpAddr]) {
        let host: Rc<str> = host.into();
        let policy = Rc::new(HostPolicy::OPPORTUNISTIC);
        self.ready.extend(addresses.iter().map(|ip| Target {
            host: host.clone(),
            place: Place::Socket(SocketAddr::new(*ip, route.port())),
            route: route.clone(),
            policy: policy.clone(),
        }));
    }

    /// OUT-27, PB-66: a plugin's routes may lead back here, those from the DNS must not.
    fn is_this_server(&mut self, target: &Target) -> bool {
        let Place::Socket(address) = &target.place else {
            return false;
        };
        let here = target.route.from_dns
            && !self.settings.local_mx_ok
            && self.settings.local.is_address(address.ip());
        if here {
            self.skip_from(&target.route.clone());
        }
        here
    }

    /// RFC 5321 §5.1: the hosts that come after this server itself would only hand the message back.
    fn skip_from(&mut self, own: &Route) {
        let text = format!("MX {} is local, skipping since local_mx_ok=false", own.host);
        self.problem = Some(Cause::temporary(4, 6, text));
        self.hosts.retain(|h| h.preference < own.preference);
        self.ready.retain(|t| t.route.preference < own.preference);
    }

    /// IPv6 before IPv4 (OUT-25), unless preferred otherwise (OUT-26).
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        let (mut v6, mut v4) = (self.dns.aaaa(name), self.dns.a(name));
        let (mut got6, mut got4) = (None, None);
        poll_fn(|cx| {
            if got6.is_none()
                && let Poll::Ready(done) = v6.as_mut().poll(cx)
            {
                got6 = Some(done);
            }
            if got4.is_none()
                && let Poll::Ready(done) = v4.as_mut().poll(cx)
            {
                got4 = Some(done);
            }
            if got6.is_some() && got4.is_some() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        let none = || Err(DnsError::NoData);
        preferred(
            got6.unwrap_or_else(none),
            got4.unwrap_or_else(none),
            self.settings.prefer,
        )
    }
}

/// Why a host cannot be reached from the address that its route names.
fn other_family(target: &Target) -> Option<Cause> {
    let (Some(bind), Place::Socket(to)) = (target.route.bind, &target.place) else {
        return None;
    };
    let text = || format!("{} cannot be reached from {bind}", to.ip());
    (bind.is_ipv4() != to.is_ipv4()).then(|| Cause::temporary(4, 4, text()).at(&target.host))
}

/// The name as the DNS knows it; IDN labels in punycode.
pub(super) fn ascii(name: &str) -> String {
    let name = name.trim_end_matches('.');
    Address::from_parts("postmaster", name)
        .map_or_else(|_| name.to_owned(), |a| a.host().to_owned())
}

/// Addresses tried for one message and attempt: more only add load to a domain in trouble.
const MOST_TARGETS: usize = 20;
