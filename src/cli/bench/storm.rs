//! The storm: what it is made of, and how it is played before, during and after.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use portcullis::password::Cost;
use portcullis::system::clock::Clock;
use portcullis::system::descriptors;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::LocalSet;

use super::super::{Failure, say};
use super::hashing::Hashing;
use super::plot::plot;
use super::report::Report;
use super::scene::{IN_FLIGHT_MAX, PASSWORD, Rates, Scene, User, named};
use super::tally::Kind;
use super::target::Target;
use super::wire::{Pool, get, post};

/// How hard, how long, and against whom.
#[derive(Args, Debug)]
pub struct Storm {
    /// Seconds of storm.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Log-ins a second, in multiples of what can be hashed.
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// Log-ins a second, whatever can be hashed.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: Option<u32>,
    /// Shares of log-ins: stuffing, guessing, honest users on new browsers, honest users on known ones.
    #[arg(long, default_value = "70,20,8,2")]
    mix: String,
    /// Refreshes, and session checks, a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    background: u32,
    /// Honest users.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    users: u32,
    /// Threads that hash, of the throw-away server. Default: the cores.
    #[arg(long)]
    threads: Option<usize>,
    /// KiB of one hash, of the throw-away server.
    #[arg(long, default_value_t = Cost::SAFE.memory_kib)]
    memory_kib: u32,
    /// A server that runs, as http://host:port, in place of a throw-away one. Its log-ins must not be worth anything.
    #[arg(long)]
    target: Option<String>,
    /// That host may be stormed although it is not this machine.
    #[arg(long)]
    allow_host: Option<String>,
    /// Where the plot goes.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Also measure what could be hashed at most: the same storm once more, in which every log-in only asks for the
    /// server's health, while threads of this tool hash in what that leaves.
    #[arg(long)]
    ceiling: bool,
    /// The same storm for the same number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Storm {
    pub(super) fn run(&self, as_json: bool) -> Result<(), Failure> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::fault)?;
        LocalSet::new().block_on(&runtime, self.storm(as_json))
    }

    async fn storm(&self, as_json: bool) -> Result<(), Failure> {
        let clock = Clock::system();
        descriptors::make_room(IN_FLIGHT_MAX as u64 + 64, descriptors::raise());
        let mut random = StdRng::seed_from_u64(self.seed);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = self.threads.unwrap_or(cores);
        let cost = Cost { memory_kib: self.memory_kib, ..Cost::SAFE };
        let hashing = Hashing { clock: clock.clone(), threads, cost };
        let raw = hashing.alone();
        let budget = Duration::from_secs(2);
        let target = match &self.target {
            Some(url) => Target::named(url, self.allow_host.as_deref())?,
            None => Target::start(threads, cost, budget, random.random()).map_err(Failure::fault)?,
        };
        let users = sign_up(&target, self.users).await?;
        let scene = Scene::new(Pool::new(target.address), users, clock.clone());
        let log_ins = self.rate.map_or(raw * self.times, f64::from);
        let background = f64::from(self.background);
        let calm_rates: Rates = Kind::ALL.map(|kind| match kind {
            Kind::Refresh | Kind::Session => (kind, background),
            Kind::Probe => (kind, 20.0),
            _ => (kind, 0.0),
        });
        let shares = self.shares()?;
        let storm_rates = calm_rates.map(|(kind, rate)| {
            let share = shares.iter().find(|(of, _)| *of == kind).map(|(_, share)| share * log_ins);
            (kind, share.unwrap_or(rate))
        });
        let calm_time = Duration::from_secs((self.seconds / 3).clamp(2, 10));
        let calm = scene.clone().play(calm_rates, calm_time, &mut random, "calm").await;
        let (_, calm) = calm.map_err(Failure::fault)?;
        let before = (figures(&target).await, target.resident_kib());
        let begin = clock.steady();
        let time = Duration::from_secs(self.seconds);
        let storm = scene.clone().play(storm_rates, time, &mut random, "storm").await;
        let (points, storm) = storm.map_err(Failure::fault)?;
        let (after, unsent) = ((figures(&target).await, target.resident_kib()), scene.unsent());
        let taken = clock.steady().duration_since(begin).as_secs_f64();
        let hashed = before.0.zip(after.0).map(|(before, after)| (after - before) / taken);
        // Machines drift, and boost what has just begun: the mean of before and after.
        let after_storm = hashing.alone();
        let raw = f64::midpoint(raw, after_storm);
        let ceiling = if self.ceiling {
            let beside = beside_the_same(&scene, storm_rates, time, &mut random, &hashing).await?;
            Some(beside / f64::midpoint(after_storm, hashing.alone()))
        } else {
            None
        };
        let report = Report {
            raw,
            log_ins,
            hashed,
            ceiling,
            resident_kib: [before.1, after.1],
            seconds: self.seconds,
            unsent,
            calm,
            storm,
        };
        if as_json {
            say(&report.json().to_string());
        } else {
            report.say();
        }
        if let Some(path) = &self.svg {
            let title = format!(
                "{log_ins:.0} log-ins a second for {} s, of which {raw:.0} can be hashed ({threads} threads)",
                self.seconds
            );
            std::fs::write(path, plot(&title, &points)).map_err(Failure::fault)?;
        }
        Ok(())
    }

    fn shares(&self) -> Result<[(Kind, f64); 4], Failure> {
        let wrong = || Failure::usage("--mix is four numbers, such as 70,20,8,2");
        let numbers: Vec<f64> = self.mix.split(',').map_while(|number| number.trim().parse().ok()).collect();
        let [stuffing, guessing, honest, known] = numbers.as_slice() else { return Err(wrong()) };
        let sum: f64 = numbers.iter().sum();
        if numbers.iter().any(|number| *number < 0.0) || sum <= 0.0 {
            return Err(wrong());
        }
        let kinds = [Kind::Stuffing, Kind::Guessing, Kind::Honest, Kind::Known];
        let shares = [stuffing, guessing, honest, known].map(|share| share / sum);
        let mut both = kinds.into_iter().zip(shares);
        Ok(std::array::from_fn(|_| both.next().unwrap_or((Kind::Stuffing, 0.0))))
    }
}

/// Hashes a second while the same requests arrive, of which each log-in asks for the server's health instead.
async fn beside_the_same(
    scene: &Rc<Scene>,
    rates: Rates,
    time: Duration,
    random: &mut StdRng,
    hashing: &Hashing,
) -> Result<f64, Failure> {
    scene.ask_health_for_log_ins();
    let hashing = hashing.clone();
    let hashes = std::thread::spawn(move || hashing.beside(time));
    Rc::clone(scene).play(rates, time, random, "ceiling").await.map_err(Failure::fault)?;
    hashes.join().map_err(|_| Failure::fault("a thread that hashes panicked"))
}

async fn sign_up(target: &Target, count: u32) -> Result<Vec<User>, Failure> {
    let pool = Pool::new(target.address);
    let mut users = Vec::new();
    for number in 0..count {
        let network = format!("11.{}.{}.7", number / 256 % 256, number % 256);
        let email = format!("user{number}@storm.example");
        let request = post("/v1/signup", &network, "", &named(&email, PASSWORD));
        let answer = pool.ask(&request).await.map_err(|error| Failure(3, error.to_string()))?;
        let given = |name| answer.field(name);
        let (Some(access), Some(refresh)) = (given("access_token"), given("refresh_token")) else {
            return Err(Failure::refused(format!(
                "no user could be made, which needs signup.verify_email = \"off\": {}",
                answer.text()
            )));
        };
        let device = answer.header("x-device-token").map(ToOwned::to_owned);
        users.push(User { email, network, device, access, refresh: RefCell::new(Some(refresh)) });
    }
    Ok(users)
}

/// Passwords the server has hashed since its start.
async fn figures(target: &Target) -> Option<f64> {
    let pool = Pool::new(target.operators?);
    let text = pool.ask(&get("/metrics", "127.0.0.1", "")).await.ok()?.text();
    let done = text
        .lines()
        .filter(|line| line.contains("hash_lane_") && line.contains("_done_jobs") && !line.starts_with('#'));
    Some(done.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
}
