//! Digests and random octets. Ciphers and keys are another field.

use std::rc::Rc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use rquickjs::{Ctx, Exception, Object};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::op;
use crate::js::convert::Bytes;
use crate::js::host::Host;

/// Random octets that one call may ask for.
const MOST_RANDOM: usize = 1 << 20;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(
        ctx,
        field,
        "hash",
        |ctx: Ctx<'_>, name: String, data: Bytes| {
            hash(&name, &data.0).map(Bytes).ok_or_else(|| unknown(&ctx))
        }
    );
    op!(
        ctx,
        field,
        "hmac",
        |ctx: Ctx<'_>, name: String, key: Bytes, data: Bytes| {
            hmac(&name, &key.0, &data.0)
                .map(Bytes)
                .ok_or_else(|| unknown(&ctx))
        }
    );
    op!(ctx, field, "random", |ctx: Ctx<'_>, count: usize| {
        if count > MOST_RANDOM {
            return Err(Exception::throw_range(&ctx, "too many random octets"));
        }
        let mut octets = vec![0; count];
        match random(&mut octets) {
            Ok(()) => Ok(Bytes(octets)),
            Err(e) => Err(Exception::throw_message(&ctx, &e.to_string())),
        }
    });
    Ok(())
}

fn unknown(ctx: &Ctx<'_>) -> rquickjs::Error {
    Exception::throw_message(ctx, "Digest method not supported")
}

/// From the system, as keys and tokens are made of it.
fn random(octets: &mut [u8]) -> std::io::Result<()> {
    use std::io::Read;
    std::fs::File::open("/dev/urandom")?.read_exact(octets)
}

fn plain(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    lower.trim_start_matches("rsa-").replace('-', "")
}

fn hash(name: &str, data: &[u8]) -> Option<Vec<u8>> {
    Some(match plain(name).as_str() {
        "md5" => Md5::digest(data).to_vec(),
        "sha1" => Sha1::digest(data).to_vec(),
        "sha224" => Sha224::digest(data).to_vec(),
        "sha256" => Sha256::digest(data).to_vec(),
        "sha384" => Sha384::digest(data).to_vec(),
        "sha512" => Sha512::digest(data).to_vec(),
        _ => return None,
    })
}

fn hmac(name: &str, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    macro_rules! with {
        ($hash:ty) => {{
            let mut mac = Hmac::<$hash>::new_from_slice(key).ok()?;
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        }};
    }
    Some(match plain(name).as_str() {
        "md5" => with!(Md5),
        "sha1" => with!(Sha1),
        "sha224" => with!(Sha224),
        "sha256" => with!(Sha256),
        "sha384" => with!(Sha384),
        "sha512" => with!(Sha512),
        _ => return None,
    })
}
