//! Sends requests as a Poisson process: they arrive at their times, whether or not the server has answered the ones
//! before (an open loop).

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use portcullis::system::clock::Clock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::plot::Point;
use super::tally::{Kind, Outcome, Phase};
use super::timer::Timer;
use super::wire::{Answer, Pool, get, post};

/// The password of every honest user.
pub(super) const PASSWORD: &str = "correct horse battery staple";
/// How many requests may wait for an answer at one time. Further ones are counted as not sent.
pub(super) const IN_FLIGHT_MAX: usize = 8192;
/// How many overdue requests are sent in a row before answers are read.
const LATE_MAX: u32 = 8;
const PLOT_EVERY: Duration = Duration::from_millis(500);
/// How long the last answers are waited for.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// An honest user, with the tokens that the server gave it.
pub(super) struct User {
    pub(super) email: String,
    pub(super) network: String,
    pub(super) device: Option<String>,
    pub(super) access: String,
    /// The refresh token. `None` while it is being rotated.
    pub(super) refresh: RefCell<Option<String>>,
}

/// The state that all requests share.
pub(super) struct Scene {
    pool: Pool,
    users: Vec<User>,
    clock: Clock,
    /// Answers up to the last point of the plot.
    phase: RefCell<Phase>,
    /// Answers since then.
    recent: RefCell<Phase>,
    in_flight: Cell<usize>,
    unsent: Cell<u64>,
    asks_health: Cell<bool>,
}

/// Arrivals per second of each kind.
pub(super) type Rates = [(Kind, f64); 7];

/// Returns the body of a log-in or a sign-up. Neither text may hold anything that JSON would have to escape.
pub(super) fn named(email: &str, password: &str) -> String {
    format!("{{\"email\":\"{email}\",\"password\":\"{password}\"}}")
}

impl Scene {
    pub(super) fn new(pool: Pool, users: Vec<User>, clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            pool,
            users,
            clock,
            phase: RefCell::default(),
            recent: RefCell::default(),
            in_flight: Cell::new(0),
            unsent: Cell::new(0),
            asks_health: Cell::new(false),
        })
    }

    /// Makes every log-in ask for the server's health instead, from now on.
    pub(super) fn ask_health_for_log_ins(&self) {
        self.asks_health.set(true);
    }

    /// Returns how many requests were not sent, since too many waited for an answer.
    pub(super) fn unsent(&self) -> u64 {
        self.unsent.get()
    }

    /// Lets requests arrive at `rates` for `time` and waits for the last answers. Returns the points of the plot, and
    /// the sum of all answers. `what` names the phase on the progress line.
    pub(super) async fn play(
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
        let log_ins = part(Kind::is_log_in);
        let others = part(|kind| !kind.is_log_in());
        let log_in_random = StdRng::from_rng(random);
        let other_random = StdRng::from_rng(random);
        let timer = Timer::start()?;
        let arrivals = async {
            let log_ins = Rc::clone(&self).arrive(log_ins, (begin, time), log_in_random, None);
            let others = Rc::clone(&self).arrive(others, (begin, time), other_random, Some(timer));
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
        let end = self.clock.steady();
        while self.in_flight.get() > 0 && self.clock.steady().duration_since(end) < LAST_ANSWERS_WITHIN {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        self.phase.borrow_mut().add(&self.recent.take());
        Ok((points.into_inner(), self.phase.take()))
    }

    /// Runs one Poisson process. Without a `timer`, a request may be sent up to a millisecond late, together with
    /// others that are due, which costs little; with a `timer`, each is sent at its time.
    async fn arrive(
        self: Rc<Self>,
        rates: Rates,
        (begin, time): (Instant, Duration),
        mut random: StdRng,
        mut timer: Option<Timer>,
    ) -> io::Result<()> {
        let total: f64 = rates.iter().map(|(_, rate)| rate).sum();
        if total <= 0.0 {
            // The other process sends probes in every phase, so that the phase lasts its time.
            return Ok(());
        }
        let mut due = begin;
        let mut late = 0;
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

    /// Records the points of the plot, and shows progress on a terminal.
    async fn watch(
        &self,
        begin: Instant,
        time: Duration,
        what: &str,
        points: &RefCell<Vec<Point>>,
    ) -> std::convert::Infallible {
        let is_live = std::io::stderr().is_terminal();
        loop {
            tokio::time::sleep(PLOT_EVERY).await;
            let recent = self.recent.take();
            self.phase.borrow_mut().add(&recent);
            let at = self.clock.steady().duration_since(begin);
            if is_live {
                progress(what, at.as_secs(), time.as_secs(), &recent, self.in_flight.get());
            }
            points.borrow_mut().push(Point { at, phase: recent, span: PLOT_EVERY });
        }
    }

    /// Sends one request and records its answer. The latency counts from `due`, when the request should have been sent.
    async fn send(self: Rc<Self>, kind: Kind, request: Vec<u8>, user: Option<usize>, due: Instant) {
        let answer = self.pool.ask(&request).await;
        let latency = self.clock.steady().saturating_duration_since(due);
        let outcome = Outcome::of(answer.as_ref().ok().map(|answer| answer.status));
        self.recent.borrow_mut().note(kind, outcome, latency);
        self.in_flight.set(self.in_flight.get() - 1);
        if kind == Kind::Refresh
            && let Some(user) = user.and_then(|user| self.users.get(user))
        {
            let next = answer.ok().and_then(|answer: Answer| answer.field("refresh_token"));
            *user.refresh.borrow_mut() = next;
        }
    }

    /// Returns the request of an arrival and the number of its user; `None` if that user's token is being rotated.
    fn request(&self, kind: Kind, random: &mut StdRng) -> Option<(Vec<u8>, Option<usize>)> {
        let number = random.random_range(0..self.users.len());
        let user = self.users.get(number)?;
        let anywhere = |random: &mut StdRng| {
            let [a, b, c]: [u8; 3] = random.random();
            format!("10.{a}.{b}.{c}")
        };
        let request = match kind {
            _ if self.asks_health.get() && kind.is_log_in() => get("/healthz", "127.0.0.1", ""),
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
                // A new browser, on another network.
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

/// Returns the kind whose share of the sum of `rates` holds `at`.
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

/// Overwrites the progress line.
fn progress(what: &str, at: u64, of: u64, recent: &Phase, in_flight: usize) {
    let rate = |outcome| recent.log_ins(outcome) as f64 / PLOT_EVERY.as_secs_f64();
    let text = format!(
        "\r\x1b[K{what} {at:>3}/{of} s  log-ins/s: in {:.0}  401 {:.0}  429 {:.0}  503 {:.0}   known p99 {:.0?}  \
         refresh p99 {:.1?}  waiting {in_flight}",
        rate(Outcome::Done),
        rate(Outcome::Wrong),
        rate(Outcome::Limited),
        rate(Outcome::Shed),
        recent.of(Kind::Known).at(0.99),
        recent.of(Kind::Refresh).at(0.99),
    );
    let _ = write!(std::io::stderr(), "{text}");
}
