//! Two engines in one process: one hash pool, one audit log, one throttle; a fault of one is no fault of the other.

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use portcullis::config::{Config, Reader};
use portcullis::engine::partition::{Partition, PartitionOptions};
use portcullis::engine::start::OwnerThread;
use portcullis::engine::{Engine, Services};
use portcullis::flow::admin::{self, Admin, New};
use portcullis::flow::client::Client;
use portcullis::flow::grant::Grant;
use portcullis::flow::log_in::Mode;
use portcullis::flow::{log_in, password, refresh};
use portcullis::registry::refresh::Audience;
use portcullis::system::clock::Clock;
use portcullis::system::fail_stop::FailStop;
use portcullis::system::random::Random;
use portcullis::value::id::{SLOTS, Slot};

const PASSWORD: &str = "correct horse battery staple";
const CLIENTS: usize = 8;

fn config(dir: &Path) -> Config {
    let mut reader = Reader::new();
    let data_dir = dir.join("first").to_string_lossy().into_owned();
    for (key, value) in [
        ("data_dir", data_dir.as_str()),
        ("password.memory_kib", "64"),
        ("password.passes", "1"),
        ("password.threads", "2"),
        // A busy machine must not shed the load.
        ("password.wait_budget_ms", "600000"),
        ("throttle.exempt_networks", "0.0.0.0/0"),
        ("throttle.cells", "1000"),
        ("mail.console", "false"),
    ] {
        reader.plain(key, value, "test");
    }
    Config::from_reader(reader).unwrap()
}

/// Both halves of the slots.
fn halves() -> [RangeInclusive<Slot>; 2] {
    let slot = |number| Slot::new(number).unwrap();
    [slot(0)..=slot(SLOTS / 2 - 1), slot(SLOTS / 2)..=slot(SLOTS - 1)]
}

fn recover(config: &Config, dir: &Path, slots: RangeInclusive<Slot>, makes_keys: bool) -> Partition {
    let random = Arc::new(Random::system());
    let clock = Clock::system();
    let options = PartitionOptions { dir, slots, clock, random, accept_clock_floor: true, makes_keys };
    Partition::recover(config, options).unwrap()
}

/// An address whose slot `engine` holds.
fn address_in(engine: &Engine, number: usize) -> String {
    (0..1000)
        .map(|attempt| format!("user{number}.{attempt}@example.org"))
        .find(|address| engine.slots.contains(&engine.services.slot_of(address).unwrap()))
        .unwrap()
}

fn client() -> Client {
    Client::new(std::net::Ipv4Addr::LOCALHOST.into(), "test")
}

/// The last refresh token that a client was answered with.
type Held = Rc<std::cell::RefCell<Option<String>>>;

/// Logs in and refreshes until an engine ends or `stop` is set.
async fn use_engine(
    engine: Arc<Engine>,
    address: String,
    held: Held,
    done: Rc<Cell<u32>>,
    stop: Rc<Cell<bool>>,
) {
    let mut number = 0_u32;
    while !stop.get() {
        let token = held.borrow().clone();
        let opened = match token {
            Some(token) if !number.is_multiple_of(5) => {
                refresh::refresh(&engine, &client(), &token).await.result
            }
            _ => {
                log_in::log_in(
                    &engine,
                    &client(),
                    &address,
                    PASSWORD,
                    Mode::Token { audience: Audience::App },
                    None,
                )
                .await
                .result
            }
        };
        let Ok(opened) = opened else { return };
        if let Grant::Tokens { refresh, .. } = opened.grant {
            *held.borrow_mut() = Some(refresh.to_string());
        }
        done.set(done.get() + 1);
        number += 1;
        tokio::task::yield_now().await;
    }
}

/// The load of one engine.
struct Load {
    addresses: Vec<String>,
    held: Vec<Held>,
    done: Rc<Cell<u32>>,
    stop: Rc<Cell<bool>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    async fn start(engine: &Arc<Engine>) -> Self {
        let mut load = Self {
            addresses: Vec::new(),
            held: Vec::new(),
            done: Rc::default(),
            stop: Rc::default(),
            tasks: Vec::new(),
        };
        for number in 0..CLIENTS {
            let address = address_in(engine, number);
            let new = New { email: &address, password: Some(PASSWORD), verified: true, ..New::default() };
            admin::create(engine, &Admin::operator(), new).await.unwrap();
            let held = Held::default();
            load.tasks.push(tokio::task::spawn_local(use_engine(
                Arc::clone(engine),
                address.clone(),
                Rc::clone(&held),
                Rc::clone(&load.done),
                Rc::clone(&load.stop),
            )));
            load.addresses.push(address);
            load.held.push(held);
        }
        load
    }

    /// Waits until that many more requests were answered.
    async fn goes_on(&self, more: u32) {
        let goal = self.done.get() + more;
        while self.done.get() < goal {
            assert!(!self.tasks.iter().all(tokio::task::JoinHandle::is_finished), "the load has ended");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn ends(&mut self) {
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
    }
}

/// The fail-stop of an engine that is to end by a panic of its `reset` registry.
fn counting(ends: &Arc<AtomicU32>) -> FailStop {
    let counted = Arc::clone(ends);
    FailStop::new(move |why| {
        assert!(why.starts_with("reset panicked"), "{why}");
        counted.fetch_add(1, Ordering::SeqCst);
    })
}

#[test]
fn an_engine_that_ends_by_a_panic_harms_no_other_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let [low, high] = halves();
    let first_dir = dir.path().join("first");
    let second_dir = dir.path().join("second");
    let never = FailStop::new(|why| panic!("{why}"));
    actix::System::new().block_on(async {
        let first = recover(&config, &first_dir, low.clone(), true);
        let second = recover(&config, &second_dir, high, false);
        let (services, running_services) =
            Services::start(config.clone(), &Clock::system(), &Arc::new(Random::system()), &first, &never)
                .unwrap();
        let ends = Arc::new(AtomicU32::new(0));
        let fail_stop = counting(&ends);
        let (doomed, running_doomed) =
            Engine::start_owners(&services, first, OwnerThread::OfServices, &fail_stop).unwrap();
        let (other, running_other) =
            Engine::start_owners(&services, second, OwnerThread::Own, &never).unwrap();

        let mut doomed_load = Load::start(&doomed).await;
        let mut other_load = Load::start(&other).await;
        doomed_load.goes_on(100).await;
        other_load.goes_on(100).await;
        assert!(Arc::ptr_eq(&doomed.services, &other.services));
        let hashed = services.pool.stats().lanes.iter().map(|lane| lane.done).sum::<u64>();
        assert!(hashed >= 2 * CLIENTS as u64, "one pool has hashed for both: {hashed}");

        // The panic, in the middle of the load: at the next message to that registry, or at its next sweep.
        let _ = fail_stop.planning(Some(String::from("reset")));
        assert!(password::forgot(&doomed, &client(), &doomed_load.addresses[0]).await.result.is_err());
        doomed_load.ends().await;
        assert_eq!(ends.load(Ordering::SeqCst), 1, "the engine ended, and once");
        other_load.goes_on(100).await;

        // Its directory is recovered beside the other engine's load.
        drop(doomed);
        running_doomed.abandon();
        let again = recover(&config, &first_dir, low, false);
        assert!(!again.report().clean_stop);
        let (again, running_again) =
            Engine::start_owners(&services, again, OwnerThread::OfServices, &never).unwrap();
        for (address, held) in doomed_load.addresses.iter().zip(&doomed_load.held) {
            let token = held.borrow().clone().unwrap();
            assert!(
                refresh::refresh(&again, &client(), &token).await.result.is_ok(),
                "an answered token is known"
            );
            assert!(
                log_in::log_in(
                    &again,
                    &client(),
                    address,
                    PASSWORD,
                    Mode::Token { audience: Audience::App },
                    None
                )
                .await
                .result
                .is_ok()
            );
        }
        other_load.goes_on(100).await;

        other_load.stop.set(true);
        other_load.ends().await;
        running_other.stop();
        running_again.stop();
        running_services.stop();
    });
    // Both journals were stopped in order, and the audit log has seen both engines.
    for (name, slots) in ["first", "second"].into_iter().zip(halves()) {
        assert!(recover(&config, &dir.path().join(name), slots, false).report().clean_stop, "{name}");
    }
}

#[test]
fn an_account_of_a_slot_that_the_partition_does_not_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let [low, high] = halves();
    let first_dir = dir.path().join("first");
    let never = FailStop::new(|why| panic!("{why}"));
    actix::System::new().block_on(async {
        let first = recover(&config, &first_dir, low, true);
        let (services, running_services) =
            Services::start(config.clone(), &Clock::system(), &Arc::new(Random::system()), &first, &never)
                .unwrap();
        let (engine, running) =
            Engine::start_owners(&services, first, OwnerThread::OfServices, &never).unwrap();
        let address = address_in(&engine, 0);
        let new = New { email: &address, password: Some(PASSWORD), verified: true, ..New::default() };
        admin::create(&engine, &Admin::operator(), new).await.unwrap();
        running.stop();
        running_services.stop();
    });
    let random = Arc::new(Random::system());
    let clock = Clock::system();
    let options = PartitionOptions {
        dir: &first_dir,
        slots: high,
        clock,
        random,
        accept_clock_floor: true,
        makes_keys: false,
    };
    let refused = Partition::recover(&config, options).err().unwrap().to_string();
    assert!(refused.contains("which this partition does not hold"), "{refused}");
}
