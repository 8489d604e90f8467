//! The one decision about a mail host: must it speak TLS, how is its certificate judged, and why.
//!
//! Pure. DANE that can be had outranks MTA-STS (RFC 8461 §2), and both outrank what the settings
//! want: TLS where it happens to be offered, or none. Must never demand less than one of the sources does.

use std::fmt::{self, Write as _};
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;

use super::dane::Dane;
use super::report::{Failure, FailureType};
use super::sts_text::{Mode, StsPolicy};
use super::tlsa::DaneVerifier;
use super::trust::{self, Authorities};
use crate::dns::TlsaRecord;
use crate::outbound::wish::TlsWish;
use crate::tls::Judge;

/// Who makes the demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Nobody: TLS where it is offered.
    None,
    /// MTA-STS in mode `testing`: it only wants to hear.
    StsTesting,
    /// MTA-STS in mode `enforce`.
    StsEnforce,
    /// TLSA records that promise TLS and cannot be checked.
    DaneEncrypt,
    /// TLSA records.
    Dane,
}

impl Source {
    /// The word in log lines.
    pub fn name(self) -> &'static str {
        match self {
            Source::None => "none",
            Source::StsTesting => "sts-testing",
            Source::StsEnforce => "sts-enforce",
            Source::DaneEncrypt => "dane-encrypt",
            Source::Dane => "dane",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a host may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// With TLS where it is offered, else without.
    WhereOffered,
    /// With TLS only, whatever its certificate.
    Encrypted,
    /// With TLS only, its certificate judged by trusted authorities, its name and dates. The judge is
    /// that of MTA-STS policies; without one, it is as `tls.ini` says.
    Authorities(Option<Authorities>),
    /// With TLS only, its certificate judged by its TLSA records.
    Records {
        /// The judge.
        verifier: Arc<DaneVerifier>,
        /// The name for the handshake (RFC 7672 §8.1).
        server_name: String,
    },
    /// Not at all.
    Refused,
}

/// The decision about one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPolicy {
    /// Who decided.
    pub source: Source,
    /// What.
    pub demand: Demand,
    /// Why the host is refused; under [`Source::StsTesting`], why it would be.
    pub failure: Option<Failure>,
}

impl HostPolicy {
    /// TLS where it is offered.
    pub const OPPORTUNISTIC: HostPolicy = HostPolicy {
        source: Source::None,
        demand: Demand::WhereOffered,
        failure: None,
    };

    /// The name of the source for log lines; none where nobody makes a demand.
    pub fn label(&self) -> Option<&'static str> {
        (self.source != Source::None).then(|| self.source.name())
    }

    /// What is wanted of TLS with the host, where the settings have this wish: as much as either
    /// demands, the certificate judged as the policy says if both do.
    pub fn over(&self, wish: TlsWish) -> TlsWish {
        let required = |judge| TlsWish::Required {
            judge,
            why: format!("TLS policy {}", self.source).into(),
        };
        let by = |verifier: &Arc<dyn ServerCertVerifier>, name| Judge::Policy {
            verifier: Arc::clone(verifier),
            name,
        };
        match (&self.demand, wish) {
            // RFC 7672 §2.2: TLS is promised, which does not say what the settings want beyond that.
            (Demand::Encrypted, wish @ TlsWish::Required { .. }) => wish,
            (Demand::Encrypted, _) => required(Judge::Nobody),
            (Demand::Authorities(None), _) => required(Judge::Authorities),
            (Demand::Authorities(Some(judge)), _) => required(by(&judge.0, None)),
            (
                Demand::Records {
                    verifier,
                    server_name,
                },
                _,
            ) => {
                let judge: Arc<dyn ServerCertVerifier> = verifier.clone();
                required(by(&judge, Some(server_name.clone())))
            }
            (Demand::WhereOffered | Demand::Refused, wish) => wish,
        }
    }

    /// The TLSA records that the host is known by, in their text form, for reports.
    pub fn records(&self) -> Rc<[String]> {
        match &self.demand {
            Demand::Records { verifier, .. } => verifier.records().iter().map(text).collect(),
            _ => Rc::default(),
        }
    }

    fn demanding(source: Source, demand: Demand) -> HostPolicy {
        HostPolicy {
            source,
            demand,
            failure: None,
        }
    }

    fn refusing(source: Source, kind: FailureType, why: String) -> HostPolicy {
        HostPolicy {
            source,
            demand: Demand::Refused,
            failure: Some(Failure::new(kind, why)),
        }
    }
}

/// RFC 6698 §2.2
fn text(record: &TlsaRecord) -> String {
    let mut text = format!("{} {} {} ", record.usage, record.selector, record.matching);
    for octet in &record.data {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// What is known when the decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The destination.
    pub domain: &'a str,
    /// The host, by the name in the MX record.
    pub host: &'a str,
    /// What the TLSA records say.
    pub dane: &'a Dane,
    /// The destination's MTA-STS policy.
    pub sts: Option<&'a StsPolicy>,
}

/// Decides about a host.
pub fn decide(known: &Known<'_>) -> HostPolicy {
    let own = match known.dane {
        Dane::Failed(why) => {
            let why = format!("no genuine DNS answer: {why}");
            return HostPolicy::refusing(Source::Dane, FailureType::DnssecInvalid, why);
        }
        Dane::Records { records, base } => {
            // RFC 7672 §3.2.2: whose certificate may be for the host, or for the destination.
            let names = [base.as_str(), known.host, known.domain];
            let verifier = DaneVerifier::new(records.clone(), names, trust::provider());
            let demand = Demand::Records {
                verifier: Arc::new(verifier),
                server_name: base.clone(),
            };
            return HostPolicy::demanding(Source::Dane, demand);
        }
        Dane::Encrypt => HostPolicy::demanding(Source::DaneEncrypt, Demand::Encrypted),
        Dane::Absent => HostPolicy::OPPORTUNISTIC,
    };
    let unlisted = |policy: &StsPolicy| {
        (!policy.lists(known.host)).then(|| {
            let why = format!(
                "{} is not named in the MTA-STS policy of {}",
                known.host, known.domain
            );
            Failure::new(FailureType::ValidationFailure, why)
        })
    };
    match known.sts {
        Some(policy) if policy.mode == Mode::Enforce => match unlisted(policy) {
            Some(failure) => HostPolicy {
                source: Source::StsEnforce,
                demand: Demand::Refused,
                failure: Some(failure),
            },
            None => HostPolicy::demanding(Source::StsEnforce, Demand::Authorities(None)),
        },
        Some(policy) if policy.mode == Mode::Testing && own.source == Source::None => HostPolicy {
            source: Source::StsTesting,
            demand: Demand::WhereOffered,
            failure: unlisted(policy),
        },
        _ => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::policy::tlsa::Associations;

    fn sts(mode: &str) -> StsPolicy {
        let text = format!("version: STSv1\nmode: {mode}\nmx: *.good.test\nmax_age: 1\n");
        StsPolicy::parse(text.as_bytes()).unwrap()
    }

    fn records() -> Dane {
        let record = TlsaRecord {
            usage: 3,
            selector: 1,
            matching: 1,
            data: [0; 32].into(),
        };
        Dane::Records {
            records: Associations::usable([record]),
            base: "mx.good.test".into(),
        }
    }

    fn demand(policy: &HostPolicy) -> &'static str {
        match policy.demand {
            Demand::WhereOffered => "offered",
            Demand::Encrypted => "encrypted",
            Demand::Authorities(_) => "authorities",
            Demand::Records { .. } => "records",
            Demand::Refused => "refused",
        }
    }

    // covers PB-08
    #[test]
    fn the_strictest_source_decides() {
        let bogus = Dane::Failed("SERVFAIL".into());
        for (dane, mode, host, expected) in [
            (&Dane::Absent, None, "mx", "none offered"),
            (&Dane::Absent, Some("none"), "mx", "none offered"),
            (
                &Dane::Absent,
                Some("testing"),
                "mx.good.test",
                "sts-testing offered",
            ),
            (
                &Dane::Absent,
                Some("testing"),
                "mx",
                "sts-testing offered !",
            ),
            (
                &Dane::Absent,
                Some("enforce"),
                "mx.good.test",
                "sts-enforce authorities",
            ),
            (
                &Dane::Absent,
                Some("enforce"),
                "mx",
                "sts-enforce refused !",
            ),
            (&records(), None, "mx", "dane records"),
            (&records(), Some("enforce"), "mx", "dane records"),
            (&Dane::Encrypt, None, "mx", "dane-encrypt encrypted"),
            (
                &Dane::Encrypt,
                Some("testing"),
                "mx",
                "dane-encrypt encrypted",
            ),
            (
                &Dane::Encrypt,
                Some("enforce"),
                "mx.good.test",
                "sts-enforce authorities",
            ),
            (&bogus, None, "mx", "dane refused !"),
            (&bogus, Some("enforce"), "mx.good.test", "dane refused !"),
        ] {
            let sts = mode.map(sts);
            let known = Known {
                domain: "good.test",
                host,
                dane,
                sts: sts.as_ref(),
            };
            let policy = decide(&known);
            let mark = if policy.failure.is_some() { " !" } else { "" };
            let got = format!("{} {}{mark}", policy.source, demand(&policy));
            assert_eq!(got, expected, "{known:?}");
        }
    }

    fn wish(demand: Demand, settings: &TlsWish) -> TlsWish {
        let policy = HostPolicy::demanding(Source::Dane, demand);
        policy.over(settings.clone())
    }

    // covers PB-08
    #[test]
    fn policy_and_settings_add_up() {
        let nobody = || Judge::Nobody;
        let if_offered = TlsWish::IfOffered { judge: nobody() };
        let forced = TlsWish::Required {
            judge: Judge::Authorities,
            why: "force_tls_hosts".into(),
        };
        let why: Rc<str> = "TLS policy dane".into();
        let required = |judge| TlsWish::Required {
            judge,
            why: why.clone(),
        };
        for settings in [&TlsWish::Never, &if_offered, &forced] {
            assert_eq!(&wish(Demand::WhereOffered, settings), settings);
            let authorities = wish(Demand::Authorities(None), settings);
            assert_eq!(authorities, required(Judge::Authorities));
            let policy = decide(&Known {
                domain: "good.test",
                host: "mx.good.test",
                dane: &records(),
                sts: None,
            });
            match policy.over(settings.clone()) {
                TlsWish::Required {
                    judge: Judge::Policy { name, .. },
                    ..
                } => assert_eq!(name.as_deref(), Some("mx.good.test")),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(wish(Demand::Encrypted, &TlsWish::Never), required(nobody()));
        assert_eq!(wish(Demand::Encrypted, &if_offered), required(nobody()));
        assert_eq!(wish(Demand::Encrypted, &forced), forced);
    }

    #[test]
    fn refusal_says_who_refuses_whom() {
        let known = Known {
            domain: "example.com",
            host: "mx.other.test",
            dane: &Dane::Absent,
            sts: Some(&sts("enforce")),
        };
        assert_eq!(
            decide(&known).failure.unwrap().why,
            "mx.other.test is not named in the MTA-STS policy of example.com"
        );
    }
}
