//! libFuzzer target: see `queue_file` in `entries.rs`.
#![no_main]

#[path = "../queue_file.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::queue_file(input));
