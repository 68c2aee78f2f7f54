//! A search for dearer requests: it changes the dearest inputs known at random, and keeps what costs more.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::inputs::{Input, Kind, fields_of, short, values};
use crate::over_bounds;
use crate::routes::routes;
use crate::world::World;

/// Characters that make one parser or another work: letters and what stands for them, neighbours on a keyboard, marks,
/// blanks, separators, what grows when it is normalised.
const PARTS: [&str; 40] = [
    "4", "@", "8", "(", "{", "[", "<", "3", "6", "9", "1", "!", "|", "0", "$", "5", "+", "7", "%", "2", "a",
    "Z", "qw", "password", "love", "1991", "1/1/91", "😀", "𝔸", "\u{301}", "\u{316}", "\u{fdfa}", "İ", "ß",
    "\u{a0}", "\u{3000}", "ü", ".", "@", "_",
];
/// The dearest values of each kind that the search goes on from.
const KEPT: usize = 24;

/// Sends `requests` requests made from `seed`, and asserts that none is over its bounds.
pub async fn run(world: &mut World, requests: u64, seed: u64) {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let all: Vec<_> = routes().into_iter().filter(|route| !fields_of(route).3.is_empty()).collect();
    // Passwords are dearest, so half of the requests go where one is judged.
    let judged: Vec<_> = all
        .iter()
        .filter(|(_, path)| ["/v1/signup", "/v1/password/check"].contains(&path.as_str()))
        .collect();
    let mut kept: Vec<(Kind, f64, String)> = Vec::new();
    for kind in [Kind::Password, Kind::Email, Kind::Token, Kind::Text, Kind::Texts] {
        kept.extend(values(kind).into_iter().map(|value| (kind, 0.0, value)));
    }
    let mut dearest = (0.0, String::new());
    for number in 0..requests {
        let route = if dice.random_bool(0.5) {
            judged[dice.random_range(0..judged.len())]
        } else {
            &all[dice.random_range(0..all.len())]
        };
        let fields = fields_of(route);
        let mut chosen = Vec::new();
        for (name, kind) in fields.3 {
            let of_kind: Vec<&String> =
                kept.iter().filter(|(other, ..)| other == kind).map(|(.., value)| value).collect();
            if !of_kind.is_empty() && dice.random_bool(0.7) {
                let value = of_kind[dice.random_range(0..of_kind.len())].clone();
                chosen.push((*name, *kind, changed(value, &mut dice)));
            }
        }
        let named: Vec<(&str, String)> =
            chosen.iter().map(|(name, _, value)| (*name, value.clone())).collect();
        let (input, spent, status) = world.cheapest_of(3, |n| Input::of(fields, n, &named)).await;
        let cost = (spent.loops + spent.hashing).as_secs_f64() * 1000.0;
        if let Some(what) = over_bounds(&spent, status) {
            let sent = input.body.map_or(input.path, |body| String::from_utf8_lossy(&body).into_owned());
            panic!(
                "{what}: {} {}, request {number} of seed {seed}: {status}, {spent}\n{sent}",
                route.0, route.1
            );
        }
        if cost > dearest.0 {
            dearest = (cost, format!("{} {}: {}", route.0, route.1, input.what));
        }
        for (_, kind, value) in chosen {
            keep(&mut kept, kind, cost, value);
        }
    }
    eprintln!(
        "{requests} requests from seed {seed}: the dearest took {:.2} ms: {}",
        dearest.0,
        short(&dearest.1)
    );
}

/// Keeps `value` if it is among the dearest of its kind.
fn keep(kept: &mut Vec<(Kind, f64, String)>, kind: Kind, cost: f64, value: String) {
    kept.push((kind, cost, value));
    let of_kind = kept.iter().filter(|(other, ..)| *other == kind).count();
    if of_kind > KEPT {
        let cheapest = kept
            .iter()
            .enumerate()
            .filter(|(_, (other, ..))| *other == kind)
            .min_by(|(_, (_, one, _)), (_, (_, other, _))| one.total_cmp(other))
            .map(|(at, _)| at);
        kept.swap_remove(cheapest.unwrap());
    }
}

/// Changes `value` in one to four places. It stays short enough for a body.
fn changed(value: String, dice: &mut ChaCha8Rng) -> String {
    let mut chars: Vec<char> = value.chars().collect();
    for _ in 0..dice.random_range(1..=4) {
        let at = dice.random_range(0..=chars.len());
        let part: Vec<char> = PARTS[dice.random_range(0..PARTS.len())].chars().collect();
        match dice.random_range(0..6) {
            0 => drop(chars.splice(at..at, part)),
            1 => drop(chars.splice(at..(at + part.len()).min(chars.len()), part.clone())),
            2 => drop(chars.drain(at..(at + dice.random_range(0..8)).min(chars.len()))),
            // A piece of the value once more.
            3 => {
                let piece = chars[at..(at + dice.random_range(1..16)).min(chars.len())].to_vec();
                chars.splice(at..at, piece);
            }
            4 => chars.truncate([24, 15, 72, 100][dice.random_range(0..4)]),
            _ => {
                let times = dice.random_range(2..12);
                let repeated = part.iter().copied().cycle().take(part.len() * times).collect::<Vec<_>>();
                chars.splice(at..at, repeated);
            }
        }
    }
    chars.truncate(3_500);
    chars.into_iter().collect()
}
