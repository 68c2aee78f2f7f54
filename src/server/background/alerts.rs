//! Alerts: when something happens more often than it should, a line in the log and a signed call of a webhook.
//!
//! The call is a POST of JSON, `{"alert", "count", "threshold", "window_secs", "time", "service"}`, with the header
//! `X-Portcullis-Signature: t=<seconds>,v1=<hex>`, where `v1` is the HMAC-SHA-256 of `<seconds>.<body>` under the first line
//! of `alert.secret_file`. It is tried six times within a quarter of an hour. What is called must check the signature in
//! constant time, and refuse one that is older than five minutes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::config::AlertLimits;
use crate::engine::Engine;
use crate::system::clock::Timestamp;
use crate::value::id::hex;

const TICK: Duration = Duration::from_secs(5);

/// Something happened too often.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Alert {
    /// The event.
    #[serde(rename = "alert")]
    pub event: &'static str,
    /// How often it happened.
    pub count: u64,
    /// How often is too often.
    pub threshold: u64,
    /// Within how many seconds.
    pub window_secs: u64,
}

/// Counts as they were, and what rang when.
#[derive(Debug, Default)]
pub struct AlertRules {
    seen: VecDeque<(Timestamp, BTreeMap<&'static str, u64>)>,
    rang: BTreeMap<&'static str, Timestamp>,
}

impl AlertRules {
    /// Takes the counts of now, and says what is too much.
    pub fn see(
        &mut self,
        limits: &AlertLimits,
        counts: &[(&'static str, u64)],
        now: Timestamp,
    ) -> Vec<Alert> {
        let counts: BTreeMap<_, _> = counts.iter().copied().collect();
        while self.seen.len() > 1 && self.seen.get(1).is_some_and(|(at, _)| now.since(*at) >= limits.window) {
            self.seen.pop_front();
        }
        let before = self.seen.front().map(|(_, before)| before.clone()).unwrap_or_default();
        let mut alerts = Vec::new();
        for (name, threshold) in limits.thresholds.iter().copied() {
            let of = |counts: &BTreeMap<&str, u64>| counts.get(name).copied().unwrap_or(0);
            let count = of(&counts) - of(&before).min(of(&counts));
            let is_quiet = self.rang.get(name).is_some_and(|rang| now.since(*rang) < limits.quiet);
            if count >= threshold && !is_quiet {
                self.rang.insert(name, now);
                let window_secs = limits.window.as_secs();
                alerts.push(Alert { event: name, count, threshold, window_secs });
            }
        }
        self.seen.push_back((now, counts));
        alerts
    }
}

/// Watches until the engine ends.
pub(crate) async fn run(engine: &Engine, ending: &AtomicBool) {
    let mut watch = AlertRules::default();
    #[cfg(feature = "alert")]
    let mut webhook = webhook::Webhook::of(&engine.services.config);
    let mut ticks: u32 = 0;
    while !ending.load(Ordering::Relaxed) {
        if ticks.is_multiple_of(50) {
            for alert in watch.see(
                &engine.services.config.alert.limits,
                &engine.services.audit.counts(),
                engine.clock.now(),
            ) {
                tracing::error!(
                    target: "portcullis::alert",
                    alert = alert.event,
                    count = alert.count,
                    threshold = alert.threshold,
                    "happens more often than it should"
                );
                #[cfg(feature = "alert")]
                if let Some(webhook) = &mut webhook {
                    webhook.push(&alert, &engine.services.config.service_name, engine.clock.now());
                }
            }
        }
        #[cfg(feature = "alert")]
        if let Some(webhook) = &mut webhook {
            webhook.turn(engine.clock.now()).await;
        }
        ticks = ticks.wrapping_add(1);
        tokio::time::sleep(TICK / 50).await;
    }
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

    /// Calls that wait at most; the oldest gives way.
    const QUEUE: usize = 100;
    const RETRIES_SECS: [u64; 5] = [1, 5, 30, 120, 600];
    const CALL_TIMEOUT: Duration = Duration::from_secs(10);

    struct Call {
        body: String,
        tries: usize,
        next: Timestamp,
    }

    pub(super) struct Webhook {
        client: reqwest::Client,
        url: String,
        secret: SecretSlice<u8>,
        calls: VecDeque<Call>,
    }

    impl Webhook {
        /// None where none is configured, or it cannot be used; then the log says why.
        pub(super) fn of(config: &Config) -> Option<Self> {
            let hook = config.alert.hook.as_ref()?;
            let read = std::fs::read_to_string(&hook.secret_file);
            let text = read
                .inspect_err(|error| {
                    tracing::error!(%error, "alert.secret_file cannot be read: no alert is sent");
                })
                .ok()?;
            let secret = SecretSlice::from(text.lines().next().unwrap_or_default().as_bytes().to_vec());
            let client = reqwest::Client::builder()
                .timeout(CALL_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .inspect_err(|error| tracing::error!(%error, "no client for the webhook: no alert is sent"))
                .ok()?;
            Some(Self { client, url: hook.webhook.clone(), secret, calls: VecDeque::new() })
        }

        pub(super) fn push(&mut self, alert: &Alert, service: &str, now: Timestamp) {
            let mut body = json!(alert);
            if let Some(fields) = body.as_object_mut() {
                fields.insert(String::from("time"), json!(now.rfc3339()));
                fields.insert(String::from("service"), json!(service));
            }
            if self.calls.len() >= QUEUE {
                self.calls.pop_front();
                tracing::error!("too many alerts wait for the webhook: the oldest is not sent");
            }
            self.calls.push_back(Call { body: body.to_string(), tries: 0, next: now });
        }

        /// Makes the calls that are due.
        pub(super) async fn turn(&mut self, now: Timestamp) {
            let due = self.calls.iter().position(|call| call.next <= now);
            let Some(mut call) = due.and_then(|at| self.calls.remove(at)) else { return };
            if let Err(error) = self.send(&call.body, now).await {
                match RETRIES_SECS.get(call.tries) {
                    Some(secs) => {
                        tracing::warn!(%error, tries = call.tries + 1, "the webhook was not reached");
                        (call.tries, call.next) = (call.tries + 1, now + Duration::from_secs(*secs));
                        self.calls.push_back(call);
                    }
                    None => tracing::error!(%error, "the webhook was not reached: the alert is dropped"),
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
            // Where it goes may hold a secret of its own: not in the log.
            request
                .send()
                .await
                .and_then(reqwest::Response::error_for_status)
                .map(|_| ())
                .map_err(reqwest::Error::without_url)
        }
    }
}

/// The HMAC-SHA-256 of time and body, in hexadecimal.
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
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn limits() -> AlertLimits {
        crate::config::Config::from_reader(crate::config::Reader::new()).unwrap().alert.limits
    }

    #[test]
    fn every_threshold_is_of_an_event_that_there_is() {
        for (name, threshold) in limits().thresholds {
            assert!(
                threshold > 0 && crate::audit::event::Event::ALL.iter().any(|event| event.name() == name),
                "{name}"
            );
        }
    }

    #[test]
    fn too_much_within_the_window_rings_once_and_the_same_spread_out_does_not() {
        let (mut watch, limits) = (AlertRules::default(), limits());
        let counts = |locks| [("lockout.started", locks), ("login.succeeded", 9999)];
        for minute in 0..60_u64 {
            assert!(watch.see(&limits, &counts(minute), NOW + Duration::from_mins(minute)).is_empty());
        }
        let now = NOW + Duration::from_hours(2);
        watch.see(&limits, &counts(60), now);
        let rang = watch.see(&limits, &counts(85), now + Duration::from_secs(5));
        assert_eq!((rang.len(), rang[0].event, rang[0].count), (1, "lockout.started", 26));
        assert!(watch.see(&limits, &counts(200), now + Duration::from_secs(10)).is_empty());
        assert_eq!(watch.see(&limits, &counts(400), now + limits.quiet + Duration::from_secs(6)).len(), 1);
    }

    #[test]
    fn a_signature_binds_time_and_body() {
        let signed = signature(b"key", 7, "{}");
        assert!(signed.len() == 64 && signed == signature(b"key", 7, "{}"));
        for (secret, secs, body) in [(&b"kez"[..], 7, "{}"), (b"key", 8, "{}"), (b"key", 7, "[]")] {
            assert_ne!(signature(secret, secs, body), signed);
        }
    }
}
