//! xclient: a trusted proxy says who the client is (PI3-07, EXT-07, PB-06).
//!
//! Whoever may use XCLIENT can pose as anybody, so that only listed addresses may; what they say grants
//! no right to relay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use haraka_shared::config::{At, ConfigDir, Live, Warning};
use haraka_shared::connection::{Connection, HelloVerb};
use haraka_shared::dsn::xtext;
use haraka_shared::hook::{Code, HookName, Hooks, Message, UnknownCommand, Verdict};
use haraka_shared::log::Level;
use haraka_shared::log_plugin;
use haraka_shared::net::IpList;
use haraka_shared::plugin::{HookCx, Plugin, PluginEnv, PluginError, Wants};
use haraka_shared::reply::Reply;
use serde_json::Value;

/// The file of the proxies.
const FILE: &str = "xclient.hosts";
/// What is taken, in the order of the EHLO line.
const OFFER: &str = "XCLIENT NAME ADDR PROTO HELO LOGIN PORT DESTADDR DESTPORT";

const IN_TRANSACTION: Reply = Reply::fixed(503, "5.5.0 Mail transaction in progress");
const NOT_ALLOWED: Reply = Reply::fixed(550, "5.5.0 Not authorized");
const NO_ADDRESS: Reply = Reply::fixed(501, "5.5.4 No valid IP address found");

/// See `docs/plugins/xclient.md`.
pub struct Xclient {
    proxies: Live<IpList>,
}

impl Plugin for Xclient {
    const NAME: &'static str = "xclient";
    const HOOKS: &'static [Wants] = &[
        Wants::hook(HookName::Capabilities),
        Wants::hook(HookName::UnrecognizedCommand),
    ];

    fn new(env: &PluginEnv<'_>) -> Result<Self, PluginError> {
        Ok(Xclient {
            proxies: env.live(Self::NAME, &[FILE], load)?,
        })
    }
}

/// This machine, and what the file lists; what cannot be read there lets nobody in.
fn load(config: &ConfigDir, warnings: &mut Vec<Warning>) -> Result<IpList, PluginError> {
    let mut networks = vec!["127.0.0.1".to_owned(), "::1".to_owned()];
    for (line, text) in config.items(FILE)? {
        match IpList::parse([text.as_str()]) {
            Ok(_) => networks.push(text),
            Err(e) => warnings.push(At::line(FILE, line).warn(format!("invalid entry: {e}"))),
        }
    }
    let list = IpList::parse(networks.iter().map(String::as_str));
    // Cannot fail, each was tried above; if it does, nobody is let in.
    Ok(list.unwrap_or_default())
}

impl Hooks for Xclient {
    async fn capabilities(&self, cx: &HookCx, _none: ()) -> Verdict {
        if let Some(connection) = &cx.connection
            && self.proxies.get().contains(connection.remote_ip())
        {
            connection.capabilities.borrow_mut().push(OFFER.to_owned());
        }
        Verdict::CONT
    }

    async fn unrecognized_command(&self, cx: &HookCx, command: UnknownCommand<'_>) -> Verdict {
        let Some(connection) = &cx.connection else {
            return Verdict::CONT;
        };
        // Within an exchange of AUTH every line is a response.
        if !command.verb.eq_ignore_ascii_case("XCLIENT")
            || connection.notes.truthy("authenticating")
        {
            return Verdict::CONT;
        }
        if connection.transaction().is_some() {
            return deny(IN_TRANSACTION);
        }
        if !self.proxies.get().contains(connection.remote_ip()) {
            return deny(NOT_ALLOWED);
        }
        let (client, complaints) = Client::parse(command.rest);
        for complaint in complaints {
            log_plugin!(Level::Warn, cx, "{complaint}");
        }
        let Some(ip) = client.address else {
            return deny(NO_ADDRESS);
        };
        let proxy = connection.remote_ip();
        client.apply(connection, ip);
        log_plugin!(Level::Info, cx, "{proxy} speaks for {ip}");
        let next = match client.name {
            Some(_) => HookName::Connect,
            None => HookName::LookupRdns,
        };
        Verdict::new(Code::NextHook, next.name())
    }
}

fn deny(reply: Reply) -> Verdict {
    Verdict {
        code: Code::Deny,
        message: Message::Reply(reply),
    }
}

/// What the proxy says of its client; what it does not know is not set.
#[derive(Debug, Default, PartialEq, Eq)]
struct Client {
    name: Option<String>,
    address: Option<IpAddr>,
    port: Option<u16>,
    verb: Option<HelloVerb>,
    hello: Option<String>,
    login: Option<String>,
    local_address: Option<IpAddr>,
    local_port: Option<u16>,
}

impl Client {
    /// The arguments of XCLIENT, with what is wrong with those that are left out.
    fn parse(arguments: &str) -> (Client, Vec<String>) {
        let mut client = Client::default();
        let mut complaints = Vec::new();
        for argument in arguments.split_ascii_whitespace() {
            if client.take(argument).is_none() {
                complaints.push(format!("unknown argument: {argument:?}"));
            }
        }
        (client, complaints)
    }

    fn take(&mut self, argument: &str) -> Option<()> {
        let (key, value) = argument.split_once('=')?;
        let value = xtext(value).filter(|v| !v.is_empty())?;
        let key = key.to_ascii_uppercase();
        let unknown = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"];
        let known = !unknown.iter().any(|u| value.eq_ignore_ascii_case(u));
        match key.as_str() {
            "NAME" | "ADDR" | "PORT" | "PROTO" | "HELO" | "LOGIN" | "DESTADDR" | "DESTPORT"
                if !known => {}
            "NAME" => self.name = Some(word(value)?),
            "ADDR" => self.address = Some(address(&value)?),
            "PORT" => self.port = Some(value.parse().ok()?),
            "PROTO" if value.eq_ignore_ascii_case("SMTP") => self.verb = Some(HelloVerb::Helo),
            "PROTO" if value.eq_ignore_ascii_case("ESMTP") => self.verb = Some(HelloVerb::Ehlo),
            "HELO" => self.hello = Some(word(value)?),
            "LOGIN" => self.login = Some(value),
            "DESTADDR" => self.local_address = Some(address(&value)?),
            "DESTPORT" => self.local_port = Some(value.parse().ok()?),
            _ => return None,
        }
        Some(())
    }

    /// Makes the connection that of the client. Whoever spoke on it before is forgotten, with the
    /// rights that it had.
    fn apply(&self, connection: &Connection, ip: IpAddr) {
        connection.set_relaying(false);
        for note in ["auth_user", "auth_passwd"] {
            if connection.notes.get(note).is_some() {
                connection.notes.set(note, Value::Null);
            }
        }
        connection.authheader.take();
        {
            let mut remote = connection.remote.borrow_mut();
            (remote.host, remote.info) = (None, None);
            remote.port = self.port.unwrap_or(0);
        }
        connection.set_remote_ip(ip);
        if let Some(name) = &self.name {
            connection.set_remote_host(name);
        }
        let verb = self.verb.unwrap_or(HelloVerb::Helo);
        let hello = self.hello.as_deref().map(|host| (verb, Rc::from(host)));
        *connection.hello.borrow_mut() = hello;
        connection.esmtp.set(verb == HelloVerb::Ehlo);
        // Where our end is not named it stays what it is: the port decides who has to log in.
        let mut local = connection.local.get();
        local.ip = self.local_address.unwrap_or(local.ip);
        local.port = self.local_port.unwrap_or(local.port);
        connection.local.set(local);
        if let Some(login) = &self.login {
            connection
                .results
                .add(Xclient::NAME, "login", login.as_str());
        }
    }
}

/// A name that cannot break out of its place in a header field.
fn word(value: String) -> Option<String> {
    (!value.contains(char::is_whitespace)).then_some(value)
}

/// IPv6 addresses carry the name of their family.
fn address(value: &str) -> Option<IpAddr> {
    match value.split_at_checked(5) {
        Some((family, ip)) if family.eq_ignore_ascii_case("IPV6:") => {
            ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => value.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers PB-06
    #[test]
    fn values_keep_their_case_and_are_decoded() {
        let (client, complaints) = Client::parse(
            "name=Mail.Example ADDR=192.0.2.1 PORT=4711 Proto=ESMTP HELO=Me.Test \
             LOGIN=User+2Btag+20x DESTADDR=IPV6:2001:db8::1 DESTPORT=587",
        );
        assert!(complaints.is_empty(), "{complaints:?}");
        let awaited = Client {
            name: Some("Mail.Example".into()),
            address: Some("192.0.2.1".parse().unwrap()),
            port: Some(4711),
            verb: Some(HelloVerb::Ehlo),
            hello: Some("Me.Test".into()),
            login: Some("User+tag x".into()),
            local_address: Some("2001:db8::1".parse().unwrap()),
            local_port: Some(587),
        };
        assert_eq!(client, awaited);
    }

    // covers PI3-07
    #[test]
    fn what_the_proxy_does_not_know_is_not_set_and_not_complained_about() {
        for key in [
            "NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT",
        ] {
            for value in ["[UNAVAILABLE]", "[tempunavail]"] {
                let (client, complaints) = Client::parse(&format!("{key}={value}"));
                assert_eq!(client, Client::default());
                assert!(complaints.is_empty(), "{complaints:?}");
            }
        }
    }

    // covers PI3-07
    #[test]
    fn what_cannot_be_used_is_left_out_and_told() {
        for argument in [
            "ADDR=192.0.2.1.5",
            "ADDR=2001:db8::1",
            "ADDR=IPV6:192.0.2.1",
            "ADDR=IPV6:",
            "ADDR=",
            "ADDR",
            "HELO=a+20b",
            "HELO=a+0d+0ab",
            "HELO=a+0D+0Ab",
            "NAME=a+2",
            "PROTO=LMTP",
            "PORT=70000",
            "DESTPORT=x",
            "DESTPORT=-1",
            "COLOUR=red",
            "__proto__=x",
        ] {
            let (client, complaints) = Client::parse(argument);
            assert_eq!(client, Client::default(), "{argument}");
            assert_eq!(complaints.len(), 1, "{argument}");
        }
    }
}
