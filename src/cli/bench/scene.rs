//! Requests arrive when they arrive (a Poisson process), whether or not the server has answered the last ones.

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

/// Of every honest user.
pub(super) const PASSWORD: &str = "correct horse battery staple";
/// Requests without an answer at one time; what would be more is counted as not sent.
pub(super) const IN_FLIGHT_MAX: usize = 8192;
/// Requests that are due go out together, but after so many the answers that have come are taken first.
const LATE_MAX: u32 = 8;
const PLOT_EVERY: Duration = Duration::from_millis(500);

/// An honest user, and what the server gave it.
pub(super) struct User {
    pub(super) email: String,
    pub(super) network: String,
    pub(super) device: Option<String>,
    pub(super) access: String,
    /// Taken while it is being rotated.
    pub(super) refresh: RefCell<Option<String>>,
}

/// What happens in one phase, shared by all requests of it.
pub(super) struct Scene {
    pool: Pool,
    users: Vec<User>,
    clock: Clock,
    /// Up to the last point of the plot.
    phase: RefCell<Phase>,
    /// Since then.
    lately: RefCell<Phase>,
    in_flight: Cell<usize>,
    unsent: Cell<u64>,
    asks_health: Cell<bool>,
}

/// Arrivals a second of each kind.
pub(super) type Rates = [(Kind, f64); 7];

/// The body of a log-in or a sign-up. Neither text holds anything that JSON would have to escape.
pub(super) fn named(email: &str, password: &str) -> String {
    format!("{{\"email\":\"{email}\",\"password\":\"{password}\"}}")
}

impl Scene {
    pub(super) fn new(pool: Pool, users: Vec<User>, clock: Clock) -> Rc<Self> {
        let (phase, lately) = (RefCell::default(), RefCell::default());
        Rc::new(Self {
            pool,
            users,
            clock,
            phase,
            lately,
            in_flight: Cell::new(0),
            unsent: Cell::new(0),
            asks_health: Cell::new(false),
        })
    }

    /// From now on a log-in asks for the server's health instead.
    pub(super) fn ask_health_for_log_ins(&self) {
        self.asks_health.set(true);
    }

    /// Requests that found no room to be sent in.
    pub(super) fn unsent(&self) -> u64 {
        self.unsent.get()
    }

    /// Lets requests arrive for `time`, waits for the last answers, and says what came of all.
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
