//! The cost meter: what the dearest requests known, and mutations of them, cost the server.
//!
//! Every endpoint of the route table gets every input of the corpus (`inputs.rs`). Afterwards a search changes inputs at
//! random and keeps the dearest. Each request must stay within [`bounds`]: CPU time, memory, and bytes written. The
//! hash is cheap here (64 KiB), so what is measured is the cost beside the hash.
//!
//! A short search is part of `cargo test`. A long one, and the table of all endpoints:
//!
//! ```sh
//! PORTCULLIS_COST_REQUESTS=20000 PORTCULLIS_COST_SEED=$RANDOM \
//!   cargo test --release --test cost -- --nocapture --test-threads 1
//! ```
//!
//! In a debug build the bounds of time are [`SLOWER`] times as high, since only some crates are optimised there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod allocator;
mod inputs;
mod meter;
mod routes;
mod search;
#[allow(dead_code, unused_imports, reason = "shared with the other tests")]
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use inputs::{Input, Kind, bodies, fields_of, headers, values};
use meter::Spent;
use routes::{Route, routes};
use world::World;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// How much slower a debug build may be.
const SLOWER: u32 = if cfg!(debug_assertions) { 4 } else { 1 };

/// What one request may cost, beside its hash.
struct Bounds {
    /// On the event loops and the actors' thread.
    loops: Duration,
    /// In all: with the checks of a new password, which hashing threads do.
    cpu: Duration,
    memory: usize,
    /// Journal, security events and log, if the request is refused.
    written: u64,
}

const fn bounds() -> Bounds {
    Bounds {
        loops: Duration::from_millis(10 * SLOWER as u64),
        cpu: Duration::from_millis(25 * SLOWER as u64),
        memory: 1 << 20,
        written: 4096,
    }
}

/// Says what of `spent` is over its bound. `status` is that of the answer; 0 if there was none.
fn over_bounds(spent: &Spent, status: u16) -> Option<&'static str> {
    let bounds = bounds();
    if status == 0 {
        Some("no answer")
    } else if spent.loops > bounds.loops {
        Some("CPU time of the event loops")
    } else if spent.loops + spent.hashing > bounds.cpu {
        Some("CPU time")
    } else if spent.memory > bounds.memory {
        Some("memory")
    } else if status >= 400 && spent.written() > bounds.written {
        Some("bytes written")
    } else {
        None
    }
}

/// Returns the number in the environment variable `name`, or `default`.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Returns every input of the corpus for `route`.
fn corpus(route: &Route, n: u64) -> Vec<Input> {
    let fields = fields_of(route);
    let plain = Input::of(fields, n, &[]);
    let mut all = vec![Input { what: String::from("ordinary"), ..plain.clone() }];
    for (name, kind) in fields.3 {
        if matches!(kind, Kind::Fixed(_)) {
            continue;
        }
        for value in values(*kind) {
            all.push(Input::of(fields, n, &[(*name, value)]));
        }
    }
    if fields.0 == "POST" && fields.1.ends_with("/check") {
        // Both fields dear at once.
        let [password, email] = [Kind::Password, Kind::Email].map(values);
        all.push(Input::of(fields, n, &[("password", password[1].clone()), ("email", email[0].clone())]));
    }
    if plain.body.is_some() {
        all.extend(bodies().into_iter().map(|(what, body)| Input {
            body: Some(body),
            what: what.to_owned(),
            ..plain.clone()
        }));
    }
    all.extend(headers().into_iter().map(|(what, headers)| Input {
        headers,
        what: what.to_owned(),
        ..plain.clone()
    }));
    all
}

/// The page with the table of all endpoints.
const PAGE: &str = include_str!("../../src/http/README.md");

/// Returns the endpoints that the table of `page` does not have, and its rows that are of none. A row whose path ends with `…`
/// is that of all endpoints that begin so.
fn wrong_rows(page: &str) -> Vec<Route> {
    let table = page.split("| endpoint | loops |").nth(1).unwrap().split("\n\n").next().unwrap();
    let row = |line: &str| {
        let (method, rest) = line.strip_prefix("| ")?.split_once(" `")?;
        Some((method.to_owned(), rest.split('`').next()?.to_owned()))
    };
    let rows: BTreeSet<Route> = table.lines().filter_map(row).collect();
    let is_row_of = |(of, row): &Route, (method, path): &Route| {
        of == method && row.strip_suffix('…').map_or(row == path, |begin| path.starts_with(begin))
    };
    let routes = routes();
    let missing = routes.iter().filter(|route| !rows.iter().any(|row| is_row_of(row, route)));
    let idle = rows.iter().filter(|row| !routes.iter().any(|route| is_row_of(row, route)));
    missing.chain(idle).cloned().collect()
}

#[test]
fn the_table_of_the_page_has_every_endpoint_and_no_other() {
    assert_eq!(wrong_rows(PAGE), []);
    for (right, wrong) in [("GET `/openapi.json`", "GET `/openapi.yaml`"), ("{id}/…`", "{id}/unlock`")] {
        assert!(PAGE.contains(right), "{right}");
        assert!(!wrong_rows(&PAGE.replace(right, wrong)).is_empty(), "{wrong} is not found");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_request_costs_more_than_its_bound() {
    let mut world = World::start().await;
    let mut dearest: BTreeMap<Route, Spent> = BTreeMap::new();
    let mut over = Vec::new();
    for route in routes() {
        // Wrong passwords of one route must not lock the user of the next.
        world.renew_user().await;
        for n in 0..corpus(&route, 0).len() {
            let (input, spent, status) =
                world.cheapest_of(3, |unique| corpus(&route, unique).swap_remove(n)).await;
            let most = dearest.entry(route.clone()).or_default();
            *most = (*most).max(spent);
            if let Some(what) = over_bounds(&spent, status) {
                over.push(format!("{what}: {} {}: {status}, {}: {spent}", route.0, route.1, input.what));
            }
        }
    }
    // The name of the test stands on the line.
    eprintln!();
    for ((method, path), spent) in &dearest {
        eprintln!("{}", spent.row(method, path));
    }
    assert!(over.is_empty(), "{} requests are over their bounds:\n{}", over.len(), over.join("\n"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_search_for_dearer_requests_finds_none() {
    let mut world = World::start().await;
    let requests = number("PORTCULLIS_COST_REQUESTS", 150);
    let seed = number("PORTCULLIS_COST_SEED", 0);
    search::run(&mut world, requests, seed).await;
}
