//! libFuzzer target: see `entries.rs`.
#![no_main]

#[path = "../message.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::address_header(input));
