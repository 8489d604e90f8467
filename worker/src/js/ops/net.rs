//! What an address is. Sockets are another field.

use std::net::IpAddr;
use std::rc::Rc;

use haraka_shared::net;
use rquickjs::{Ctx, Object};

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
    Ok(())
}
