//! xclient: a trusted host in front says who the client is (EXT-07, PI3-07).
//!
//! Owns who is trusted and what becomes of the connection; `attributes.rs` reads the command. What
//! a proxy does not announce stays as it was at the port where it came in.

mod attributes;

use std::net::IpAddr;
use std::rc::Rc;

use haraka_shared::config::{At, ConfigDir, Live, Warning};
use haraka_shared::connection::{Connection, HelloVerb, Local};
use haraka_shared::hook::{Code, HookName, Hooks, Message, UnknownCommand, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::net::IpList;
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};
use haraka_shared::reply::Reply;
use serde_json::Value;

use attributes::Announced;

const FILE: &str = "xclient.hosts";

/// See `docs/plugins/xclient.md`.
pub struct Xclient {
    hosts: Live<IpList>,
}

fn load(config: &ConfigDir, warnings: &mut Vec<Warning>) -> Result<IpList, PluginError> {
    let mut hosts = Vec::new();
    for (line, text) in config.items(FILE)? {
        let entry = text.split('#').next().unwrap_or_default().trim().to_owned();
        match IpList::parse([&entry]) {
            Ok(_) => hosts.push(entry),
            Err(e) => {
                let text = format!("invalid entry in {FILE}, nobody is trusted by it: {e}");
                warnings.push(At::line(FILE, line).warn(text));
            }
        }
    }
    // Each was tried above.
    Ok(IpList::parse(hosts).unwrap_or_default())
}

impl Plugin for Xclient {
    const NAME: &'static str = "xclient";
    const HOOKS: &'static [Wants] = &[
        Wants::hook(HookName::Capabilities),
        Wants::hook(HookName::UnrecognizedCommand),
    ];

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(Xclient {
            hosts: env.live(Self::NAME, &[FILE], load)?,
        })
    }
}

impl Xclient {
    fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip == IpAddr::from([127, 0, 0, 1])
            || ip == IpAddr::from(std::net::Ipv6Addr::LOCALHOST)
            || self.hosts.get().contains(ip)
    }
}

impl Hooks for Xclient {
    async fn capabilities(&self, cx: &HookCx, _none: ()) -> Verdict {
        if let Some(connection) = &cx.connection
            && self.trusts(connection.remote_ip())
        {
            let line = format!("XCLIENT {}", attributes::NAMES.join(" "));
            connection.capabilities.borrow_mut().push(line);
        }
        Verdict::CONT
    }

    async fn unrecognized_command(&self, cx: &HookCx, command: UnknownCommand<'_>) -> Verdict {
        let Some(connection) = &cx.connection else {
            return Verdict::CONT;
        };
        // A response of AUTH is nobody else's, whatever it looks like.
        if command.secret || !command.verb.eq_ignore_ascii_case("XCLIENT") {
            return Verdict::CONT;
        }
        if connection.transaction().is_some() {
            return refuse(503, "5.5.0 Mail transaction in progress");
        }
        if !self.trusts(connection.remote_ip()) {
            return refuse(550, "5.5.0 Not authorized");
        }
        let announced = match attributes::parse(command.rest) {
            Ok(announced) => announced,
            Err(e) => {
                log_plugin!(Level::Warn, cx, "XCLIENT {e}");
                return refuse(501, "5.5.4 Invalid XCLIENT attribute");
            }
        };
        for unknown in &announced.unknown {
            log_plugin!(Level::Warn, cx, "unknown argument: {unknown}");
        }
        let Some(ip) = announced.addr else {
            return refuse(501, "5.5.4 No valid IP address found");
        };
        log_plugin!(
            Level::Info,
            cx,
            "{} is in front of {ip}",
            connection.remote_ip()
        );
        let next = match announced.name {
            Some(_) => HookName::Connect,
            None => HookName::LookupRdns,
        };
        become_client(connection, ip, announced);
        Verdict::new(Code::NextHook, next.name())
    }
}

fn refuse(code: u16, text: &'static str) -> Verdict {
    Verdict {
        code: Code::Deny,
        message: Message::Reply(Reply::new(code, text)),
    }
}

/// The connection is that of another client now, who has not done anything yet.
fn become_client(connection: &Connection, ip: IpAddr, announced: Announced) {
    connection.may_relay.set(false);
    *connection.authheader.borrow_mut() = None;
    for note in ["auth_user", "auth_passwd", "auth_fails"] {
        if connection.notes.get(note).is_some() {
            connection.notes.set(note, Value::Null);
        }
    }
    connection.set_remote_ip(ip);
    {
        let mut remote = connection.remote.borrow_mut();
        remote.port = announced.port.unwrap_or(0);
        remote.host = None;
        remote.info = None;
        remote.login = announced.login.map(Rc::from);
    }
    if let Some(name) = &announced.name {
        connection.set_remote_host(name);
    }
    let local = connection.local.get();
    connection.local.set(Local {
        ip: announced.dest_addr.unwrap_or(local.ip),
        port: announced.dest_port.unwrap_or(local.port),
    });
    let esmtp = announced.esmtp == Some(true);
    connection.esmtp.set(esmtp);
    let verb = if esmtp {
        HelloVerb::Ehlo
    } else {
        HelloVerb::Helo
    };
    *connection.hello.borrow_mut() = announced.helo.map(|helo| (verb, Rc::from(helo)));
}
