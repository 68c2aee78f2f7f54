//! Measures whether known and unknown names, and taken and free addresses, take equally long: for each pair of requests
//! the probability that one side is slower than the other, by the Mann-Whitney U test over interleaved samples. 0.5 is
//! no difference.
//!
//! `cargo bench --bench equal_work` takes 8,000 samples a side and fails if the probability is more than 0.03 off. With
//! `-- short` it takes 500, on a machine that may be busy, and fails only on a gross difference, more than 0.1 off.
//! Names of pairs, as in `-- forgot resend`, select those pairs. Pairs with an address that its account has left are measured
//! only by name: thousands of accounts must change their addresses first, which takes many minutes.
//!
//! The time is measured in the server, from the call of the flow to its answer. The hash is cheap (64 KiB, one pass),
//! so that it does not hide a difference beside it; the real hash can only bring both sides closer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    missing_docs,
    reason = "a bench"
)]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[path = "../tests/support/pairs.rs"]
mod pairs;
#[path = "../tests/support/values.rs"]
mod values;

use std::rc::Rc;
use std::time::Instant;

use pairs::{PAIRS, Pair, World};

/// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_short = args.iter().any(|arg| arg == "short");
    let names: Vec<&String> = args.iter().filter(|arg| *arg != "short").collect();
    let (samples, bound) = if is_short { (500, 0.1) } else { (8_000, 0.03) };
    let mut outside = Vec::new();
    println!("equal work, {samples} interleaved samples a side, P(first side slower) within 0.5 ± {bound}:");
    let is_asked = |pair: &Pair| {
        let is_slow = matches!(pair, Pair::SignUpKept | Pair::ResendKept);
        let is_named = names.iter().any(|name| name.eq_ignore_ascii_case(&format!("{pair:?}")));
        is_named || (names.is_empty() && !is_slow)
    };
    for pair in PAIRS.into_iter().filter(is_asked) {
        let [first, second] = actix_web::rt::System::new().block_on(measure(pair, samples));
        let slower = slower(&first, &second);
        let median = |times: &[u64]| {
            let mut sorted = times.to_vec();
            sorted.sort_unstable();
            sorted[sorted.len() / 2] as f64 / 1000.0
        };
        let [one, other] = pair.sides();
        println!(
            "  {pair:?}: {one} {:.0} µs, {other} {:.0} µs (medians); P({one} slower) = {slower:.3}",
            median(&first),
            median(&second)
        );
        if (slower - 0.5).abs() > bound {
            outside.push(pair);
        }
    }
    assert!(outside.is_empty(), "a stranger could tell which is which: {outside:?}");
}

/// Returns the times of both sides of `pair` in nanoseconds. The order within a pair varies, so that neither side
/// always comes first.
async fn measure(pair: Pair, samples: usize) -> [Vec<u64>; 2] {
    let world = Rc::new(World::start(pair, true));
    let mut preparing = tokio::task::JoinSet::new();
    for n in 0..samples {
        let world = Rc::clone(&world);
        preparing.spawn_local(async move { world.prepare(pair, n).await });
        if preparing.len() >= 64 {
            preparing.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = preparing.join_next().await {
        done.unwrap();
    }
    let world = Rc::into_inner(world).unwrap().ready(pair, true).await;
    // Wait until the mails of the preparation have left.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    if pair == Pair::Resend {
        // The sign-ups have used the quota of mails of this hour, and a request beyond the quota does less work.
        world.engine.clock.advance(std::time::Duration::from_hours(1));
    }
    let mut times = [Vec::new(), Vec::new()];
    for n in 0..samples {
        // A fixed order, ABAB or ABBA, would favour one side if other work comes in the same rhythm.
        let is_turned = n.wrapping_mul(2_654_435_761) >> 7 & 1 == 1;
        for known in [is_turned, !is_turned] {
            let begin = Instant::now();
            world.run(pair, known, n).await;
            times[usize::from(!known)].push(begin.elapsed().as_nanos() as u64);
        }
        if matches!(pair, Pair::Forgot | Pair::Resend | Pair::ResendKept) {
            // Entries for requests that send nothing are bounded in each second; what a flood gets beyond them is not compared.
            world.engine.clock.advance(std::time::Duration::from_millis(20));
        }
    }
    world.stop();
    times
}

/// Returns the probability that a sample of `first` is larger than one of `second`. A tie counts half.
fn slower(first: &[u64], second: &[u64]) -> f64 {
    let mut sorted = second.to_vec();
    sorted.sort_unstable();
    let wins: f64 = first
        .iter()
        .map(|time| {
            let below = sorted.partition_point(|other| other < time);
            let not_above = sorted.partition_point(|other| other <= time);
            below as f64 + (not_above - below) as f64 / 2.0
        })
        .sum();
    wins / (first.len() * second.len()) as f64
}
