//! AES for scripts: blocks in the modes CBC, CTR, ECB and GCM.
//!
//! The block cipher and GHASH are the libraries'; a mode is no more than their order, and has to be
//! fed in pieces of any size, as scripts do.

use std::cell::RefCell;
use std::rc::Rc;

use aes::cipher::{Block, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use rquickjs::{Class, Ctx, Exception, Object};

use super::op;
use crate::js::convert::Bytes;
use crate::js::host::Host;
use crate::js::opaque::Opaque;

const BLOCK: usize = 16;

type Octets = [u8; BLOCK];

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum CipherError {
    #[error("Unknown cipher")]
    Unknown,
    #[error("Invalid key length")]
    Key,
    #[error("Invalid initialization vector")]
    Vector,
    #[error("wrong final block length")]
    Length,
    #[error("bad decrypt")]
    Padding,
    #[error("Unsupported state or unable to authenticate data")]
    Tag,
}

enum Aes {
    Short(Box<Aes128>),
    Middle(Box<Aes192>),
    Long(Box<Aes256>),
}

impl Aes {
    fn new(bits: &str, key: &[u8]) -> Result<Aes, CipherError> {
        let wrong = |_| CipherError::Key;
        Ok(match bits {
            "128" => Aes::Short(Box::new(Aes128::new_from_slice(key).map_err(wrong)?)),
            "192" => Aes::Middle(Box::new(Aes192::new_from_slice(key).map_err(wrong)?)),
            "256" => Aes::Long(Box::new(Aes256::new_from_slice(key).map_err(wrong)?)),
            _ => return Err(CipherError::Unknown),
        })
    }

    fn encrypt(&self, octets: Octets) -> Octets {
        let mut block = Block::<Aes128>::from(octets);
        match self {
            Aes::Short(aes) => aes.encrypt_block(&mut block),
            Aes::Middle(aes) => aes.encrypt_block(&mut block),
            Aes::Long(aes) => aes.encrypt_block(&mut block),
        }
        block.into()
    }

    fn decrypt(&self, octets: Octets) -> Octets {
        let mut block = Block::<Aes128>::from(octets);
        match self {
            Aes::Short(aes) => aes.decrypt_block(&mut block),
            Aes::Middle(aes) => aes.decrypt_block(&mut block),
            Aes::Long(aes) => aes.decrypt_block(&mut block),
        }
        block.into()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Cbc,
    Ecb,
    Ctr,
    Gcm,
}

/// A cipher at work.
struct State {
    aes: Aes,
    mode: Mode,
    decrypts: bool,
    padding: bool,
    /// CBC: the block before. CTR and GCM: the counter.
    chain: Octets,
    /// Octets that are no block yet; with a counter, the key stream that is left.
    rest: Vec<u8>,
    hash: Option<Authentication>,
}

/// GCM's tag (SP 800-38D) in the making.
struct Authentication {
    hash: GHash,
    /// Of the text that is not a block yet.
    part: Vec<u8>,
    extra: u64,
    text: u64,
    mask: Octets,
}

type Cipher = Opaque<RefCell<State>>;

pub(super) fn install<'js>(
    ctx: &Ctx<'js>,
    field: &Object<'js>,
    _host: &Rc<Host>,
) -> rquickjs::Result<()> {
    fn thrown<T>(ctx: &Ctx<'_>, result: Result<T, CipherError>) -> rquickjs::Result<T> {
        result.map_err(|e| Exception::throw_message(ctx, &e.to_string()))
    }
    op!(
        ctx,
        field,
        "start",
        |ctx: Ctx<'js>, name: String, key: Bytes, iv: Bytes, decrypts: bool| {
            let state = thrown(&ctx, State::new(&name, &key.0, &iv.0, decrypts))?;
            Class::instance(ctx, Opaque(RefCell::new(state)))
        }
    );
    op!(
        ctx,
        field,
        "padding",
        |cipher: Class<'_, Cipher>, on: bool| {
            cipher.borrow().0.borrow_mut().padding = on;
        }
    );
    op!(
        ctx,
        field,
        "extra",
        |cipher: Class<'_, Cipher>, octets: Bytes| {
            cipher.borrow().0.borrow_mut().authenticate_extra(&octets.0);
        }
    );
    op!(
        ctx,
        field,
        "update",
        |cipher: Class<'_, Cipher>, octets: Bytes| {
            Bytes(cipher.borrow().0.borrow_mut().update(&octets.0))
        }
    );
    op!(
        ctx,
        field,
        "finish",
        |ctx: Ctx<'_>, cipher: Class<'_, Cipher>| {
            let done = cipher.borrow().0.borrow_mut().finish();
            thrown(&ctx, done.map(Bytes))
        }
    );
    op!(ctx, field, "tag", |cipher: Class<'_, Cipher>| {
        cipher
            .borrow()
            .0
            .borrow_mut()
            .tag()
            .map(|tag| Bytes(tag.to_vec()))
    });
    op!(
        ctx,
        field,
        "check",
        |ctx: Ctx<'_>, cipher: Class<'_, Cipher>, tag: Bytes| {
            let own = cipher.borrow().0.borrow_mut().tag().unwrap_or_default();
            let same = own.get(..tag.0.len()).is_some_and(|own| {
                // Without an early end, so that time tells nothing about the tag.
                !tag.0.is_empty() && own.iter().zip(&tag.0).fold(0, |d, (a, b)| d | (a ^ b)) == 0
            });
            thrown(&ctx, same.then_some(()).ok_or(CipherError::Tag))
        }
    );
    Ok(())
}

impl State {
    fn new(name: &str, key: &[u8], iv: &[u8], decrypts: bool) -> Result<State, CipherError> {
        let lower = name.to_ascii_lowercase();
        let rest = lower.strip_prefix("aes-").or(lower.strip_prefix("aes"));
        let (bits, mode) = rest
            .and_then(|rest| rest.split_once('-'))
            .ok_or(CipherError::Unknown)?;
        let mode = match mode {
            "cbc" => Mode::Cbc,
            "ecb" => Mode::Ecb,
            "ctr" => Mode::Ctr,
            "gcm" => Mode::Gcm,
            _ => return Err(CipherError::Unknown),
        };
        let aes = Aes::new(bits, key)?;
        let (chain, hash) = match mode {
            Mode::Ecb if iv.is_empty() => (Octets::default(), None),
            Mode::Cbc | Mode::Ctr => {
                let iv = Octets::try_from(iv).map_err(|_| CipherError::Vector)?;
                (iv, None)
            }
            Mode::Gcm if !iv.is_empty() => {
                let (first, hash) = Authentication::start(&aes, iv);
                (first, Some(hash))
            }
            _ => return Err(CipherError::Vector),
        };
        let mut state = State {
            aes,
            mode,
            decrypts,
            padding: true,
            chain,
            rest: Vec::new(),
            hash,
        };
        if mode == Mode::Gcm {
            state.count(4);
        }
        Ok(state)
    }

    fn update(&mut self, input: &[u8]) -> Vec<u8> {
        match self.mode {
            Mode::Cbc | Mode::Ecb => self.blocks(input),
            Mode::Ctr => self.stream(input),
            Mode::Gcm if self.decrypts => {
                self.authenticate(input);
                self.stream(input)
            }
            Mode::Gcm => {
                let out = self.stream(input);
                self.authenticate(&out);
                out
            }
        }
    }

    /// Whole blocks; the last one waits when it may hold padding.
    fn blocks(&mut self, input: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(input);
        let all = std::mem::take(&mut self.rest);
        let mut whole = all.len() / BLOCK;
        if self.decrypts && self.padding && whole * BLOCK == all.len() {
            whole = whole.saturating_sub(1);
        }
        let (now, later) = all.split_at(whole * BLOCK);
        self.rest = later.to_vec();
        let mut out = Vec::with_capacity(now.len());
        for block in now.as_chunks::<BLOCK>().0 {
            out.extend_from_slice(&self.block(*block));
        }
        out
    }

    fn block(&mut self, block: Octets) -> Octets {
        match (self.mode == Mode::Cbc, self.decrypts) {
            (true, true) => {
                let plain = xor(self.aes.decrypt(block), self.chain);
                self.chain = block;
                plain
            }
            (true, false) => {
                self.chain = self.aes.encrypt(xor(block, self.chain));
                self.chain
            }
            (false, true) => self.aes.decrypt(block),
            (false, false) => self.aes.encrypt(block),
        }
    }

    fn stream(&mut self, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(input.len());
        for byte in input {
            if self.rest.is_empty() {
                let mut stream = self.aes.encrypt(self.chain);
                stream.reverse();
                self.rest.extend_from_slice(&stream);
                self.count(if self.mode == Mode::Gcm { 4 } else { BLOCK });
            }
            out.push(byte ^ self.rest.pop().unwrap_or_default());
        }
        out
    }

    /// Adds one to the last octets of the counter.
    fn count(&mut self, octets: usize) {
        for byte in self.chain.iter_mut().rev().take(octets) {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    /// What is left; PKCS #7 padding (RFC 5652, section 6.3) unless it is off.
    fn finish(&mut self) -> Result<Vec<u8>, CipherError> {
        if matches!(self.mode, Mode::Ctr | Mode::Gcm) {
            return Ok(Vec::new());
        }
        let mut rest = std::mem::take(&mut self.rest);
        if !self.padding {
            return match rest.is_empty() {
                true => Ok(rest),
                false => Err(CipherError::Length),
            };
        }
        if !self.decrypts {
            let missing = BLOCK - rest.len();
            rest.resize(BLOCK, u8::try_from(missing).unwrap_or_default());
            let block = Octets::try_from(rest).map_err(|_| CipherError::Length)?;
            return Ok(self.block(block).to_vec());
        }
        let block = Octets::try_from(rest).map_err(|_| CipherError::Length)?;
        let mut plain = self.block(block).to_vec();
        let count = usize::from(plain.last().copied().unwrap_or_default());
        let text = BLOCK.checked_sub(count).filter(|_| count > 0);
        let text = text.ok_or(CipherError::Padding)?;
        if plain.iter().skip(text).any(|b| usize::from(*b) != count) {
            return Err(CipherError::Padding);
        }
        plain.truncate(text);
        Ok(plain)
    }

    fn authenticate_extra(&mut self, octets: &[u8]) {
        if let Some(hash) = &mut self.hash {
            hash.extra += octets.len() as u64 * 8;
            hash.hash.update_padded(octets);
        }
    }

    fn authenticate(&mut self, octets: &[u8]) {
        if let Some(hash) = &mut self.hash {
            hash.text += octets.len() as u64 * 8;
            hash.part.extend_from_slice(octets);
            let whole = hash.part.len() / BLOCK * BLOCK;
            let later = hash.part.split_off(whole);
            hash.hash.update_padded(&hash.part);
            hash.part = later;
        }
    }

    /// GCM's tag over all that was seen; ends the cipher.
    fn tag(&mut self) -> Option<Octets> {
        let mut done = self.hash.take()?;
        done.hash.update_padded(&done.part);
        let lengths = (u128::from(done.extra) << 64 | u128::from(done.text)).to_be_bytes();
        done.hash.update_padded(&lengths);
        Some(xor(done.hash.finalize().into(), done.mask))
    }
}

impl Authentication {
    /// The first counter, and the tag's beginning (SP 800-38D, section 7.1).
    fn start(aes: &Aes, iv: &[u8]) -> (Octets, Authentication) {
        let key = ghash::Key::from(aes.encrypt(Octets::default()));
        let first = match <[u8; 12]>::try_from(iv) {
            Ok(iv) => {
                let mut first = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
                for (to, from) in first.iter_mut().zip(iv) {
                    *to = from;
                }
                first
            }
            Err(_) => {
                let mut hash = GHash::new(&key);
                hash.update_padded(iv);
                hash.update_padded(&(iv.len() as u128 * 8).to_be_bytes());
                hash.finalize().into()
            }
        };
        let authentication = Authentication {
            hash: GHash::new(&key),
            part: Vec::new(),
            extra: 0,
            text: 0,
            mask: aes.encrypt(first),
        };
        (first, authentication)
    }
}

fn xor(a: Octets, b: Octets) -> Octets {
    let mut out = a;
    for (to, from) in out.iter_mut().zip(b) {
        *to ^= from;
    }
    out
}
