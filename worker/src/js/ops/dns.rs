//! DNS questions of scripts: answered by the worker's resolver, or by one of servers that the script
//! names. Answers are in the form that Node gives them.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Duration;

use haraka_shared::config::DnsIni;
use haraka_shared::services::DnsError;
use rquickjs::{Ctx, Object};
use serde_json::Value;

use super::op;
use crate::dns::{Resolver, records};
use crate::js::convert::Json;
use crate::js::host::{Host, Outcome};
use crate::rt;

/// Resolvers of other servers or with other limits that are kept.
const MOST: usize = 16;

/// How often work that came before the worker serves looks whether it does.
const PAUSE: Duration = Duration::from_millis(50);

type Key = (Vec<SocketAddr>, Option<Duration>, Option<u32>);

/// The resolvers of an engine, the most recent last.
#[derive(Default)]
struct Resolvers(RefCell<Vec<(Key, Resolver)>>);

impl Resolvers {
    fn get(&self, key: Key, usual: &DnsIni) -> Resolver {
        let mut all = self.0.borrow_mut();
        if let Some((_, known)) = all.iter().find(|(k, _)| *k == key) {
            return known.clone();
        }
        let mut settings = usual.clone();
        if !key.0.is_empty() {
            settings.servers.clone_from(&key.0);
        }
        settings.timeout = key.1.unwrap_or(settings.timeout);
        settings.tries = key.2.unwrap_or(settings.tries);
        let made = Resolver::new(&settings);
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push((key, made.clone()));
        made
    }
}

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    let h = Rc::clone(host);
    let resolvers: Rc<Resolvers> = Rc::default();
    op!(
        ctx,
        field,
        "ask",
        move |kind: String, name: String, options: Json| {
            let (weak, resolvers) = (Rc::downgrade(&h), Rc::clone(&resolvers));
            h.start(async move {
                let Some(settings) = settings(&weak).await else {
                    return refused("the server ends");
                };
                let resolver = resolvers.get(key(&options.0), &settings);
                answer(&resolver, &kind, &name).await
            })
        }
    );
    let h = Rc::clone(host);
    op!(ctx, field, "servers", move || {
        let of_config = h.services().map(|s| s.config().dns.servers.clone());
        let found = of_config.filter(|servers| !servers.is_empty());
        let found: Vec<String> = found.map_or_else(of_system, |servers| {
            servers.iter().map(|s| server_text(*s)).collect()
        });
        found
    });
    Ok(())
}

/// The worker's settings. Plugins may ask while they are loaded; the answer then comes once the worker
/// serves.
async fn settings(host: &Weak<Host>) -> Option<DnsIni> {
    loop {
        if let Some(services) = host.upgrade()?.services() {
            return Some(services.config().dns.clone());
        }
        rt::sleep(PAUSE).await;
    }
}

fn key(options: &Value) -> Key {
    let servers = options.get("servers").and_then(Value::as_array);
    let servers = servers.into_iter().flatten().filter_map(Value::as_str);
    let number = |name: &str| options.get(name).and_then(Value::as_u64);
    (
        servers.filter_map(server).collect(),
        number("timeout").map(|ms| Duration::from_millis(ms.clamp(1, 600_000))),
        number("tries").and_then(|n| u32::try_from(n.clamp(1, 20)).ok()),
    )
}

fn server(text: &str) -> Option<SocketAddr> {
    let ip: Option<IpAddr> = text.parse().ok();
    ip.map(|ip| SocketAddr::new(ip, 53))
        .or_else(|| text.parse().ok())
}

/// As Node shows them: the port only if it is not the usual one.
fn server_text(server: SocketAddr) -> String {
    match server.port() {
        53 => server.ip().to_string(),
        _ => server.to_string(),
    }
}

fn of_system() -> Vec<String> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text
        .lines()
        .filter_map(|l| l.trim().strip_prefix("nameserver"));
    servers.map(|s| s.trim().to_owned()).collect()
}

async fn answer(resolver: &Resolver, kind: &str, name: &str) -> Outcome {
    let answered = match kind {
        // With the hosts file, as the system resolves names.
        "HOST4" => resolver.host(name, false).await.map(texts),
        "HOST6" => resolver.host(name, true).await.map(texts),
        "REVERSE" => match name.parse() {
            Ok(ip) => resolver.names_of(ip).await.map(texts),
            Err(_) => return refused("not an address"),
        },
        _ => match records::kind(kind) {
            Some(kind) => resolver.records(name, kind).await.map(Value::Array),
            None => return refused("no such type of question"),
        },
    };
    match answered {
        Ok(found) => Outcome::Data(found),
        Err(e) => Outcome::Failed {
            code: code(&e).to_owned(),
            message: e.to_string(),
        },
    }
}

fn texts(records: Vec<impl ToString>) -> Value {
    records.iter().map(|r| Value::from(r.to_string())).collect()
}

fn refused(message: &str) -> Outcome {
    Outcome::Failed {
        code: "EINVAL".to_owned(),
        message: message.to_owned(),
    }
}

/// The names of c-ares, which Node shows.
fn code(e: &DnsError) -> &'static str {
    let text = match e {
        DnsError::NoSuchName => return "ENOTFOUND",
        DnsError::NoData => return "ENODATA",
        DnsError::Temporary(text) => text.to_ascii_lowercase(),
    };
    let known = [
        ("time", "ETIMEOUT"),
        ("refused", "EREFUSED"),
        ("format", "EFORMERR"),
        ("not impl", "ENOTIMP"),
    ];
    let found = known.iter().find(|(part, _)| text.contains(part));
    found.map_or("ESERVFAIL", |(_, code)| code)
}
