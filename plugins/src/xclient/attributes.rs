//! The attributes of XCLIENT, as Postfix's description of the command has them. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is offered and understood.
pub(super) const NAMES: [&str; 8] = [
    "NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT",
];

/// What was announced; what is not there or not available is `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) name: Option<String>,
    pub(super) addr: Option<IpAddr>,
    pub(super) port: Option<u16>,
    pub(super) esmtp: Option<bool>,
    pub(super) helo: Option<String>,
    pub(super) login: Option<String>,
    pub(super) dest_addr: Option<IpAddr>,
    pub(super) dest_port: Option<u16>,
    /// What nobody understands, fit for a log line.
    pub(super) unknown: Vec<String>,
}

/// Why an attribute cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AttributeError {
    /// `+` without two hexadecimal digits, or what they stand for is no text.
    #[error("{0}: not xtext")]
    Xtext(&'static str),
    /// Control characters could end up in header fields.
    #[error("{0}: control characters")]
    Control(&'static str),
    /// Not a number from 0 to 65535.
    #[error("{0}: not a port")]
    Port(&'static str),
}

/// Reads what follows the verb. Values keep their case (PB-06); an address that is none counts as
/// not available.
pub(super) fn parse(arguments: &str) -> Result<Announced, AttributeError> {
    let mut all = Announced::default();
    for argument in arguments.split(' ').filter(|a| !a.is_empty()) {
        let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
        let known = NAMES.iter().find(|n| n.eq_ignore_ascii_case(key));
        let Some(&name) = known.filter(|_| !value.is_empty()) else {
            let shown = argument.chars().filter(|c| !c.is_control());
            all.unknown.push(shown.take(100).collect());
            continue;
        };
        let is = |unavailable: &str| value.eq_ignore_ascii_case(unavailable);
        if is("[UNAVAILABLE]") || is("[TEMPUNAVAIL]") {
            continue;
        }
        let value = decode(name, value)?;
        match name {
            "NAME" => all.name = Some(value),
            "ADDR" => all.addr = address(&value),
            "PORT" => all.port = Some(port(name, &value)?),
            "PROTO" => all.esmtp = proto(&value).or(all.esmtp),
            "HELO" => all.helo = Some(value),
            "LOGIN" => all.login = Some(value),
            "DESTADDR" => all.dest_addr = address(&value),
            _ => all.dest_port = Some(port(name, &value)?),
        }
    }
    Ok(all)
}

/// RFC 3461 §4.
fn decode(name: &'static str, value: &str) -> Result<String, AttributeError> {
    let mut out = Vec::with_capacity(value.len());
    let mut octets = value.bytes();
    let hex = |o: Option<u8>| o.and_then(|o| char::from(o).to_digit(16));
    while let Some(octet) = octets.next() {
        if octet != b'+' {
            out.push(octet);
            continue;
        }
        match (hex(octets.next()), hex(octets.next())) {
            (Some(high), Some(low)) => out.push((high << 4 | low) as u8),
            _ => return Err(AttributeError::Xtext(name)),
        }
    }
    let text = String::from_utf8(out).map_err(|_| AttributeError::Xtext(name))?;
    match text.contains(char::is_control) {
        true => Err(AttributeError::Control(name)),
        false => Ok(text),
    }
}

fn address(text: &str) -> Option<IpAddr> {
    match text.split_at_checked(5) {
        Some((tag, v6)) if tag.eq_ignore_ascii_case("IPV6:") => {
            v6.parse::<Ipv6Addr>().ok().map(IpAddr::from)
        }
        _ => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    }
    .map(|ip| ip.to_canonical())
}

fn proto(text: &str) -> Option<bool> {
    let is = |proto: &str| text.eq_ignore_ascii_case(proto);
    (is("ESMTP") || is("SMTP")).then(|| is("ESMTP"))
}

fn port(name: &'static str, text: &str) -> Result<u16, AttributeError> {
    text.parse().map_err(|_| AttributeError::Port(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers EXT-07, PB-06
    #[test]
    fn every_attribute_is_read_in_its_own_case() {
        let all = parse(
            "NAME=Mail.Example addr=192.0.2.9 PORT=4711 PROTO=ESMTP HELO=Fred LOGIN=Jane+40X+2Borg \
             DESTADDR=IPV6:2001:db8::25 DESTPORT=587",
        );
        assert_eq!(
            all.unwrap(),
            Announced {
                name: Some("Mail.Example".into()),
                addr: Some("192.0.2.9".parse().unwrap()),
                port: Some(4711),
                esmtp: Some(true),
                helo: Some("Fred".into()),
                login: Some("Jane@X+org".into()),
                dest_addr: Some("2001:db8::25".parse().unwrap()),
                dest_port: Some(587),
                unknown: Vec::new(),
            }
        );
    }

    #[test]
    fn what_is_not_available_or_no_address_counts_as_not_said() {
        for text in [
            "",
            "ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL] PORT=[unavailable]",
            "ADDR=2001:db8::1",
            "ADDR=IPV6:192.0.2.1x",
            "ADDR=mail.example",
            "PROTO=X400",
        ] {
            assert_eq!(parse(text), Ok(Announced::default()), "{text}");
        }
        let mapped = parse("ADDR=IPV6:::ffff:192.0.2.1").unwrap();
        assert_eq!(mapped.addr, Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn unknown_attributes_are_told_and_the_rest_counts() {
        let all = parse("FLAG=1 ADDR=192.0.2.1 NAME= word").unwrap();
        assert_eq!(all.unknown, ["FLAG=1", "NAME=", "word"]);
        assert!(all.addr.is_some() && all.name.is_none());
    }

    #[test]
    fn values_that_could_do_harm_are_errors() {
        for (text, error) in [
            ("NAME=a+0D+0Ab", AttributeError::Control("NAME")),
            ("LOGIN=a+", AttributeError::Xtext("LOGIN")),
            ("LOGIN=a+4", AttributeError::Xtext("LOGIN")),
            ("LOGIN=a+zz", AttributeError::Xtext("LOGIN")),
            ("HELO=+FF", AttributeError::Xtext("HELO")),
            ("PORT=70000", AttributeError::Port("PORT")),
            ("DESTPORT=x", AttributeError::Port("DESTPORT")),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
