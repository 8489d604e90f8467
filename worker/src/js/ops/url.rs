//! URLs by the WHATWG's rules, and text in encodings other than UTF-8.

use std::cell::RefCell;
use std::rc::Rc;

use encoding_rs::{Decoder, DecoderResult, Encoding};
use rquickjs::function::Opt;
use rquickjs::{Class, Ctx, Exception, Object};
use serde_json::json;
use url::{Url, quirks};

use super::op;
use crate::js::convert::{Bytes, Json};
use crate::js::host::Host;
use crate::js::opaque::Opaque;

/// Text that comes in pieces.
type Text = Opaque<RefCell<Decoder>>;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(
        ctx,
        field,
        "parse",
        |text: String, Opt(base): Opt<String>| {
            let url = match base {
                Some(base) => Url::parse(&base).and_then(|base| base.join(&text)),
                None => Url::parse(&text),
            };
            url.map_or(Json::default(), |url| parts(&url))
        }
    );
    op!(
        ctx,
        field,
        "with",
        |href: String, name: String, value: String| {
            let Ok(mut url) = Url::parse(&href) else {
                return Json::default();
            };
            // As in browsers, a value that does not fit changes nothing.
            match name.as_str() {
                "protocol" => drop(quirks::set_protocol(&mut url, &value)),
                "username" => drop(quirks::set_username(&mut url, &value)),
                "password" => drop(quirks::set_password(&mut url, &value)),
                "host" => drop(quirks::set_host(&mut url, &value)),
                "hostname" => drop(quirks::set_hostname(&mut url, &value)),
                "port" => drop(quirks::set_port(&mut url, &value)),
                "pathname" => quirks::set_pathname(&mut url, &value),
                "search" => quirks::set_search(&mut url, &value),
                "hash" => quirks::set_hash(&mut url, &value),
                _ => {}
            }
            parts(&url)
        }
    );
    op!(ctx, field, "toAscii", |name: String| {
        quirks::domain_to_ascii(&name)
    });
    op!(ctx, field, "toUnicode", |name: String| {
        quirks::domain_to_unicode(&name)
    });
    op!(ctx, field, "encoding", |label: String| {
        Encoding::for_label(label.as_bytes()).map(|e| e.name().to_ascii_lowercase())
    });
    op!(
        ctx,
        field,
        "decoder",
        |ctx: Ctx<'js>, label: String, keep_mark: bool| {
            let encoding = Encoding::for_label(label.as_bytes())
                .ok_or_else(|| Exception::throw_range(&ctx, "no such encoding"))?;
            let decoder = match keep_mark {
                true => encoding.new_decoder_without_bom_handling(),
                false => encoding.new_decoder_with_bom_removal(),
            };
            Class::instance(ctx, Opaque(RefCell::new(decoder)))
        }
    );
    op!(
        ctx,
        field,
        "decode",
        |text: Class<'js, Text>, octets: Bytes, fatal: bool, last: bool| {
            decode(&mut text.borrow().0.borrow_mut(), &octets.0, fatal, last)
        }
    );
    Ok(())
}

/// None where octets are no text and that matters.
fn decode(decoder: &mut Decoder, octets: &[u8], fatal: bool, last: bool) -> Option<String> {
    let mut out = String::new();
    if !fatal {
        out.reserve(decoder.max_utf8_buffer_length(octets.len())?);
        let _ = decoder.decode_to_string(octets, &mut out, last);
        return Some(out);
    }
    out.reserve(decoder.max_utf8_buffer_length_without_replacement(octets.len())?);
    match decoder.decode_to_string_without_replacement(octets, &mut out, last) {
        (DecoderResult::InputEmpty, _) => Some(out),
        _ => None,
    }
}

fn parts(url: &Url) -> Json {
    Json(json!({
        "href": quirks::href(url), "origin": quirks::origin(url),
        "protocol": quirks::protocol(url), "username": quirks::username(url),
        "password": quirks::password(url), "host": quirks::host(url),
        "hostname": quirks::hostname(url), "port": quirks::port(url),
        "pathname": quirks::pathname(url), "search": quirks::search(url),
        "hash": quirks::hash(url),
    }))
}
