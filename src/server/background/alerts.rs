//! Alerts: when an event happens more often than its threshold, a line in the log and a signed call of a webhook.
//!
//! The call is a POST of JSON, `{"alert", "count", "threshold", "window_secs", "time", "service"}`, with the header
//! `X-Portcullis-Signature: t=<seconds>,v1=<hex>`, where `v1` is the HMAC-SHA-256 of `<seconds>.<body>` under the first
//! line of `alert.secret_file`. It is tried six times within a quarter of an hour. The receiver must check the
//! signature in constant time and refuse a call that is older than five minutes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::task::TICK;
use crate::config::AlertLimits;
use crate::engine::Engine;
use crate::system::clock::Timestamp;
use crate::value::id::hex;

/// Ticks between two looks at the counts: five seconds.
const LOOK_TICKS: u32 = 50;

/// An event that happened too often.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Alert {
    /// Name of the event.
    #[serde(rename = "alert")]
    pub event: &'static str,
    /// How often it happened within the window.
    pub count: u64,
    /// From how many on it is too often.
    pub threshold: u64,
    /// Length of the window in seconds.
    pub window_secs: u64,
}

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
                alerts.push(Alert { event: name, count, threshold, window_secs });
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
    let mut webhook = webhook::Webhook::from_config(config);
    let mut ticks: u32 = 0;
    while !ending.load(Ordering::Relaxed) {
        if ticks.is_multiple_of(LOOK_TICKS) {
            let counts = engine.services.audit.counts();
            for alert in rules.observe(&config.alert.limits, &counts, engine.clock.now()) {
                log(&alert);
                #[cfg(feature = "alert")]
                if let Some(webhook) = &mut webhook {
                    webhook.push(&alert, &config.service_name, engine.clock.now());
                }
            }
        }
        #[cfg(feature = "alert")]
        if let Some(webhook) = &mut webhook {
            webhook.send_due(engine.clock.now()).await;
        }
        ticks = ticks.wrapping_add(1);
        tokio::time::sleep(TICK).await;
    }
}

fn log(alert: &Alert) {
    tracing::error!(
        target: "portcullis::alert",
        alert = alert.event,
        count = alert.count,
        threshold = alert.threshold,
        "happens more often than its threshold"
    );
}

#[cfg(feature = "alert")]
mod webhook {
    use std::collections::VecDeque;
    use std::time::Duration;

    use secrecy::{ExposeSecret, SecretSlice};
    use serde_json::json;

    use super::Alert;
    use crate::config::Config;
    use crate::system::clock::Timestamp;

    /// Maximum number of queued calls. Beyond it the oldest is dropped.
    const QUEUE: usize = 100;
    /// Delays before the five further tries, in seconds.
    const RETRIES_SECS: [u64; 5] = [1, 5, 30, 120, 600];
    /// Timeout of one call.
    const CALL_TIMEOUT: Duration = Duration::from_secs(10);

    struct Call {
        body: String,
        /// Failed tries so far.
        tries: usize,
        /// When the call is due.
        next: Timestamp,
    }

    pub(super) struct Webhook {
        client: reqwest::Client,
        url: String,
        secret: SecretSlice<u8>,
        calls: VecDeque<Call>,
    }

    impl Webhook {
        /// Returns the configured webhook. Returns `None` if there is none, or if it cannot be used; then the log says
        /// why.
        pub(super) fn from_config(config: &Config) -> Option<Self> {
            let hook = config.alert.hook.as_ref()?;
            let read = std::fs::read_to_string(&hook.secret_file);
            let text = read
                .inspect_err(|error| {
                    tracing::error!(%error, "cannot read alert.secret_file: no alert is sent to the webhook");
                })
                .ok()?;
            let secret = SecretSlice::from(text.lines().next().unwrap_or_default().as_bytes().to_vec());
            let client = reqwest::Client::builder()
                .timeout(CALL_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .inspect_err(|error| {
                    tracing::error!(%error, "cannot set up the client of the webhook: no alert is sent to it");
                })
                .ok()?;
            Some(Self { client, url: hook.webhook.clone(), secret, calls: VecDeque::new() })
        }

        /// Queues the call for an alert.
        pub(super) fn push(&mut self, alert: &Alert, service: &str, now: Timestamp) {
            let mut body = json!(alert);
            if let Some(fields) = body.as_object_mut() {
                fields.insert(String::from("time"), json!(now.rfc3339()));
                fields.insert(String::from("service"), json!(service));
            }
            if self.calls.len() >= QUEUE {
                self.calls.pop_front();
                tracing::error!("too many alerts wait for the webhook: the oldest is dropped");
            }
            self.calls.push_back(Call { body: body.to_string(), tries: 0, next: now });
        }

        /// Makes the first call that is due.
        pub(super) async fn send_due(&mut self, now: Timestamp) {
            let due = self.calls.iter().position(|call| call.next <= now);
            let Some(mut call) = due.and_then(|at| self.calls.remove(at)) else { return };
            if let Err(error) = self.send(&call.body, now).await {
                match RETRIES_SECS.get(call.tries) {
                    Some(secs) => {
                        tracing::warn!(%error, tries = call.tries + 1, "cannot reach the webhook, retrying");
                        call.tries += 1;
                        call.next = now + Duration::from_secs(*secs);
                        self.calls.push_back(call);
                    }
                    None => tracing::error!(%error, "cannot reach the webhook: the alert is dropped"),
                }
            }
        }

        async fn send(&self, body: &str, now: Timestamp) -> Result<(), reqwest::Error> {
            let secs = now.as_secs();
            let signature = super::signature(self.secret.expose_secret(), secs, body);
            let request = self
                .client
                .post(&self.url)
                .header("content-type", "application/json")
                .header("x-portcullis-signature", format!("t={secs},v1={signature}"))
                .body(body.to_owned());
            // The URL may contain a secret, so it stays out of the log.
            request
                .send()
                .await
                .and_then(reqwest::Response::error_for_status)
                .map(|_| ())
                .map_err(reqwest::Error::without_url)
        }
    }
}

/// Returns the HMAC-SHA-256 of `<secs>.<body>` under `secret`, in hexadecimal.
pub fn signature(secret: &[u8], secs: u64, body: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(secret) else {
        unreachable!("HMAC takes a key of any length")
    };
    mac.update(format!("{secs}.{body}").as_bytes());
    hex(&mac.finalize().into_bytes())
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

    #[test]
    fn a_signature_binds_time_and_body() {
        let signed = signature(b"key", 7, "{}");
        assert_eq!(signed.len(), 64);
        assert_eq!(signed, signature(b"key", 7, "{}"));
        for (secret, secs, body) in [(&b"kez"[..], 7, "{}"), (b"key", 8, "{}"), (b"key", 7, "[]")] {
            assert_ne!(signature(secret, secs, body), signed);
        }
    }
}
