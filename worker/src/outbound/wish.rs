//! Whether TLS is wanted with a host, must be, or must not be, and what came of it (OUT-41, OUT-42).
//!
//! Pure: settings and facts in, a wish out. Policies of destinations put their own in its place.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use haraka_shared::config::TlsClient;
use haraka_shared::reply::Reply;
use haraka_shared::tls::Tls;

use super::route::{Place, Target};
use super::shaping::Held;
use crate::tls::Judge;

/// What is wanted of TLS with one host.
#[derive(Clone, Debug, PartialEq)]
pub enum TlsWish {
    /// In the clear, whatever is offered.
    Never,
    /// TLS where it is offered, else in the clear.
    IfOffered {
        /// How the certificate is judged, once there is one.
        judge: Judge,
    },
    /// TLS or nothing.
    Required {
        /// How the certificate is judged.
        judge: Judge,
        /// Who wants it so, for log lines and delivery reports.
        why: Rc<str>,
    },
}

impl TlsWish {
    /// How the certificate is judged, if there may be one.
    pub fn judge(&self) -> Option<&Judge> {
        match self {
            TlsWish::Never => None,
            TlsWish::IfOffered { judge } | TlsWish::Required { judge, .. } => Some(judge),
        }
    }

    /// Who requires TLS, if anybody does.
    pub fn required(&self) -> Option<&Rc<str>> {
        match self {
            TlsWish::Required { why, .. } => Some(why),
            TlsWish::Never | TlsWish::IfOffered { .. } => None,
        }
    }
}

/// How a host is spoken to.
#[derive(Clone, Debug, PartialEq)]
pub struct Approach {
    /// Under TLS or not.
    pub tls: TlsWish,
    /// A host that does not let us log in is of no use, where there are credentials for it.
    pub must_log_in: bool,
    /// What the connection counts as; what counts for one destination is not used for another.
    pub(crate) counted: Option<Rc<Held>>,
}

impl Approach {
    /// In the clear, and logged in where that can be.
    pub const CLEAR: Approach = Approach {
        tls: TlsWish::Never,
        must_log_in: false,
        counted: None,
    };
}

/// How a connection came to be as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsOutcome {
    /// Under TLS.
    Secured(Rc<Tls>),
    /// In the clear, as TLS was not wanted.
    NotWanted,
    /// In the clear, as TLS was not offered.
    NotOffered,
    /// In the clear, as STARTTLS was answered with this.
    Refused(Reply),
}

impl TlsOutcome {
    /// Whether nobody can listen.
    pub fn is_secured(&self) -> bool {
        matches!(self, TlsOutcome::Secured(_))
    }
}

impl fmt::Display for TlsOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsOutcome::Secured(tls) => f.write_str(tls.version),
            TlsOutcome::NotWanted => f.write_str("not wanted"),
            TlsOutcome::NotOffered => f.write_str("not offered"),
            TlsOutcome::Refused(reply) => write!(f, "refused: {reply}"),
        }
    }
}

/// What a wish follows from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// `enable_tls` of `outbound.ini`.
    pub(super) enabled: bool,
    /// `[outbound]` of tls.ini, or what the route has in its place.
    pub(super) options: &'a TlsClient,
    /// The destination; empty where only the host counts.
    pub(super) domain: &'a str,
    /// The queue item asks for TLS (PB-09).
    pub(super) forced: bool,
}

/// What the settings want. What forces TLS goes before all that forbids it.
pub(super) fn wanted(target: &Target, facts: &Facts<'_>) -> TlsWish {
    let options = facts.options;
    let judge = match options.reject_unauthorized {
        Some(true) => Judge::Authorities,
        _ => Judge::Nobody,
    };
    let Place::Socket(address) = &target.place else {
        // What stays on this machine needs none, unless the route says otherwise.
        return match target.route.starttls {
            Some(true) => TlsWish::IfOffered { judge },
            _ => TlsWish::Never,
        };
    };
    let ip = address.ip();
    let listed = |list: &haraka_shared::config::HostList| {
        list.has_address(ip)
            || list.has_name(&target.host)
            || (!facts.domain.is_empty() && is_listed_domain(list, facts.domain))
    };
    let forced = if facts.forced {
        Some("force_tls of the message")
    } else if listed(&options.force_tls_hosts) {
        Some("force_tls_hosts")
    } else {
        None
    };
    if let Some(why) = forced {
        return TlsWish::Required {
            judge: Judge::Authorities,
            why: why.into(),
        };
    }
    let enabled = target.route.starttls.unwrap_or(facts.enabled);
    if enabled && !listed(&options.no_tls_hosts) {
        TlsWish::IfOffered { judge }
    } else {
        TlsWish::Never
    }
}

/// A destination may be an address in brackets.
fn is_listed_domain(list: &haraka_shared::config::HostList, domain: &str) -> bool {
    let inside = domain.strip_prefix('[').and_then(|d| d.strip_suffix(']'));
    let ip: Option<IpAddr> = inside.unwrap_or(domain).parse().ok();
    list.has_name(domain) || ip.is_some_and(|ip| list.has_address(ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::policy::HostPolicy;
    use haraka_shared::config::HostList;
    use haraka_shared::route::{Host, Route};

    fn target(change: impl FnOnce(&mut Route)) -> Target {
        let mut route = Route::to(Host::Name("mx.example.com".into()));
        change(&mut route);
        Target {
            host: "mx.example.com".into(),
            place: Place::Socket("192.0.2.1:25".parse().unwrap()),
            route: Rc::new(route),
            policy: Rc::new(HostPolicy::OPPORTUNISTIC),
        }
    }

    fn list(words: &[&str]) -> HostList {
        HostList::new(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    fn wish(options: &TlsClient, enabled: bool, forced: bool) -> TlsWish {
        let domain = "example.com";
        let facts = Facts {
            enabled,
            options,
            domain,
            forced,
        };
        wanted(&target(|_| {}), &facts)
    }

    const ANY: TlsWish = TlsWish::IfOffered {
        judge: Judge::Nobody,
    };

    // covers OUT-41, TLS-14
    #[test]
    fn tls_is_tried_unless_it_is_off_or_the_host_is_excepted_by_name_address_or_domain() {
        assert_eq!(wish(&TlsClient::default(), true, false), ANY);
        assert_eq!(wish(&TlsClient::default(), false, false), TlsWish::Never);
        for (word, wanted) in [
            ("mx.example.com", TlsWish::Never),
            ("192.0.2.0/24", TlsWish::Never),
            ("example.com", TlsWish::Never),
            ("example.org", ANY),
        ] {
            let options = TlsClient {
                no_tls_hosts: list(&[word]),
                ..TlsClient::default()
            };
            assert_eq!(wish(&options, true, false), wanted, "{word}");
        }
        let strict = TlsClient {
            reject_unauthorized: Some(true),
            ..TlsClient::default()
        };
        let judge = Judge::Authorities;
        assert_eq!(wish(&strict, true, false), TlsWish::IfOffered { judge });
    }

    // covers OUT-42, PB-09
    #[test]
    fn what_forces_tls_goes_before_all_else_and_wants_a_good_certificate() {
        for word in ["mx.example.com", "192.0.2.1", "example.com"] {
            let options = TlsClient {
                force_tls_hosts: list(&[word]),
                no_tls_hosts: list(&[word]),
                ..TlsClient::default()
            };
            let TlsWish::Required { judge, why } = wish(&options, false, false) else {
                panic!("{word}");
            };
            assert_eq!((judge, &*why), (Judge::Authorities, "force_tls_hosts"));
        }
        let item = wish(&TlsClient::default(), false, true);
        assert_eq!(&**item.required().unwrap(), "force_tls of the message");
    }

    #[test]
    fn route_decides_for_itself_and_sockets_of_this_machine_stay_in_the_clear() {
        let options = TlsClient::default();
        let facts = Facts {
            enabled: true,
            options: &options,
            domain: "",
            forced: true,
        };
        let path = |starttls| {
            let mut target = target(|route| route.starttls = starttls);
            target.place = Place::Path("/run/lmtp".into());
            target
        };
        assert_eq!(wanted(&path(None), &facts), TlsWish::Never);
        assert_eq!(wanted(&path(Some(true)), &facts), ANY);
        let facts = Facts {
            forced: false,
            ..facts
        };
        let off = target(|route| route.starttls = Some(false));
        assert_eq!(wanted(&off, &facts), TlsWish::Never);
        let on = target(|route| route.starttls = Some(true));
        let facts = Facts {
            enabled: false,
            ..facts
        };
        assert_eq!(wanted(&on, &facts), ANY);
    }
}
