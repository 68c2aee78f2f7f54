//! Hostile bytes for everything that reads bytes: sound ones, changed by chance, with their checksums made right again
//! every other time, so that what stands behind a checksum is reached as well.
//!
//! For each input: no panic, no hang, no more memory than twice the input and 1 MiB, and what was read comes back when it
//! is written. A short form runs with `cargo test`; the long one is
//!
//! ```sh
//! PORTCULLIS_FUZZ_ITERATIONS=10000000 PORTCULLIS_FUZZ_SEED=$RANDOM \
//!   cargo test --release --test fuzz -- --nocapture --test-threads 1
//! ```
//!
//! Input `i` is made of the seed plus `i` alone, so a failure tells the one seed to look at. Bytes that were a finding once
//! are kept in `tests/fuzz/corpus/<target>/` and tried first, for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod decoders;
mod memory;
mod mutate;
mod texts;
mod weight;

use std::sync::mpsc;
use std::time::Duration;

use mutate::{Dice, Input, Repair};

#[global_allocator]
static ALLOCATOR: weight::Weighing = weight::Weighing;

/// Unless `PORTCULLIS_FUZZ_ITERATIONS` says how many inputs each reader gets.
const ITERATIONS: u64 = 20_000;
/// A thousand inputs that take longer hang.
const PATIENCE: Duration = Duration::from_mins(5);

/// Something that reads bytes.
pub struct Reader {
    /// What it reads.
    pub name: &'static str,
    /// Sound inputs.
    pub seeds: Vec<Input>,
    /// Makes checksums right again.
    pub repair: Repair,
    /// Reads, checks what must hold of whatever was read, and says whether anything was believed.
    pub read: fn(&Input) -> bool,
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Inputs that were a finding once.
fn kept(name: &str) -> Vec<Input> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries
        .map(|entry| vec![(String::from("input"), std::fs::read(entry.unwrap().path()).unwrap())])
        .collect()
}

fn tried(reader: &Reader, input: &Input, what: &dyn std::fmt::Display) -> bool {
    let bytes: usize = input.iter().map(|(_, bytes)| bytes.len()).sum();
    let most = 2 * bytes + (1 << 20);
    let caught = std::panic::catch_unwind(|| weight::of(|| (reader.read)(input)));
    match caught {
        Ok((believed, weight)) => {
            assert!(weight <= most, "{}, {what}: {bytes} bytes took {weight} of memory", reader.name);
            believed
        }
        Err(panic) => {
            let shown = input.iter().map(|(path, bytes)| format!("{path}: {}", mutate::hex(bytes)));
            eprintln!("{}, {what}: {}", reader.name, shown.collect::<Vec<_>>().join("\n"));
            std::panic::resume_unwind(panic);
        }
    }
}

/// Runs a reader in a thread of its own, and waits no longer than it may take.
fn fuzz(make: fn() -> Reader) {
    let (from, iterations) =
        (number("PORTCULLIS_FUZZ_SEED", 0), number("PORTCULLIS_FUZZ_ITERATIONS", ITERATIONS));
    let (alive, heard) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut reader = make();
        assert!(!reader.seeds.is_empty());
        for seed in &reader.seeds {
            assert!(tried(&reader, seed, &"a sound input"), "{}: not believed: {seed:?}", reader.name);
        }
        for input in kept(reader.name) {
            tried(&reader, &input, &"a kept input");
            reader.seeds.push(input);
        }
        let mut believed = 0;
        for seed in from..from + iterations {
            let mut dice = Dice::new(seed);
            let input = mutate::made(&reader.seeds, reader.repair, &mut dice);
            believed += u64::from(tried(&reader, &input, &format_args!("seed {seed}")));
            if seed.is_multiple_of(1000) {
                let _ = alive.send(seed);
            }
        }
        eprintln!("{}: {iterations} inputs from seed {from}, {believed} of them believed", reader.name);
        // Where nothing is believed only the first check was tried.
        assert!(believed > 0 || iterations < ITERATIONS, "{}: nothing was believed", reader.name);
    });
    loop {
        match heard.recv_timeout(PATIENCE) {
            Ok(_) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs"),
        }
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

macro_rules! readers {
    ($($test:ident => $make:path;)*) => {
        $(#[test] fn $test() { fuzz($make); })*
    };
}

readers! {
    header_blocks => decoders::header_blocks;
    frames => decoders::frames;
    entries => decoders::entries;
    values => decoders::values;
    snapshots => decoders::snapshots;
    limiter_files => decoders::limiter_files;
    directories => decoders::directories;
    opaque_tokens => texts::opaque_tokens;
    access_tokens => texts::access_tokens;
    forwarding_headers => texts::forwarding_headers;
    configurations => texts::configurations;
    phc_strings => texts::phc_strings;
    account_names => texts::account_names;
}

/// A reader with a mistake that one changed bit of a sound input brings to light.
fn mistaken(read: fn(&Input) -> bool) -> Reader {
    Reader {
        name: "mistaken",
        seeds: vec![vec![(String::from("input"), vec![0; 64])]],
        repair: |_, _| (),
        read,
    }
}

fn is_found(make: fn() -> Reader) -> bool {
    std::panic::catch_unwind(|| fuzz(make)).is_err()
}

#[test]
fn a_panic_and_a_waste_of_memory_are_found() {
    assert!(!is_found(|| mistaken(|input| input[0].1.len() < 1 << 20)));
    assert!(is_found(|| mistaken(|input| {
        assert!(!input[0].1.starts_with(&[0, 0, 0, 4]));
        true
    })));
    assert!(is_found(|| mistaken(|input| Vec::<u8>::with_capacity(get_len(input)).capacity() < usize::MAX)));
}

/// A length that is believed before anything vouches for it.
fn get_len(input: &Input) -> usize {
    input[0].1.first_chunk().map_or(0, |len| u16::from_le_bytes(*len)) as usize * 1024
}
