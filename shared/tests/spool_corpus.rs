//! Replays the corpus of the fuzz target `queue_file` on the stable compiler, whole, cut short and
//! with damage.
// The crate-wide bans keep input from causing a panic; a test reports by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)]

#[path = "../../tests/fuzz/queue_file.rs"]
mod target;

use std::path::Path;

fn seeds() -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/queue_file");
    let mut files: Vec<_> = std::fs::read_dir(corpus)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|f| std::fs::read(f).unwrap()).collect()
}

#[test]
fn every_seed_holds() {
    let seeds = seeds();
    assert!(seeds.len() > 20);
    seeds.iter().for_each(|s| target::queue_file(s));
}

#[test]
fn every_seed_cut_anywhere_holds() {
    for seed in seeds() {
        (0..seed.len()).for_each(|len| target::queue_file(&seed[..len]));
    }
}

#[test]
fn damaged_seeds_hold() {
    let seeds = seeds();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let mut bytes = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(1..6) {
            if bytes.is_empty() {
                break;
            }
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.insert(at, b"_{}[]\",:\\0\xff"[random.usize(..11)]),
                2 => drop(bytes.remove(at)),
                _ => {
                    let other = &seeds[random.usize(..seeds.len())];
                    let from = random.usize(..=other.len());
                    bytes.splice(at.., other[from..].iter().copied());
                }
            }
        }
        // keep the length right half of the time, so that damage gets past it
        if random.bool() && bytes.len() > 4 {
            let len = (bytes.len() - 4) as u32;
            bytes[..4].copy_from_slice(&len.to_be_bytes());
        }
        target::queue_file(&bytes);
    }
}
