//! Digests, keys made from passwords, and random octets. Ciphers and keys are fields of their own.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::rc::Rc;

use md5::Md5;
use rquickjs::function::Opt;
use rquickjs::{Class, Ctx, Exception, Object};
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};

use super::op;
use crate::js::convert::{Bytes, Json};
use crate::js::host::{Host, Outcome};
use crate::js::opaque::Opaque;
use crate::rt;

/// Random octets that one call may ask for.
const MOST_RANDOM: usize = 1 << 20;

/// Octets of a key that one call may derive.
const MOST_DERIVED: usize = 1 << 20;

/// What OpenSSL allows scrypt to take unless told otherwise, in octets; Node's default.
const SCRYPT_MEMORY: u64 = 32 << 20;

/// A digest under way, or an HMAC (RFC 2104) with the padded key for its end.
type Sum = Opaque<RefCell<Running>>;

#[derive(Clone)]
struct Running {
    digest: Box<dyn DynDigest>,
    outer: Option<Box<dyn DynDigest>>,
}

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    host: &Rc<Host>,
) -> rquickjs::Result<()> {
    op!(ctx, field, "digest", digest);
    op!(
        ctx,
        field,
        "update",
        |sum: Class<'_, Sum>, octets: Bytes| {
            sum.borrow().0.borrow_mut().digest.update(&octets.0);
        }
    );
    op!(ctx, field, "finish", |sum: Class<'_, Sum>| {
        let running = sum.borrow().0.borrow().clone();
        let inner = running.digest.finalize();
        Bytes(match running.outer {
            None => inner.into_vec(),
            Some(mut outer) => {
                outer.update(&inner);
                outer.finalize().into_vec()
            }
        })
    });
    op!(ctx, field, "copy", |ctx: Ctx<'js>, sum: Class<'js, Sum>| {
        let running = sum.borrow().0.borrow().clone();
        Class::instance(ctx, Opaque(RefCell::new(running)))
    });
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
    op!(
        ctx,
        field,
        "deriveSync",
        |ctx: Ctx<'_>, how: Json, password: Bytes, salt: Bytes| {
            derive(&how.0, &password.0, &salt.0)
                .map(Bytes)
                .map_err(|text| Exception::throw_range(&ctx, text))
        }
    );
    let host = Rc::clone(host);
    op!(
        ctx,
        field,
        "derive",
        move |how: Json, password: Bytes, salt: Bytes| {
            host.start(async move {
                match rt::offload(move || derive(&how.0, &password.0, &salt.0)).await {
                    Ok(Ok(key)) => Outcome::Bytes(key),
                    Ok(Err(text)) => Outcome::Failed {
                        code: "ERR_OUT_OF_RANGE".to_owned(),
                        message: text.to_owned(),
                    },
                    Err(e) => std::io::Error::other(e.to_string()).into(),
                }
            })
        }
    );
    Ok(())
}

/// A digest, or with a key an HMAC.
fn digest<'js>(
    ctx: Ctx<'js>,
    name: String,
    Opt(key): Opt<Bytes>,
) -> rquickjs::Result<Class<'js, Sum>> {
    let Some((fresh, block)) = named(&name) else {
        return Err(Exception::throw_message(
            &ctx,
            "Digest method not supported",
        ));
    };
    let running = match key {
        None => Running {
            digest: fresh,
            outer: None,
        },
        Some(key) => keyed(&*fresh, block, &key.0),
    };
    Class::instance(ctx, Opaque(RefCell::new(running)))
}

/// RFC 2104, section 2: the key's two paddings are the first block of either digest.
fn keyed(fresh: &dyn DynDigest, block: usize, key: &[u8]) -> Running {
    let mut padded = match key.len() > block {
        true => {
            let mut digest = fresh.box_clone();
            digest.update(key);
            digest.finalize().into_vec()
        }
        false => key.to_vec(),
    };
    padded.resize(block, 0);
    let with = |pad: u8| {
        let mut digest = fresh.box_clone();
        digest.update(&padded.iter().map(|b| b ^ pad).collect::<Vec<_>>());
        digest
    };
    Running {
        digest: with(0x36),
        outer: Some(with(0x5c)),
    }
}

/// From the system, as keys and tokens are made of it.
fn random(octets: &mut [u8]) -> std::io::Result<()> {
    use std::io::Read;
    std::fs::File::open("/dev/urandom")?.read_exact(octets)
}

/// The digest of this name, in OpenSSL's spellings, and the octets of its block.
fn named(name: &str) -> Option<(Box<dyn DynDigest>, usize)> {
    let lower = name.to_ascii_lowercase();
    Some(match lower.trim_start_matches("rsa-") {
        "md5" => (Box::new(Md5::default()), 64),
        "sha1" | "sha-1" => (Box::new(Sha1::default()), 64),
        "sha224" | "sha-224" => (Box::new(Sha224::default()), 64),
        "sha256" | "sha-256" => (Box::new(Sha256::default()), 64),
        "sha384" | "sha-384" => (Box::new(Sha384::default()), 128),
        "sha512" | "sha-512" => (Box::new(Sha512::default()), 128),
        "sha512-224" | "sha512/224" => (Box::new(Sha512_224::default()), 128),
        "sha512-256" | "sha512/256" => (Box::new(Sha512_256::default()), 128),
        _ => return None,
    })
}

/// A key from a password: PBKDF2 where a digest is named, scrypt else. Blocks.
fn derive(how: &serde_json::Value, password: &[u8], salt: &[u8]) -> Result<Vec<u8>, &'static str> {
    let number = |key: &str| how.get(key).and_then(serde_json::Value::as_u64);
    let length = number("length")
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n <= MOST_DERIVED)
        .ok_or("The value of \"keylen\" is out of range")?;
    let mut key = vec![0; length];
    if let Some(name) = how.get("digest").and_then(serde_json::Value::as_str) {
        let algorithm = match name.to_ascii_lowercase().replace('-', "").as_str() {
            "sha1" => ring::pbkdf2::PBKDF2_HMAC_SHA1,
            "sha256" => ring::pbkdf2::PBKDF2_HMAC_SHA256,
            "sha384" => ring::pbkdf2::PBKDF2_HMAC_SHA384,
            "sha512" => ring::pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return Err("Invalid digest"),
        };
        let rounds = number("rounds")
            .and_then(|n| NonZeroU32::new(u32::try_from(n).ok()?))
            .ok_or("The value of \"iterations\" is out of range")?;
        ring::pbkdf2::derive(algorithm, rounds, salt, password, &mut key);
        return Ok(key);
    }
    let (cost, block, lanes) = (number("N"), number("r"), number("p"));
    let (Some(cost), Some(block), Some(lanes)) = (cost, block, lanes) else {
        return Err("Invalid scrypt params");
    };
    let memory = number("maxmem").unwrap_or(SCRYPT_MEMORY).min(1 << 30);
    let needed = cost.saturating_mul(block).saturating_mul(128);
    if !cost.is_power_of_two() || cost < 2 || needed > memory {
        return Err("Invalid scrypt params: memory limit exceeded");
    }
    let (Ok(block), Ok(lanes)) = (u32::try_from(block), u32::try_from(lanes)) else {
        return Err("Invalid scrypt params");
    };
    let params = u8::try_from(cost.ilog2())
        .ok()
        .and_then(|log| scrypt::Params::new(log, block, lanes).ok())
        .ok_or("Invalid scrypt params")?;
    if !key.is_empty() {
        scrypt::scrypt(password, salt, &params, &mut key).map_err(|_| "Invalid scrypt params")?;
    }
    Ok(key)
}
