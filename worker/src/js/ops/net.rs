//! What an address is. Sockets are another field.

use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use haraka_shared::net::{self, IpList};
use rquickjs::{Ctx, Exception, Object};

use super::op;
use crate::js::host::Host;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "isIP", |text: String| {
        // A zone (RFC 4007) is part of an address for Node.
        let bare = text.split_once('%').filter(|(_, zone)| !zone.is_empty());
        match bare.map_or(text.as_str(), |(ip, _)| ip).parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => 6,
            Ok(IpAddr::V4(_)) if bare.is_none() => 4,
            _ => 0,
        }
    });
    op!(ctx, field, "isPrivate", |ip: String| ip
        .parse()
        .is_ok_and(net::is_private_ip));
    op!(ctx, field, "isLocal", |ip: String| ip
        .parse()
        .is_ok_and(net::is_local_ip));
    names(ctx, field)?;
    op!(ctx, field, "canonical", |ip: String| ip
        .parse::<IpAddr>()
        .ok()
        .map(|ip| ip.to_canonical().to_string()));
    // An address, or a network such as `10.0.0.0/8`; what is neither contains nothing.
    op!(ctx, field, "contains", |network: String, ip: String| {
        match (IpList::parse([network]), ip.parse()) {
            (Ok(list), Ok(ip)) => list.contains(ip),
            _ => false,
        }
    });
    op!(ctx, field, "reverse", |ctx: Ctx<'_>, ip: String| {
        match ip.parse::<Ipv6Addr>() {
            Ok(ip) => Ok(nibbles(ip)),
            Err(e) => Err(Exception::throw_message(&ctx, &e.to_string())),
        }
    });
    op!(ctx, field, "isBogus", |ip: String| match ip.parse() {
        Ok(ip) => is_bogus(ip),
        Err(_) => true,
    });
    Ok(())
}

/// The public suffix list.
fn names<'js>(ctx: &Ctx<'js>, field: &Object<'js>) -> rquickjs::Result<()> {
    op!(ctx, field, "organizationalDomain", |name: String| {
        let name = unicode(&name)?;
        let found = psl::domain(name.as_bytes()).filter(|d| d.suffix().is_known())?;
        text(found.as_bytes())
    });
    op!(ctx, field, "publicSuffix", |name: String| {
        let name = unicode(&name)?;
        let found = psl::suffix(name.as_bytes()).filter(psl::Suffix::is_known)?;
        text(found.as_bytes())
    });
    op!(ctx, field, "isPublicSuffix", |name: String| {
        let name = unicode(&name).unwrap_or_default();
        psl::suffix(name.as_bytes())
            .is_some_and(|s| s.is_known() && s.as_bytes() == name.as_bytes())
    });
    Ok(())
}

/// As the list has names; none if a label is empty.
fn unicode(name: &str) -> Option<String> {
    // Without errors: a label that cannot be decoded stays as it is.
    let (name, _) = idna::domain_to_unicode(name);
    (!name.split('.').any(str::is_empty)).then_some(name)
}

fn text(octets: &[u8]) -> Option<String> {
    std::str::from_utf8(octets).ok().map(str::to_owned)
}

/// As the name below `ip6.arpa` (RFC 3596 §2.5).
fn nibbles(ip: Ipv6Addr) -> String {
    let digits = format!("{:032x}", ip.to_bits());
    let reversed: Vec<String> = digits.chars().rev().map(String::from).collect();
    reversed.join(".")
}

/// Whether no host on the Internet has it.
fn is_bogus(ip: Ipv6Addr) -> bool {
    let first = ip.segments().first().copied().unwrap_or_default();
    // Global unicast without documentation, Teredo and 6to4 (RFC 6890).
    let documentation = ip.segments().starts_with(&[0x2001, 0xdb8]);
    let transition = ip.segments().starts_with(&[0x2001, 0]) || first == 0x2002;
    first & 0xe000 != 0x2000 || documentation || transition
}
