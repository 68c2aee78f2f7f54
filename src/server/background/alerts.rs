//! Alerts: when an event happens more often than its threshold, a line in the log and a signed call of a webhook.
//!
//! The call is a POST of JSON, `{"alert", "count", "threshold", "window_secs", "accounts", "networks", "advice", "time",
//! "service"}`, where an account is `{"id", "email", "count"}` with a masked address, a network is `{"network", "count"}`,
//! and at most three of each are named, the most frequent first. Fields may be added later. The call has the header
//! `X-Portcullis-Signature: t=<seconds>,v1=<hex>`, where `v1` is the HMAC-SHA-256 of `<seconds>.<body>` under the first
//! line of `alert.secret_file`. It is tried six times within a quarter of an hour. The receiver must check the
//! signature in constant time and refuse a call that is older than five minutes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use super::task::TICK;
use crate::audit::event::Event;
use crate::config::AlertLimits;
use crate::engine::Engine;
use crate::server::background::alert::{Alert, advice};
use crate::system::clock::Timestamp;

/// Ticks between two looks at the counts: five seconds.
const LOOK_TICKS: u32 = 50;

/// Decides from the counts of events which alerts to raise. Pure.
#[derive(Debug, Default)]
pub struct AlertRules {
    /// Earlier counts, oldest first; the first is one window old.
    earlier: VecDeque<(Timestamp, BTreeMap<&'static str, u64>)>,
    /// When each event last raised an alert.
    raised_at: BTreeMap<&'static str, Timestamp>,
}

impl AlertRules {
    /// Takes the counts of `now` and returns the alerts to raise. An event raises one alert within `limits.quiet`.
    pub fn observe(
        &mut self,
        limits: &AlertLimits,
        counts: &[(&'static str, u64)],
        now: Timestamp,
    ) -> Vec<Alert> {
        let counts: BTreeMap<_, _> = counts.iter().copied().collect();
        while self.earlier.len() > 1
            && self.earlier.get(1).is_some_and(|(at, _)| now.since(*at) >= limits.window)
        {
            self.earlier.pop_front();
        }
        let before = self.earlier.front().map(|(_, before)| before.clone()).unwrap_or_default();
        let mut alerts = Vec::new();
        for (name, threshold) in limits.thresholds.iter().copied() {
            let count_in = |counts: &BTreeMap<&str, u64>| counts.get(name).copied().unwrap_or(0);
            let count = count_in(&counts) - count_in(&before).min(count_in(&counts));
            let is_quiet = self.raised_at.get(name).is_some_and(|at| now.since(*at) < limits.quiet);
            if count >= threshold && !is_quiet {
                self.raised_at.insert(name, now);
                let window_secs = limits.window.as_secs();
                alerts.push(Alert {
                    event: name,
                    count,
                    threshold,
                    window_secs,
                    accounts: Vec::new(),
                    networks: Vec::new(),
                    advice: advice(name),
                });
            }
        }
        self.earlier.push_back((now, counts));
        alerts
    }
}

/// Looks at the counts every five seconds and sends due calls, until `ending` is set.
pub(crate) async fn run(engine: &Engine, ending: &AtomicBool) {
    let config = &engine.services.config;
    let mut rules = AlertRules::default();
    #[cfg(feature = "alert")]
    let mut webhook = super::webhook::Webhook::from_config(config);
    let mut ticks: u32 = 0;
    let mut turned = engine.clock.steady();
    while !ending.load(Ordering::Relaxed) {
        if ticks.is_multiple_of(LOOK_TICKS) {
            engine.services.keep_space(engine.journal_stats().kept_free);
            let audit = &engine.services.audit;
            let counts = audit.counts();
            for alert in rules.observe(&config.alert.limits, &counts, engine.clock.now()) {
                let event = Event::ALL.into_iter().find(|event| event.name() == alert.event);
                let alert = alert.with(event.map(|event| audit.tops(event)).unwrap_or_default());
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

    #[test]
    fn too_many_within_the_window_raise_one_alert() {
        let mut rules = AlertRules::default();
        let limits = limits();
        let counts = |locks| [("lockout.started", locks), ("login.succeeded", 9999)];
        for minute in 0..60_u64 {
            assert!(rules.observe(&limits, &counts(minute), NOW + Duration::from_mins(minute)).is_empty());
        }
        let now = NOW + Duration::from_hours(2);
        rules.observe(&limits, &counts(60), now);
        let raised = rules.observe(&limits, &counts(85), now + Duration::from_secs(5));
        assert_eq!(raised.len(), 1);
        assert_eq!(raised[0].event, "lockout.started");
        assert_eq!(raised[0].count, 26);
        assert!(rules.observe(&limits, &counts(200), now + Duration::from_secs(10)).is_empty());
        assert_eq!(
            rules.observe(&limits, &counts(400), now + limits.quiet + Duration::from_secs(6)).len(),
            1
        );
    }
}
