//! The rate limiter's table under ten million addresses: the time of a decision, the memory, and whether a network over
//! its limit is ever forgotten. Run it with `cargo bench --bench throttle`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a bench")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use portcullis::registry::throttle::{Class, Limits, Rate, Table};
use portcullis::system::clock::Timestamp;

const ADDRESSES: u32 = 10_000_000;
const OFFENDERS: u32 = 1000;

/// Returns the resident memory of this process in bytes, on systems that report it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Returns an address of the flood. Each number has a network of its own.
fn flooder(number: u32) -> IpAddr {
    let mixed = number.wrapping_mul(2_654_435_761) | 0x0100_0000;
    if number.is_multiple_of(2) {
        Ipv4Addr::from_bits(mixed).into()
    } else {
        Ipv6Addr::from_bits(0x2001 << 112 | u128::from(mixed) << 64).into()
    }
}

fn main() {
    let before = resident();
    let rates = vec![(Class::Login, Rate { burst: 20, per_minute: 20 })];
    let limits = Limits { rates, cells: 1_000_000, exempt: Vec::new(), half_spent: false };
    let mut now = Timestamp::from_secs(1_800_000_000);
    let mut table = Table::new(limits, now);
    let offender = |number: u32| IpAddr::from(Ipv4Addr::from_bits(0xCB00_0000 | number << 8 | 7));
    let mut times = hdrhistogram::Histogram::<u64>::new(3).unwrap();
    let mut guesses = 0_u64;
    let mut refused = 0_u64;
    for number in 0..OFFENDERS {
        while table.take(Class::Login, offender(number), now).is_ok() {
            guesses += 1;
        }
    }
    for number in 0..ADDRESSES {
        // 100,000 new addresses a second; each offender tries again once a second.
        if number.is_multiple_of(100) {
            let who = offender(number / 100 % OFFENDERS);
            match table.take(Class::Login, who, now) {
                Ok(_) => guesses += 1,
                Err(_) => refused += 1,
            }
        }
        if number.is_multiple_of(100_000) {
            now = now + Duration::from_secs(1);
        }
        let begin = Instant::now();
        let _ = std::hint::black_box(table.take(Class::Login, flooder(number), now));
        times.record(begin.elapsed().as_nanos() as u64).unwrap();
    }
    let due = u64::from(OFFENDERS) * (20 + 100 / 3 + 1);
    println!(
        "throttle, {ADDRESSES} addresses: a decision p50 {} ns, p99 {} ns; table {:.1} MiB, resident +{:.1} MiB; {} cells \
         gave way",
        times.value_at_quantile(0.5),
        times.value_at_quantile(0.99),
        table.bytes() as f64 / f64::from(1 << 20),
        resident().zip(before).map_or(0.0, |(after, before)| (after - before) as f64 / f64::from(1 << 20)),
        table.evictions(),
    );
    println!(
        "offenders: {OFFENDERS} networks got {guesses} guesses in 100 s of flood (their burst and rate allow {due}), {refused} \
         refused"
    );
    let mut messages = hdrhistogram::Histogram::<u64>::new(3).unwrap();
    let mut bytes = 0;
    let mut from = Some(0);
    while let Some(begin) = from {
        let begun = Instant::now();
        let piece = table.piece(begin, now);
        messages.record(begun.elapsed().as_nanos() as u64).unwrap();
        bytes += piece.bytes.len();
        from = piece.next;
    }
    println!(
        "saving it: {:.1} MiB in {} messages, p50 {} µs, p99 {} µs, longest {} µs",
        bytes as f64 / f64::from(1 << 20),
        messages.len(),
        messages.value_at_quantile(0.5) / 1000,
        messages.value_at_quantile(0.99) / 1000,
        messages.max() / 1000
    );
    assert!(guesses <= due, "an offender was forgotten");
    assert!(table.bytes() <= 64 << 20);
}
