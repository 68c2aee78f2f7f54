//! The storm: what it is made of, and what is measured before, during and after it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use portcullis::password::Cost;
use portcullis::system::clock::Clock;
use portcullis::system::descriptors;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::LocalSet;

use super::super::{Failure, counted, say};
use super::hashing::Hashing;
use super::plot::plot;
use super::report::Report;
use super::scene::{IN_FLIGHT_MAX, PASSWORD, Rates, Scene, User, named};
use super::tally::Kind;
use super::target::Target;
use super::wire::{Pool, get, post};

/// How hard the storm is, how long it lasts, and which server it hits.
#[derive(Args, Debug)]
pub struct Storm {
    /// Length of the storm in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Log-ins per second, as a multiple of what the cores can hash.
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// Log-ins per second, instead of --times.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: Option<u32>,
    /// Shares of the log-ins: stuffing, guessing, honest users on new browsers, honest users on known ones.
    #[arg(long, default_value = "70,20,8,2")]
    mix: String,
    /// Refreshes per second, and as many session checks.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    background: u32,
    /// Number of honest users, who sign up first.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    users: u32,
    /// Threads that hash in the throw-away server. Default: the number of cores.
    #[arg(long)]
    threads: Option<usize>,
    /// KiB of memory per hash in the throw-away server.
    #[arg(long, default_value_t = Cost::SAFE.memory_kib)]
    memory_kib: u32,
    /// Hit this running server, as http://host:port, instead of a throw-away one. Its accounts must be worthless.
    #[arg(long)]
    target: Option<String>,
    /// Confirm that this host may be stormed although it is not this machine.
    #[arg(long)]
    allow_host: Option<String>,
    /// Write a plot to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Also measure how much could be hashed at most: repeat the storm with every log-in asking only for the server's
    /// health, while threads of this process hash in the time that is left.
    #[arg(long)]
    ceiling: bool,
    /// Seed of the randomness: the same number gives the same storm.
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
            None => Target::start(threads, cost, budget).map_err(Failure::fault)?,
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
        let hashed_before = hashed_jobs(&target).await;
        let resident_before = target.resident_kib();
        let begin = clock.steady();
        let time = Duration::from_secs(self.seconds);
        let storm = scene.clone().play(storm_rates, time, &mut random, "storm").await;
        let (points, storm) = storm.map_err(Failure::fault)?;
        let hashed_after = hashed_jobs(&target).await;
        let resident_after = target.resident_kib();
        let unsent = scene.unsent();
        let seconds = clock.steady().duration_since(begin).as_secs_f64();
        let hashed = hashed_before.zip(hashed_after).map(|(before, after)| (after - before) / seconds);
        // The speed of a machine drifts, and turbo clocks favour the first run, so the mean of before and after counts.
        let raw_after = hashing.alone();
        let raw = f64::midpoint(raw, raw_after);
        let ceiling = if self.ceiling {
            let left = hashing_beside(&scene, storm_rates, time, &mut random, &hashing).await?;
            Some(left / f64::midpoint(raw_after, hashing.alone()))
        } else {
            None
        };
        let report = Report {
            raw,
            log_ins,
            hashed,
            ceiling,
            resident_kib: [resident_before, resident_after],
            seconds: self.seconds,
            unsent,
            calm,
            storm,
        };
        // Ends the server before anything is printed: a reader that has gone, as of a pipe, ends this process.
        drop(target);
        if as_json {
            say(&report.json().to_string());
        } else {
            report.say();
        }
        if let Some(path) = &self.svg {
            let title = format!(
                "{log_ins:.0} log-ins per second for {} s, of which {raw:.0} can be hashed ({})",
                self.seconds,
                counted(threads as u64, "thread", "threads")
            );
            std::fs::write(path, plot(&title, &points)).map_err(Failure::fault)?;
        }
        Ok(())
    }

    /// Returns the share of each kind of log-in; the shares add up to 1.
    fn shares(&self) -> Result<[(Kind, f64); 4], Failure> {
        let wrong = || Failure::usage("--mix must be four numbers, such as 70,20,8,2");
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

/// Returns the hashes per second of this process while the same requests arrive, with every log-in asking for the
/// server's health instead.
async fn hashing_beside(
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
    hashes.join().map_err(|_| Failure::fault("a hash thread panicked"))
}

/// Signs up `count` users, each on a network of its own.
async fn sign_up(target: &Target, count: u32) -> Result<Vec<User>, Failure> {
    let pool = Pool::new(target.address);
    let mut users = Vec::new();
    for number in 0..count {
        let network = format!("11.{}.{}.7", number / 256 % 256, number % 256);
        let email = format!("user{number}@storm.example");
        let request = post("/v1/signup", &network, "", &named(&email, PASSWORD));
        let answer = pool.ask(&request).await.map_err(|error| {
            Failure::no_answer(format!("no server answers at {}: {error}", target.address))
        })?;
        let given = |name| answer.field(name);
        let (Some(access), Some(refresh)) = (given("access_token"), given("refresh_token")) else {
            return Err(Failure::refused(format!(
                "cannot sign up a user; this needs signup.verify_email = \"off\": {}",
                answer.text()
            )));
        };
        let device = answer.header("x-device-token").map(ToOwned::to_owned);
        users.push(User { email, network, device, access, refresh: RefCell::new(Some(refresh)) });
    }
    Ok(users)
}

/// Returns how many passwords the server has hashed since its start, from its metrics; `None` without an address for
/// operators, or if its metrics do not say.
async fn hashed_jobs(target: &Target) -> Option<f64> {
    let pool = Pool::new(target.operators?);
    let text = pool.ask(&get("/metrics", "127.0.0.1", "")).await.ok()?.text();
    let of_done = |line: &&str| {
        line.starts_with("portcullis_hash_lane_jobs_total{") && line.contains("outcome=\"done\"")
    };
    let counts = text.lines().filter(of_done).map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    counts.collect::<Option<Vec<f64>>>().filter(|counts| !counts.is_empty()).map(|counts| counts.iter().sum())
}
