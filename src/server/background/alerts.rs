//! Alerts: when an event happens more often than its threshold, a line in the log and a signed call of a webhook.
//!
//! The call is a POST of JSON, `{"alert", "count", "threshold", "window_secs", "accounts", "networks", "counted", "advice", "time",
//! "service"}`, where an account is `{"id", "email", "count"}` with a masked address, a network is `{"network", "count", "share_percent"}`,
//! and at most three of each are named, the most frequent first; `counted` is the event that they count. Fields may be added later. The call has the header
//! `Portcullis-Signature: t=<seconds>,v1=<hex>` (and the same as `X-Portcullis-Signature`), where `v1` is the HMAC-SHA-256 of `<seconds>.<body>` under the first
//! line of `alert.secret_file`. It is tried six times within a quarter of an hour. The receiver must check the
//! signature in constant time and refuse a call that is older than five minutes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use super::task::TICK;
use crate::audit::event::{Event, Note};
use crate::config::AlertLimits;
use crate::engine::Engine;
use crate::server::background::alert::{Alert, STORAGE_FULL, advice, counted_for};
use crate::server::background::storage_watch::{StorageWatch, Told};
use crate::system::clock::Timestamp;

/// Ticks between two looks at the counts: five seconds.
const LOOK_TICKS: u32 = 50;

/// How often each event happened since the start, and how often it named an account.
#[derive(Clone, Debug, Default)]
struct Counts {
    all: BTreeMap<&'static str, u64>,
    at_accounts: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Returns how often the event `name` happened since `before`, and how often it named an account.
    fn since(&self, before: &Self, name: &str) -> [u64; 2] {
        [(&self.all, &before.all), (&self.at_accounts, &before.at_accounts)].map(|(now, before)| {
            let count_in = |counts: &BTreeMap<&str, u64>| counts.get(name).copied().unwrap_or(0);
            count_in(now).saturating_sub(count_in(before))
        })
    }
}

/// Decides from the counts of events which alerts to raise. Pure.
#[derive(Debug, Default)]
pub struct AlertRules {
    /// Earlier counts, oldest first; the first is one window old.
    earlier: VecDeque<(Timestamp, Counts)>,
    /// When each event last raised an alert, and whether accounts were meant.
    raised_at: BTreeMap<&'static str, (Timestamp, bool)>,
}

impl AlertRules {
    /// Takes the counts of `now` and returns the alerts to raise. An event raises one alert within `limits.quiet`; after one
    /// about names without accounts, one more if accounts are meant, by a tenth of the threshold or more.
    pub fn observe(
        &mut self,
        limits: &AlertLimits,
        counts: &[(&'static str, u64)],
        at_accounts: &[(&'static str, u64)],
        now: Timestamp,
    ) -> Vec<Alert> {
        let counts = Counts {
            all: counts.iter().copied().collect(),
            at_accounts: at_accounts.iter().copied().collect(),
        };
        while self.earlier.len() > 1
            && self.earlier.get(1).is_some_and(|(at, _)| now.since(*at) >= limits.window)
        {
            self.earlier.pop_front();
        }
        let before = self.earlier.front().map(|(_, before)| before.clone()).unwrap_or_default();
        let mut alerts = Vec::new();
        for (name, threshold) in limits.thresholds.iter().copied() {
            let [count, at_accounts] = counts.since(&before, name);
            let means_accounts = at_accounts >= threshold.div_ceil(10);
            let is_quiet = self.raised_at.get(name).is_some_and(|(at, meant_accounts)| {
                now.since(*at) < limits.quiet && (*meant_accounts || !means_accounts)
            });
            if count >= threshold && !is_quiet {
                self.raised_at.insert(name, (now, means_accounts));
                let window_secs = limits.window.as_secs();
                alerts.push(Alert {
                    event: name,
                    count,
                    threshold,
                    window_secs,
                    accounts: Vec::new(),
                    networks: Vec::new(),
                    counted: counted_for(name),
                    advice: advice(name),
                });
            }
        }
        self.earlier.push_back((now, counts));
        alerts
    }
}

/// Returns the alerts about events that are due, with whom and whence.
fn due(engine: &Engine, rules: &mut AlertRules) -> Vec<Alert> {
    let audit = &engine.services.audit;
    let (counts, at_accounts) = (audit.counts(), audit.counts_at_accounts());
    let limits = &engine.services.config.alert.limits;
    let due = rules.observe(limits, &counts, &at_accounts, engine.clock.now());
    let with_tops = |alert: Alert| {
        // The line of a suspicion names who came last. Whoever fails most is who it is about.
        let event = Event::ALL.into_iter().find(|event| event.name() == counted_for(alert.event));
        alert.with(event.map(|event| audit.tops(event)).unwrap_or_default())
    };
    due.into_iter().map(with_tops).collect()
}

/// Tells in the log that requests are refused since the disk is full, or that this is over. Returns an alert now and then.
fn of_storage(engine: &Engine, watch: &mut StorageWatch) -> Option<Alert> {
    let stats = engine.journal_stats();
    let limits = &engine.services.config.alert.limits;
    let is_full = stats.low || stats.room == 0;
    let verdict = watch.observe(stats.refused, is_full, limits.quiet, engine.clock.now());
    let dir = engine.services.config.data_dir.display();
    match verdict.told? {
        Told::Refusing(count) => {
            tracing::error!(count, "requests are refused with storage_full: make room on the disk of {dir}");
            verdict.is_alert.then(|| Alert {
                event: STORAGE_FULL,
                count,
                threshold: 1,
                window_secs: limits.window.as_secs(),
                accounts: Vec::new(),
                networks: Vec::new(),
                counted: STORAGE_FULL,
                advice: advice(STORAGE_FULL),
            })
        }
        Told::Over(count) => {
            tracing::warn!(
                count,
                "there is room on the disk of {dir} again: requests are not refused any more"
            );
            None
        }
    }
}

/// Records that events could not be kept, if there are more such gaps than `known`.
fn tell_lost_events(engine: &Engine, known: &mut u64) {
    let gaps = engine.event_stats().gaps;
    if gaps > *known {
        *known = gaps;
        engine.record(Note::new(Event::EventsLost));
    }
}

/// Looks at the counts every five seconds and sends due calls, until `ending` is set.
pub(crate) async fn run(engine: &Engine, ending: &AtomicBool) {
    let config = &engine.services.config;
    let mut rules = AlertRules::default();
    let mut storage = StorageWatch::default();
    #[cfg(feature = "alert")]
    let mut webhook = super::webhook::Webhook::from_config(config).unwrap_or_else(|error| {
        tracing::error!("{error}: no alert is sent to the webhook");
        None
    });
    let mut gaps = 0;
    let mut ticks: u32 = 0;
    let mut turned = engine.clock.steady();
    while !ending.load(Ordering::Relaxed) {
        if ticks.is_multiple_of(LOOK_TICKS) {
            engine.services.keep_space(engine.journal_stats().kept_free);
            tell_lost_events(engine, &mut gaps);
            let due = due(engine, &mut rules).into_iter().chain(of_storage(engine, &mut storage));
            for alert in due {
                alert.log();
                #[cfg(feature = "alert")]
                if let Some(webhook) = &mut webhook {
                    webhook.push(&alert, &config.service_name, engine.clock.now());
                }
            }
        }
        if engine.clock.steady().duration_since(turned) >= config.alert.limits.window {
            turned = engine.clock.steady();
            engine.services.audit.turn_tops();
        }
        #[cfg(feature = "alert")]
        if let Some(webhook) = &mut webhook {
            webhook.send_due(engine.clock.now()).await;
        }
        ticks = ticks.wrapping_add(1);
        tokio::time::sleep(TICK).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn limits() -> AlertLimits {
        crate::config::Config::from_reader(crate::config::Reader::new()).unwrap().alert.limits
    }

    #[test]
    fn every_threshold_names_an_existing_event() {
        for (name, threshold) in limits().thresholds {
            assert!(
                threshold > 0 && crate::audit::event::Event::ALL.iter().any(|event| event.name() == name),
                "{name}"
            );
        }
    }

    #[test]
    fn every_alert_says_what_to_do() {
        let general = advice("");
        for (name, _) in limits().thresholds {
            assert_ne!(advice(name), general, "{name}");
        }
    }

    /// Kind: a stranger silences an alert by what they do to names that nobody has.
    #[test]
    fn an_alert_about_accounts_is_not_silenced_by_one_about_none() {
        let (mut rules, limits) = (AlertRules::default(), limits());
        let threshold = limits.thresholds.iter().find(|(name, _)| *name == "lockout.started").unwrap().1;
        let mut raised = |locks, at_accounts, secs| {
            let [all, named] = [locks, at_accounts].map(|count| [("lockout.started", count)]);
            rules.observe(&limits, &all, &named, NOW + Duration::from_secs(secs)).len()
        };
        assert_eq!(raised(0, 0, 0), 0);
        assert_eq!(raised(threshold, 0, 5), 1);
        assert_eq!(raised(threshold + 1, 0, 10), 0);
        assert_eq!(raised(2 * threshold, threshold, 15), 1);
        assert_eq!(raised(3 * threshold, 2 * threshold, 20), 0);
    }

    #[test]
    fn too_many_within_the_window_raise_one_alert() {
        let mut rules = AlertRules::default();
        let limits = limits();
        let counts = |locks| [("lockout.started", locks), ("login.succeeded", 9999)];
        for minute in 0..60_u64 {
            assert!(
                rules.observe(&limits, &counts(minute), &[], NOW + Duration::from_mins(minute)).is_empty()
            );
        }
        let now = NOW + Duration::from_hours(2);
        rules.observe(&limits, &counts(60), &[], now);
        let raised = rules.observe(&limits, &counts(85), &[], now + Duration::from_secs(5));
        assert_eq!(raised.len(), 1);
        assert_eq!(raised[0].event, "lockout.started");
        assert_eq!(raised[0].count, 26);
        assert!(rules.observe(&limits, &counts(200), &[], now + Duration::from_secs(10)).is_empty());
        assert_eq!(
            rules.observe(&limits, &counts(400), &[], now + limits.quiet + Duration::from_secs(6)).len(),
            1
        );
    }
}
