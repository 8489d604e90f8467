//! `smtp_forward.ini` as targets: one for everything, and one for each domain with a section.
//!
//! Owns defaults and inheritance; every later question is a look-up. A wrong value names file, line
//! and key; a key that nobody knows is a warning.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use haraka_shared::config::kinds::Seconds;
use haraka_shared::config::{At, ConfigError, Ini, Section, TLS_CLIENT_KEYS, TlsClient, Warning};
use haraka_shared::route::Route;
use haraka_shared::transaction::Transaction;

use super::host_pool::HostPool;

/// What the shipped file says.
const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 2555;

/// Where a host is configured without a port.
const SMTP_PORT: u16 = 25;

const DEAD_HOST_RETRY: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Seconds = Seconds { min: 1, max: 86400 };

/// Sections that are no domains.
const RESERVED: [&str; 2] = ["main", "tls"];

/// Keys of `[main]` and of domain sections.
const TARGET_KEYS: [&str; 15] = [
    "host",
    "port",
    "enable_tls",
    "auth_type",
    "auth_user",
    "auth_pass",
    "bind",
    "bind_helo",
    "using_lmtp",
    "enable_outbound",
    "one_message_per_rcpt",
    "queue",
    "forwarding_host_pool",
    "dead_forwarding_host_retry_secs",
    "connect_timeout",
];

/// Keys of `[main]` only; the last two were for Haraka's connection pool, which is gone there too.
const MAIN_KEYS: [&str; 5] = [
    "check_sender",
    "check_recipient",
    "domain_selector",
    "timeout",
    "max_connections",
];

/// Whose domain chooses the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    /// The first recipient's.
    RcptTo,
    /// The sender's, whose whole address is tried first.
    MailFrom,
}

/// The whole file.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) main: Target,
    pub(super) selector: Selector,
    pub(super) check_sender: bool,
    pub(super) check_recipient: bool,
    /// How TLS is spoken with the servers that messages are forwarded to (TLS-24).
    pub(super) tls: Arc<TlsClient>,
    /// By section name in lower case.
    sections: HashMap<Box<str>, Target>,
}

/// Where messages go, and how.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) hosts: HostPool,
    pub(super) enable_outbound: bool,
    pub(super) one_message_per_rcpt: bool,
    pub(super) queue: Option<String>,
}

impl Settings {
    /// # Errors
    /// A port, address or number that is none.
    pub(super) fn parse(ini: &Ini) -> Result<(Settings, Vec<Warning>), ConfigError> {
        let mut warnings = ini.warnings().to_vec();
        let mut sections = HashMap::new();
        for section in ini.sections() {
            warn_of_unknown_keys(ini, section, &mut warnings);
            if !RESERVED.contains(&&*section.name) {
                let target = Target::parse(ini, &section.name)?;
                sections.insert(section.name.to_lowercase().into_boxed_str(), target);
            }
        }
        let selector = match ini.get("main", "domain_selector") {
            None => Selector::RcptTo,
            Some(value) => match &*value.text {
                "mail_from" => Selector::MailFrom,
                "rcpt_to" | "" => Selector::RcptTo,
                other => {
                    warnings.push(
                        At::line(ini.file(), value.line)
                            .warn(format!("domain_selector: {other} is taken for rcpt_to")),
                    );
                    Selector::RcptTo
                }
            },
        };
        let settings = Settings {
            main: Target::parse(ini, "main")?,
            selector,
            check_sender: ini.bool("main", "check_sender", false),
            check_recipient: ini.bool("main", "check_recipient", false),
            tls: Arc::new(TlsClient::of_section(ini, "tls", &mut warnings)?),
            sections,
        };
        Ok((settings, warnings))
    }

    /// The section of a domain, given in lower case.
    pub(super) fn section(&self, domain: &str) -> Option<&Target> {
        self.sections.get(domain)
    }

    /// Where this message goes (PI2-05).
    pub(super) fn target(&self, transaction: &Transaction) -> &Target {
        if self.sections.is_empty() {
            return &self.main;
        }
        let found = match self.selector {
            Selector::MailFrom => {
                let sender = transaction.sender();
                let address = sender.address().to_lowercase();
                self.section(&address)
                    .or_else(|| self.section(sender.host()))
            }
            Selector::RcptTo => transaction
                .rcpt_to
                .borrow()
                .first()
                .and_then(|first| self.section(first.address.host())),
        };
        found.unwrap_or(&self.main)
    }
}

impl Target {
    fn parse(ini: &Ini, section: &str) -> Result<Target, ConfigError> {
        let text = |key| ini.text(section, key).map(str::to_owned);
        let retry = match ini.get(section, "dead_forwarding_host_retry_secs") {
            Some(value) => value.text.parse().map(Duration::from_secs).map_err(|_| {
                invalid(
                    ini,
                    section,
                    "dead_forwarding_host_retry_secs",
                    "is no number of seconds",
                )
            })?,
            None => DEAD_HOST_RETRY,
        };
        let mut hosts = hosts(ini, section)?;
        let first = hosts.remove(0);
        Ok(Target {
            hosts: HostPool::new(first, hosts, retry),
            enable_outbound: ini.bool(
                section,
                "enable_outbound",
                ini.bool("main", "enable_outbound", false),
            ),
            one_message_per_rcpt: ini.bool(
                section,
                "one_message_per_rcpt",
                ini.bool(place(ini, section), "one_message_per_rcpt", false),
            ),
            queue: text("queue").or_else(|| ini.text("main", "queue").map(str::to_owned)),
        })
    }

    /// The URL for `queue.next_hop`.
    pub(super) fn next_hop(&self) -> String {
        let route = self.hosts.first();
        let scheme = if route.lmtp { "lmtp" } else { "smtp" };
        match &route.host {
            haraka_shared::route::Host::Ip(ip) if ip.is_ipv6() => {
                format!("{scheme}://[{ip}]:{}", route.port())
            }
            host => format!("{scheme}://{host}:{}", route.port()),
        }
    }
}

/// The section that names the server: a section without one of its own goes where `[main]` goes, in
/// the way and with the credentials of `[main]` (PB-36); one with its own never gets them.
fn place<'a>(ini: &Ini, section: &'a str) -> &'a str {
    let own = |key| ini.text(section, key).is_some();
    if own("host") || own("forwarding_host_pool") {
        section
    } else {
        "main"
    }
}

/// At least one.
fn hosts(ini: &Ini, section: &str) -> Result<Vec<Route>, ConfigError> {
    let place = place(ini, section);
    let mut routes = match ini.text(place, "forwarding_host_pool") {
        Some(list) => pool(ini, place, list)?,
        None => {
            let host = ini.text(place, "host");
            let text = host.unwrap_or(DEFAULT_HOST);
            let mut route =
                Route::parse(text).map_err(|e| invalid(ini, place, "host", &e.to_string()))?;
            let fallback = if host.is_some() {
                SMTP_PORT
            } else {
                DEFAULT_PORT
            };
            route.port = match port(ini, section)? {
                Some(port) => Some(port),
                None => port(ini, "main")?.or(route.port).or(Some(fallback)),
            };
            vec![route]
        }
    };
    for route in &mut routes {
        // The section's own words come last and win.
        for from in [place, section] {
            options(ini, from, route)?;
        }
    }
    Ok(routes)
}

/// Shuffled, so that the workers of a server do not all begin with the same one.
fn pool(ini: &Ini, section: &str, list: &str) -> Result<Vec<Route>, ConfigError> {
    const KEY: &str = "forwarding_host_pool";
    let mut routes = list
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|text| !text.is_empty())
        .map(|text| {
            let mut route =
                Route::parse(text).map_err(|e| invalid(ini, section, KEY, &e.to_string()))?;
            route.port.get_or_insert(SMTP_PORT);
            Ok(route)
        })
        .collect::<Result<Vec<_>, ConfigError>>()?;
    if routes.is_empty() {
        return Err(invalid(ini, section, KEY, "names no host"));
    }
    fastrand::shuffle(&mut routes);
    Ok(routes)
}

fn options(ini: &Ini, section: &str, route: &mut Route) -> Result<(), ConfigError> {
    let set = |key, field: &mut Option<String>| {
        if let Some(text) = ini.text(section, key) {
            *field = Some(text.to_owned());
        }
    };
    set("auth_type", &mut route.auth_type);
    set("auth_user", &mut route.auth_user);
    set("auth_pass", &mut route.auth_pass);
    set("bind_helo", &mut route.bind_helo);
    if let Some(text) = ini.text(section, "bind") {
        let ip = text
            .parse()
            .map_err(|_| invalid(ini, section, "bind", "is no IP address"))?;
        route.bind = Some(ip);
    }
    if let Some(time) = ini.read(section, "connect_timeout", &CONNECT_TIMEOUT)? {
        route.connect_timeout = Some(time);
    }
    route.lmtp = ini.bool(section, "using_lmtp", route.lmtp);
    route.starttls = Some(ini.bool(section, "enable_tls", route.starttls.unwrap_or(false)));
    Ok(())
}

fn port(ini: &Ini, section: &str) -> Result<Option<u16>, ConfigError> {
    match ini.text(section, "port").map(str::parse) {
        None => Ok(None),
        Some(Ok(port)) if port > 0 => Ok(Some(port)),
        Some(_) => Err(invalid(ini, section, "port", "is no port from 1 to 65535")),
    }
}

fn invalid(ini: &Ini, section: &str, key: &str, why: &str) -> ConfigError {
    let value = ini.get(section, key);
    ConfigError::Value {
        at: At::line(ini.file(), value.map_or(0, |v| v.line)),
        key: if section == "main" {
            key.to_owned()
        } else {
            format!("[{section}] {key}")
        },
        why: format!("{:?} {why}", value.map_or("", |v| &v.text)),
    }
}

fn warn_of_unknown_keys(ini: &Ini, section: &Section, warnings: &mut Vec<Warning>) {
    for entry in section.entries() {
        let key = &&*entry.key;
        let known = if section.name == "tls" {
            &TLS_CLIENT_KEYS[..]
        } else {
            &TARGET_KEYS[..]
        };
        if known.contains(key) || (section.name == "main" && MAIN_KEYS.contains(key)) {
            continue;
        }
        let at = At::line(ini.file(), entry.held.line());
        warnings.push(at.warn(format!("unknown key {} in [{}]", entry.key, section.name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Settings {
        Settings::parse(&Ini::parse("smtp_forward.ini", text.as_bytes()))
            .unwrap()
            .0
    }

    fn error(text: &str) -> String {
        Settings::parse(&Ini::parse("smtp_forward.ini", text.as_bytes()))
            .unwrap_err()
            .to_string()
    }

    fn place(target: &Target) -> String {
        target.next_hop()
    }

    // covers PI2-02
    #[test]
    fn without_a_file_messages_go_where_the_shipped_one_says() {
        let s = parse("");
        assert_eq!(place(&s.main), "smtp://localhost:2555");
        assert!(!s.main.enable_outbound && !s.check_sender && !s.check_recipient);
        assert_eq!(s.selector, Selector::RcptTo);
    }

    // covers PB-36
    #[test]
    fn section_without_host_goes_to_mains_with_its_credentials() {
        let s = parse(concat!(
            "host=mx.main\nport=2525\nauth_user=u\nauth_pass=p\nenable_outbound=true\n",
            "[bare.example]\n",
            "[Own.example]\nhost=mx.own\nenable_outbound=false\n",
            "[port.example]\nport=26\nauth_user=v\n",
        ));
        let bare = s.section("bare.example").unwrap();
        assert_eq!(place(bare), "smtp://mx.main:2525");
        assert_eq!(bare.hosts.first().auth_user.as_deref(), Some("u"));
        assert!(bare.enable_outbound);
        let own = s.section("own.example").unwrap();
        assert_eq!(
            place(own),
            "smtp://mx.own:2525",
            "the port is main's, as Haraka's get_mx"
        );
        assert_eq!(
            own.hosts.first().auth_user,
            None,
            "credentials stay with their host"
        );
        assert!(!own.enable_outbound);
        let port = s.section("port.example").unwrap();
        assert_eq!(place(port), "smtp://mx.main:26");
        assert_eq!(port.hosts.first().auth_user.as_deref(), Some("v"));
        assert!(s.section("main").is_none() && s.section("tls").is_none());
    }

    // covers PI2-08, SMC-03, OUT-30
    #[test]
    fn every_option_of_a_host_reaches_its_route() {
        let s = parse(concat!(
            "[x.example]\nhost=::1\nauth_type=login\nauth_user=u\nauth_pass=p\n",
            "bind=192.0.2.1\nbind_helo=h.example\nusing_lmtp=true\nenable_tls=true\n",
            "connect_timeout=7\n",
        ));
        let target = s.section("x.example").unwrap();
        let r = target.hosts.first();
        assert_eq!(place(target), "lmtp://[::1]:25");
        assert_eq!(
            (
                r.auth_type.as_deref(),
                r.auth_user.as_deref(),
                r.auth_pass.as_deref()
            ),
            (Some("login"), Some("u"), Some("p"))
        );
        assert_eq!(r.bind, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(r.bind_helo.as_deref(), Some("h.example"));
        assert!(r.lmtp && r.starttls == Some(true));
        assert_eq!(r.connect_timeout, Some(Duration::from_secs(7)));
    }

    // covers SMC-04
    #[test]
    fn a_pool_takes_the_place_of_host_and_gives_port_25_where_none_is() {
        let s = parse("host=ignored\nforwarding_host_pool = a:26, b  c\n");
        let mut places: Vec<_> = s
            .main
            .hosts
            .in_order(std::time::Instant::now())
            .iter()
            .map(|r| format!("{}:{}", r.host, r.port()))
            .collect();
        places.sort();
        assert_eq!(places, ["a:26", "b:25", "c:25"]);
    }

    // covers TLS-24
    #[test]
    fn options_of_tls_are_read_and_its_unknown_keys_are_told() {
        let text = "[tls]\nrejectUnauthorized=true\nno_tls_hosts[]=10.0.0.0/8\nsecurity=high\n";
        let ini = Ini::parse("smtp_forward.ini", text.as_bytes());
        let (s, warnings) = Settings::parse(&ini).unwrap();
        assert_eq!(s.tls.reject_unauthorized, Some(true));
        assert!(s.tls.no_tls_hosts.has_address("10.1.2.3".parse().unwrap()));
        let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["smtp_forward.ini:4: unknown key security in [tls]"]);
        assert_eq!(parse("host=a\n").tls.reject_unauthorized, Some(false));
    }

    #[test]
    fn wrong_values_name_file_line_and_key() {
        assert_eq!(
            error("host=a\nport=smtp\n"),
            "smtp_forward.ini:2: port: \"smtp\" is no port from 1 to 65535"
        );
        assert_eq!(
            error("[x.example]\nbind=eth0\n"),
            "smtp_forward.ini:2: [x.example] bind: \"eth0\" is no IP address"
        );
    }

    #[test]
    fn unknown_keys_are_warned_of() {
        let ini = Ini::parse(
            "smtp_forward.ini",
            b"hots=a\n[tls]\nkey=x\n[d.example]\ncheck_sender=true\n",
        );
        let (_, warnings) = Settings::parse(&ini).unwrap();
        let shown: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "smtp_forward.ini:1: unknown key hots in [main]",
                "smtp_forward.ini:5: unknown key check_sender in [d.example]",
            ]
        );
    }
}
