//! From a domain and its best mail host to what may be done at a time.

use std::sync::Arc;

use super::{Pattern, Provider, ReplyRule, Rule, Shaping, Source};
use crate::traffic::{Key, Rate, Slowing};

/// What is counted for one of the things that limit a message: its provider, its domain, its source.
#[derive(Clone, Debug)]
pub struct Counter {
    /// Where it is counted.
    pub key: Key,
    /// What it is, for log lines and tools.
    pub name: Arc<str>,
    /// Connections at a time.
    pub connections: Option<u32>,
    /// Messages in a stretch of time.
    pub rate: Option<Rate>,
}

/// What a destination takes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Who runs its mail hosts.
    pub provider: Arc<str>,
    /// What is counted; the provider as a whole in front, the source, if there is one, at the end. All
    /// must allow a message.
    pub counters: Vec<Counter>,
    /// A rule names the domain, so that others of the provider may have other limits.
    pub of_domain: bool,
    /// Messages over one connection.
    pub messages_per_connection: u32,
    /// How a complaint is answered.
    pub slowing: Slowing,
    /// Which replies are complaints.
    pub replies: Vec<Arc<ReplyRule>>,
}

/// Connections to one provider where no rule says otherwise. No bound on a relay to a host of one's own; a
/// complaint counts from what is in use.
const CONNECTIONS: u32 = 1000;
/// Hosts limit them, and a fresh connection may meet a better balanced host.
const MESSAGES: u32 = 100;
/// Half of it, at most each minute; a tenth of the whole comes back each minute.
const SLOWING: Slowing = Slowing {
    keep: 500,
    pause: 60_000_000,
    back: 100,
};

impl Shaping {
    /// What the destination takes whose best mail host has this name, both in lower case, when it is
    /// sent to from this source.
    #[must_use]
    pub fn limits(&self, domain: &str, host: &str, source: Option<&Source>) -> Limits {
        let provider = self.provider(host);
        let name = self.provider_of(host);
        let domain_rule = self.domains.get(domain);
        let wider = [provider.map(|p| &p.rule), Some(&self.default)];
        let wide = || wider.iter().copied().flatten();
        let all = || domain_rule.into_iter().chain(wide());
        let mut counters = vec![Counter {
            key: Key::of("provider", &*name),
            name: Arc::clone(&name),
            connections: Some(wide().find_map(|r| r.connections).unwrap_or(CONNECTIONS)),
            rate: wide().find_map(|r| r.rate),
        }];
        let counted = |rule: &&Rule| rule.connections.is_some() || rule.rate.is_some();
        if let Some(rule) = domain_rule.filter(counted) {
            counters.push(Counter {
                key: Key::of("domain", domain),
                name: domain.into(),
                connections: rule.connections,
                rate: rule.rate,
            });
        }
        if let Some(source) = source {
            // A complaint is about the address that it was made to, so there is always something to
            // take away from.
            let whole = counters.first().and_then(|c| c.connections);
            counters.push(Counter {
                key: Key::of("source", &(&*source.name, &*name)),
                name: format!("{name} from {}", source.name).into(),
                connections: source.connections.or(whole),
                rate: source.rate,
            });
        }
        Limits {
            provider: name,
            counters,
            of_domain: domain_rule.is_some(),
            messages_per_connection: all()
                .find_map(|r| r.messages_per_connection)
                .unwrap_or(MESSAGES),
            slowing: all().find_map(|r| r.slowing).unwrap_or(SLOWING),
            replies: all().flat_map(|r| r.replies.iter().cloned()).collect(),
        }
    }
}

impl Shaping {
    /// The name of who runs this mail host (in lower case), by the rules or else by the public suffix
    /// list.
    #[must_use]
    pub fn provider_of(&self, host: &str) -> Arc<str> {
        match self.provider(host) {
            Some(provider) => Arc::clone(&provider.name),
            None => organisation(host).into(),
        }
    }

    /// Who runs this mail host: the provider with the longest name that fits.
    fn provider(&self, host: &str) -> Option<&Provider> {
        let fits = |p: &&Provider| {
            let matching = p.mx.iter().filter(|m| m.matches(host));
            matching.map(Pattern::length).max()
        };
        let known = self.providers.iter().filter(|p| fits(p).is_some());
        known.max_by_key(fits)
    }
}

impl Limits {
    /// What to do about a reply of the destination, code and text; nothing if it is no complaint.
    #[must_use]
    pub fn complaint(&self, reply: &str) -> Option<&ReplyRule> {
        let rule = self.replies.iter().find(|r| r.pattern.is_match(reply));
        rule.map(|r| &**r)
    }
}

/// The organisation that a host's name belongs to, by the public suffix list; an address or a name that is
/// none stands for itself.
fn organisation(host: &str) -> &str {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return host;
    }
    psl::domain_str(host).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shaping::{Action, ReplyPattern};

    fn rule(connections: u32) -> Rule {
        Rule {
            connections: Some(connections),
            ..Rule::default()
        }
    }

    fn reply(pattern: &str, action: Action) -> Arc<ReplyRule> {
        Arc::new(ReplyRule {
            pattern: ReplyPattern::new(pattern),
            action,
        })
    }

    // covers PB-51
    #[test]
    fn domains_of_one_provider_share_its_limits_and_may_have_tighter_ones() {
        let mut shaping = Shaping::default();
        shaping.default.replies = vec![reply("^421", Action::SlowDown)];
        shaping.providers.push(Provider {
            name: "big".into(),
            mx: vec!["*.big.net".parse().unwrap()],
            rule: Rule {
                replies: vec![reply("too fast", Action::Suspend(60))],
                ..rule(20)
            },
        });
        shaping.domains.insert("slow.test".into(), rule(2));
        let one = shaping.limits("a.test", "mx1.big.net", None);
        let two = shaping.limits("slow.test", "mx2.big.net", None);
        assert_eq!((&*one.provider, one.counters.len()), ("big", 1));
        assert_eq!(one.counters[0].connections, Some(20));
        assert_eq!(two.counters[0].key, one.counters[0].key);
        assert_eq!(two.counters[1].connections, Some(2));
        let action = |reply| one.complaint(reply).map(|rule| rule.action);
        assert_eq!(action("421 go away"), Some(Action::SlowDown));
        assert_eq!(action("421 too fast"), Some(Action::Suspend(60)));
        assert_eq!(action("450 later"), None);
        let other = shaping.limits("c.test", "mx.c.test", None);
        assert_eq!(
            (&*other.provider, other.counters[0].connections),
            ("c.test", Some(CONNECTIONS))
        );
    }

    #[test]
    fn hosts_of_one_organisation_count_together() {
        for (host, org) in [
            ("mx1.mail.example.com", "example.com"),
            ("example.com", "example.com"),
            ("mx.example.co.uk", "example.co.uk"),
            ("example.co.uk", "example.co.uk"),
            ("mx.example.de", "example.de"),
            ("mx.web.de", "web.de"),
            ("localhost", "localhost"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(organisation(host), org);
        }
    }
}
