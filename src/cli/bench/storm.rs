//! The storm: requests arrive when they arrive (a Poisson process), whether or not the server has answered the last ones.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use portcullis::clock::Clock;
use portcullis::password::Cost;
use portcullis::password::kernel::{Choice, Kernel};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::LocalSet;

use super::super::{Failure, say};
use super::plot::{Point, plot};
use super::tally::{Kind, Outcome, Phase};
use super::target::Target;
use super::timer::Timer;
use super::wire::{Answer, Pool, get, post};

const PASSWORD: &str = "correct horse battery staple";
/// Requests without an answer at one time; what would be more is counted as not sent.
const IN_FLIGHT_MAX: usize = 8192;
/// Requests that are due go out together, but after so many the answers that have come are taken first.
const LATE_MAX: u32 = 8;
const PLOT_EVERY: Duration = Duration::from_millis(500);

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
    /// The same storm for the same number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

struct User {
    email: String,
    network: String,
    device: Option<String>,
    access: String,
    /// Taken while it is being rotated.
    refresh: RefCell<Option<String>>,
}

/// What happens in one phase, shared by all requests of it.
struct Scene {
    pool: Pool,
    users: Vec<User>,
    clock: Clock,
    /// Up to the last point of the plot.
    phase: RefCell<Phase>,
    /// Since then.
    lately: RefCell<Phase>,
    in_flight: Cell<usize>,
    unsent: Cell<u64>,
}

/// Arrivals a second of each kind.
type Rates = [(Kind, f64); 7];

impl Storm {
    pub(super) fn run(&self, as_json: bool) -> Result<(), Failure> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::fault)?;
        LocalSet::new().block_on(&runtime, self.storm(as_json))
    }

    async fn storm(&self, as_json: bool) -> Result<(), Failure> {
        let clock = Clock::system();
        let mut random = StdRng::seed_from_u64(self.seed);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = self.threads.unwrap_or(cores);
        let cost = Cost { memory_kib: self.memory_kib, ..Cost::SAFE };
        let raw = raw_rate(&clock, threads, cost);
        let budget = Duration::from_secs(2);
        let target = match &self.target {
            Some(url) => Target::named(url, self.allow_host.as_deref())?,
            None => Target::start(threads, cost, budget, random.random()).map_err(Failure::fault)?,
        };
        let users = sign_up(&target, self.users).await?;
        let scene = Rc::new(Scene {
            pool: Pool::new(target.address),
            users,
            clock,
            phase: RefCell::default(),
            lately: RefCell::default(),
            in_flight: Cell::new(0),
            unsent: Cell::new(0),
        });
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
        let begin = scene.clock.steady();
        let time = Duration::from_secs(self.seconds);
        let storm = scene.clone().play(storm_rates, time, &mut random, "storm").await;
        let (points, storm) = storm.map_err(Failure::fault)?;
        let after = (figures(&target).await, target.resident_kib());
        let taken = scene.clock.steady().duration_since(begin).as_secs_f64();
        let hashed = before.0.zip(after.0).map(|(before, after)| (after - before) / taken);
        // Machines drift, and boost what has just begun: the mean of before and after.
        let raw = f64::midpoint(raw, raw_rate(&scene.clock, threads, cost));
        let report = Report {
            raw,
            log_ins,
            hashed,
            resident_kib: [before.1, after.1],
            seconds: self.seconds,
            unsent: scene.unsent.get(),
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

/// What the same implementation hashes on as many threads while nothing else runs.
fn raw_rate(clock: &Clock, threads: usize, cost: Cost) -> f64 {
    let one = move |clock: Clock| {
        let (mut kernel, _) = Kernel::choose(Choice::Auto);
        let mut out = [0; 32];
        let begin = clock.steady();
        let mut count = 0_u32;
        while clock.steady().duration_since(begin) < Duration::from_secs(2) {
            if kernel.fill(cost, b"raw", &[1; 16], &mut out).is_err() {
                break;
            }
            count += 1;
        }
        f64::from(count) / clock.steady().duration_since(begin).as_secs_f64()
    };
    let workers: Vec<_> =
        (0..threads).map(|_| clock.clone()).map(|clock| std::thread::spawn(move || one(clock))).collect();
    workers.into_iter().filter_map(|worker| worker.join().ok()).sum()
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

/// The body of a log-in or a sign-up. Neither text holds anything that JSON would have to escape.
fn named(email: &str, password: &str) -> String {
    format!("{{\"email\":\"{email}\",\"password\":\"{password}\"}}")
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

impl Scene {
    /// Lets requests arrive for `time`, waits for the last answers, and says what came of all.
    async fn play(
        self: Rc<Self>,
        rates: Rates,
        time: Duration,
        random: &mut StdRng,
        what: &str,
    ) -> io::Result<(Vec<Point>, Phase)> {
        let begin = self.clock.steady();
        let part = |wanted: fn(Kind) -> bool| {
            rates.map(|(kind, rate)| (kind, if wanted(kind) { rate } else { 0.0 }))
        };
        let (log_ins, others) = (part(Kind::is_log_in), part(|kind| !kind.is_log_in()));
        let (first, second) = (StdRng::from_rng(random), StdRng::from_rng(random));
        let timer = Timer::start()?;
        let arrivals = async {
            let log_ins = Rc::clone(&self).arrive(log_ins, (begin, time), first, None);
            let others = Rc::clone(&self).arrive(others, (begin, time), second, Some(timer));
            tokio::try_join!(log_ins, others)
        };
        let points = RefCell::default();
        tokio::select! {
            biased;
            arrived = arrivals => {
                arrived?;
            },
            never = self.watch(begin, time, what, &points) => match never {},
        }
        let patience = self.clock.steady();
        while self.in_flight.get() > 0
            && self.clock.steady().duration_since(patience) < Duration::from_secs(30)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        self.phase.borrow_mut().add(&self.lately.take());
        Ok((points.into_inner(), self.phase.take()))
    }

    /// One Poisson process. What is told in seconds goes out within a millisecond, together with what else is due, as
    /// costs little; with a timer of its own each request goes out at its time.
    async fn arrive(
        self: Rc<Self>,
        rates: Rates,
        (begin, time): (Instant, Duration),
        mut random: StdRng,
        mut timer: Option<Timer>,
    ) -> io::Result<()> {
        let total: f64 = rates.iter().map(|(_, rate)| rate).sum();
        if total <= 0.0 {
            // Probes come in every phase, so that it lasts its time all the same.
            return Ok(());
        }
        let (mut due, mut late) = (begin, 0);
        loop {
            // The time between arrivals of a Poisson process is exponential.
            let gap = -(1.0 - random.random::<f64>()).ln() / total;
            due += Duration::from_secs_f64(gap.min(1.0));
            if due.duration_since(begin) >= time {
                return Ok(());
            }
            let now = self.clock.steady();
            if due > now {
                match &mut timer {
                    Some(timer) => timer.sleep(due.duration_since(now)).await?,
                    None => tokio::time::sleep(due.duration_since(now)).await,
                }
                late = 0;
            } else if late == LATE_MAX {
                tokio::task::yield_now().await;
                late = 0;
            } else {
                late += 1;
            }
            let kind = pick(&rates, random.random::<f64>() * total);
            let Some((request, user)) = self.request(kind, &mut random) else { continue };
            if self.in_flight.get() >= IN_FLIGHT_MAX {
                self.unsent.set(self.unsent.get() + 1);
                continue;
            }
            self.in_flight.set(self.in_flight.get() + 1);
            tokio::task::spawn_local(Rc::clone(&self).send(kind, request, user, due));
        }
    }

    /// Takes down the points of the plot, and shows them to whoever looks on.
    async fn watch(
        &self,
        begin: Instant,
        time: Duration,
        what: &str,
        points: &RefCell<Vec<Point>>,
    ) -> std::convert::Infallible {
        let live = std::io::stderr().is_terminal();
        loop {
            tokio::time::sleep(PLOT_EVERY).await;
            let lately = self.lately.take();
            self.phase.borrow_mut().add(&lately);
            let at = self.clock.steady().duration_since(begin);
            if live {
                progress(what, at.as_secs(), time.as_secs(), &lately, self.in_flight.get());
            }
            points.borrow_mut().push(Point { at, phase: lately, span: PLOT_EVERY });
        }
    }

    async fn send(self: Rc<Self>, kind: Kind, request: Vec<u8>, user: Option<usize>, due: Instant) {
        let answer = self.pool.ask(&request).await;
        let latency = self.clock.steady().saturating_duration_since(due);
        let outcome = Outcome::of(answer.as_ref().ok().map(|answer| answer.status));
        self.lately.borrow_mut().note(kind, outcome, latency);
        self.in_flight.set(self.in_flight.get() - 1);
        if kind == Kind::Refresh
            && let Some(user) = user.and_then(|user| self.users.get(user))
        {
            let next = answer.ok().and_then(|answer: Answer| answer.field("refresh_token"));
            *user.refresh.borrow_mut() = next;
        }
    }

    /// The request of an arrival; none where everybody of the kind is under way.
    fn request(&self, kind: Kind, random: &mut StdRng) -> Option<(Vec<u8>, Option<usize>)> {
        let number = random.random_range(0..self.users.len());
        let user = self.users.get(number)?;
        let anywhere = |random: &mut StdRng| {
            let [a, b, c]: [u8; 3] = random.random();
            format!("10.{a}.{b}.{c}")
        };
        let request = match kind {
            Kind::Stuffing => {
                let email = format!("leak{}@storm.example", random.random::<u32>());
                let body = named(&email, "from another leak");
                post("/v1/login", &anywhere(random), "", &body)
            }
            Kind::Guessing => {
                let email = format!("victim{}@storm.example", random.random_range(0..20));
                let body = named(&email, &format!("guess {}", random.random::<u32>()));
                post("/v1/login", &anywhere(random), "", &body)
            }
            Kind::Honest => {
                // A new browser somewhere else.
                let network = format!("12.{}.{}.7", number / 256 % 256, number % 256);
                post("/v1/login", &network, "", &named(&user.email, PASSWORD))
            }
            Kind::Known => {
                let device = user
                    .device
                    .as_ref()
                    .map_or_else(String::new, |device| format!("x-device-token: {device}\r\n"));
                post("/v1/login", &user.network, &device, &named(&user.email, PASSWORD))
            }
            Kind::Refresh => {
                let token = user.refresh.borrow_mut().take()?;
                post("/v1/refresh", &user.network, "", &format!("{{\"refresh_token\":\"{token}\"}}"))
            }
            Kind::Session => {
                let bearer = format!("authorization: Bearer {}\r\n", user.access);
                get("/v1/session", &user.network, &bearer)
            }
            Kind::Probe => get("/healthz", "127.0.0.1", ""),
        };
        Some((request, Some(number)))
    }
}

fn pick(rates: &Rates, at: f64) -> Kind {
    let mut left = at;
    for (kind, rate) in rates {
        if left < *rate {
            return *kind;
        }
        left -= rate;
    }
    Kind::Probe
}

fn progress(what: &str, at: u64, of: u64, lately: &Phase, in_flight: usize) {
    let rate = |outcome| lately.log_ins(outcome) as f64 / PLOT_EVERY.as_secs_f64();
    let text = format!(
        "\r\x1b[K{what} {at:>3}/{of} s  log-ins/s: in {:.0}  401 {:.0}  429 {:.0}  503 {:.0}   known p99 {:.0?}  refresh p99 \
         {:.1?}  waiting {in_flight}",
        rate(Outcome::Done),
        rate(Outcome::Wrong),
        rate(Outcome::Limited),
        rate(Outcome::Shed),
        lately.of(Kind::Known).at(0.99),
        lately.of(Kind::Refresh).at(0.99),
    );
    let _ = write!(std::io::stderr(), "{text}");
}

struct Report {
    raw: f64,
    log_ins: f64,
    hashed: Option<f64>,
    resident_kib: [Option<u64>; 2],
    seconds: u64,
    unsent: u64,
    calm: Phase,
    storm: Phase,
}

impl Report {
    fn json(&self) -> Value {
        let phase = |phase: &Phase| -> Value {
            let of = |kind: Kind| {
                let of = phase.of(kind);
                let counts: serde_json::Map<String, Value> = Outcome::ALL
                    .iter()
                    .map(|outcome| (outcome.name().to_owned(), json!(of.count(*outcome))))
                    .collect();
                let value = json!({
                    "outcomes": counts,
                    "p50_us": of.at(0.5).as_micros() as u64,
                    "p99_us": of.at(0.99).as_micros() as u64,
                    "max_us": of.longest().as_micros() as u64,
                });
                (kind.name().to_owned(), value)
            };
            Value::Object(Kind::ALL.map(of).into_iter().collect())
        };
        json!({
            "raw_hashes_per_second": self.raw,
            "log_ins_per_second": self.log_ins,
            "hashed_per_second": self.hashed,
            "hashed_share_of_raw": self.hashed.map(|hashed| hashed / self.raw),
            "seconds": self.seconds,
            "unsent": self.unsent,
            "resident_kib": {"calm": self.resident_kib.first(), "storm": self.resident_kib.last()},
            "calm": phase(&self.calm),
            "storm": phase(&self.storm),
        })
    }

    fn say(&self) {
        say(&format!(
            "{:.0} log-ins a second for {} s; raw hashing on the same cores {:.0}/s, so {:.1} times of what can be hashed",
            self.log_ins,
            self.seconds,
            self.raw,
            self.log_ins / self.raw
        ));
        if let Some(hashed) = self.hashed {
            say(&format!("hashed: {hashed:.0}/s, {:.0} % of raw", hashed / self.raw * 100.0));
        }
        if let [Some(calm), Some(storm)] = self.resident_kib {
            say(&format!("memory of the server: {} MiB before, {} MiB after", calm / 1024, storm / 1024));
        }
        say(&format!(
            "longest log-in: {:.2?}; not sent for want of sockets: {}",
            self.storm.longest_log_in(),
            self.unsent
        ));
        say(
            "           requests     2xx     401     429     503   other  failed        p50        p99        max   calm p99",
        );
        for kind in Kind::ALL {
            let (of, calm) = (self.storm.of(kind), self.calm.of(kind));
            if of.total() == 0 {
                continue;
            }
            let counts: String =
                Outcome::ALL.iter().map(|outcome| format!("{:>8}", of.count(*outcome))).collect();
            let calm = if calm.total() == 0 { String::from("-") } else { format!("{:.2?}", calm.at(0.99)) };
            say(&format!(
                "{:<10} {:>8}{counts} {:>10} {:>10} {:>10} {calm:>10}",
                kind.name(),
                of.total(),
                format!("{:.2?}", of.at(0.5)),
                format!("{:.2?}", of.at(0.99)),
                format!("{:.2?}", of.longest()),
            ));
        }
    }
}
