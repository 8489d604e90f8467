//! libFuzzer target: see `auth.rs`.
#![no_main]

#[path = "../auth.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::auth(input));
