//! Hostile bytes for every decoder: valid inputs, changed at random. Every other input gets its checksums corrected, so
//! that the checks after a checksum are reached as well.
//!
//! For each input there must be no panic, no hang, and no more memory than twice the input and 1 MiB; and what was read
//! must come back when it is written. A short run is part of `cargo test`; a long one is
//!
//! ```sh
//! PORTCULLIS_FUZZ_ITERATIONS=10000000 PORTCULLIS_FUZZ_SEED=$RANDOM \
//!   cargo test --release --test fuzz -- --nocapture --test-threads 1
//! ```
//!
//! Input `i` is made from the seed plus `i` alone, so a failure names the one seed to look at. Inputs that were a
//! finding once are kept in `tests/fuzz/corpus/<target>/` and tried first in every run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "../support/counting_allocator.rs"]
mod counting_allocator;
mod decoders;
mod dumps;
mod imports;
mod memory;
mod mutate;
mod texts;
#[path = "../support/values.rs"]
mod values;

use std::alloc::System;
use std::sync::mpsc;
use std::time::Duration;

use counting_allocator::Counting;
use mutate::{Dice, Input, Repair};

#[global_allocator]
static ALLOCATOR: Counting<System> = Counting(System);

/// Inputs for each decoder, unless `PORTCULLIS_FUZZ_ITERATIONS` says otherwise.
const ITERATIONS: u64 = 20_000;
/// A thousand inputs that take longer count as a hang.
const PATIENCE: Duration = Duration::from_mins(5);

/// A decoder under test.
pub struct Reader {
    /// The name of what it reads, which is also the name of its folder in the corpus.
    pub name: &'static str,
    /// Valid inputs.
    pub seeds: Vec<Input>,
    /// Corrects the checksums of an input.
    pub repair: Repair,
    /// Reads an input, asserts what must hold of everything that was read, and says whether anything was accepted.
    pub read: fn(&Input) -> bool,
}

/// Returns the number in the environment variable `name`, or `default`.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Returns the inputs of the corpus that were a finding for the decoder `name` once.
fn kept(name: &str) -> Vec<Input> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let input = |path: &std::path::Path| vec![(String::from("input"), std::fs::read(path).unwrap())];
    entries.map(|entry| input(&entry.unwrap().path())).collect()
}

/// Reads `input`, asserts the bound of memory, and says whether anything was accepted. `what` names the input in
/// failures.
fn try_input(reader: &Reader, input: &Input, what: &dyn std::fmt::Display) -> bool {
    let bytes: usize = input.iter().map(|(_, bytes)| bytes.len()).sum();
    let most = 2 * bytes + (1 << 20);
    let caught = std::panic::catch_unwind(|| counting_allocator::count(|| (reader.read)(input)));
    match caught {
        Ok((is_accepted, memory)) => {
            let peak = memory.peak;
            assert!(peak <= most, "{}, {what}: {bytes} bytes took {peak} of memory", reader.name);
            is_accepted
        }
        Err(panic) => {
            let files = input.iter().map(|(path, bytes)| format!("{path}: {}", values::hex(bytes)));
            eprintln!("{}, {what}: {}", reader.name, files.collect::<Vec<_>>().join("\n"));
            std::panic::resume_unwind(panic);
        }
    }
}

/// Runs a decoder over its inputs on a thread of its own, and panics if it hangs.
fn fuzz(make: fn() -> Reader) {
    let from = number("PORTCULLIS_FUZZ_SEED", 0);
    let iterations = number("PORTCULLIS_FUZZ_ITERATIONS", ITERATIONS);
    let (alive, heard) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut reader = make();
        assert!(!reader.seeds.is_empty());
        for seed in &reader.seeds {
            assert!(try_input(&reader, seed, &"a valid input"), "{}: not accepted: {seed:?}", reader.name);
        }
        for input in kept(reader.name) {
            try_input(&reader, &input, &"a kept input");
            reader.seeds.push(input);
        }
        let mut accepted = 0;
        for seed in from..from + iterations {
            let mut dice = Dice::new(seed);
            let input = mutate::mutate(&reader.seeds, reader.repair, &mut dice);
            accepted += u64::from(try_input(&reader, &input, &format_args!("seed {seed}")));
            if seed.is_multiple_of(1000) {
                let _ = alive.send(seed);
            }
        }
        eprintln!("{}: {iterations} inputs from seed {from}, {accepted} of them accepted", reader.name);
        // If nothing is accepted, the inputs reach only the first check.
        if iterations >= ITERATIONS {
            assert!(accepted > 0, "{}: nothing was accepted", reader.name);
        }
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
    cookie_headers => texts::cookie_headers;
    configurations => texts::configurations;
    phc_strings => texts::phc_strings;
    foreign_hashes => texts::foreign_hashes;
    account_names => texts::account_names;
    carried_fields => texts::carried_fields;
    import_lines => imports::import_lines;
    dumps => dumps::dumps;
}

/// Makes a decoder that may contain a mistake, which one changed bit of its valid input shows.
fn mistaken(read: fn(&Input) -> bool) -> Reader {
    Reader {
        name: "mistaken",
        seeds: vec![vec![(String::from("input"), vec![0; 64])]],
        repair: |_, _| (),
        read,
    }
}

/// Says whether fuzzing finds a mistake.
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

/// Returns a length from the input, unchecked.
fn get_len(input: &Input) -> usize {
    input[0].1.first_chunk().map_or(0, |len| u16::from_le_bytes(*len)) as usize * 1024
}
