//! What scripts can ask of the native side, a file for each field. `boot.js` gets these functions
//! and hands them to the built-in modules; plugins never see them.

mod address;
mod body;
mod bytes;
mod child;
mod cipher;
mod config;
mod connection;
mod crypto;
mod delivery;
mod dgram;
mod dns;
mod fs;
mod header;
mod hook;
mod keys;
mod live;
mod loader;
mod log;
mod message;
mod net;
mod outbound;
mod process;
mod redis;
mod rsa;
mod socket;
mod text;
mod timers;
mod transaction;
mod url;
mod watch;
mod zlib;

use std::rc::Rc;

use rquickjs::{Ctx, Object};

use super::host::Host;

/// A field: puts its functions into the object.
type Install = for<'js> fn(&Ctx<'js>, &Object<'js>, &Rc<Host>) -> rquickjs::Result<()>;

const FIELDS: &[(&str, Install)] = &[
    ("address", address::install),
    ("body", body::install),
    ("bytes", bytes::install),
    ("child", child::install),
    ("cipher", cipher::install),
    ("config", config::install),
    ("connection", connection::install),
    ("crypto", crypto::install),
    ("delivery", delivery::install),
    ("dgram", dgram::install),
    ("dns", dns::install),
    ("fs", fs::install),
    ("header", header::install),
    ("hook", hook::install),
    ("keys", keys::install),
    ("live", live::install),
    ("loader", loader::install),
    ("log", log::install),
    ("message", message::install),
    ("net", net::install),
    ("outbound", outbound::install),
    ("process", process::install),
    ("redis", redis::install),
    ("socket", socket::install),
    ("text", text::install),
    ("timers", timers::install),
    ("transaction", transaction::install),
    ("url", url::install),
    ("watch", watch::install),
    ("zlib", zlib::install),
];

/// Puts all of them into `natives`, each field as an object.
pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    natives: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    for &(name, install) in FIELDS {
        let field = Object::new(ctx.clone())?;
        install(ctx, &field, host)?;
        natives.set(name, field)?;
    }
    Ok(())
}

/// Defines a function of a field.
macro_rules! op {
    ($ctx:ident, $field:ident, $name:literal, $function:expr) => {
        $field.set(
            $name,
            rquickjs::Function::new($ctx.clone(), $function)?.with_name($name)?,
        )?
    };
}
use op;

pub(super) use address::{shown, with};
pub(super) use delivery::recipient;
pub(super) use loader::text_of;
pub(super) use transaction::{params, path};
