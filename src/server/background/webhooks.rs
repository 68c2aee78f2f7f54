//! Calls every `[[webhook]]` with the events that it wants, in their order and at least once.
//!
//! A call is a POST of JSON, `{"events": […], "next": "…", "gap": {"reason": "…"}}`: what `GET /v1/admin/events` answers, with
//! at most a hundred events; `gap` is there only if events are missing. It is signed as alerts are, with the header
//! `Portcullis-Signature: t=<seconds>,v1=<hex>`, where `v1` is the HMAC-SHA-256 of `<seconds>.<body>`. An answer of 2xx within
//! ten seconds has taken it; anything else is tried again after 1, 2, 4 … 3,600 s, with the same events and those that have
//! come since. Each webhook has a position of its own in `events/`, written after it has taken events, once a second at most:
//! after a crash the events of that second come again. One that has failed for three days, or answers 410, is not called any
//! more until an operator resumes it; then it goes on where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::task::TICK;
use crate::audit::event::{Event, Note};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::webhook_status::WebhookStatus;
use crate::flow::admin::events::{EventCursor, EventPage, Wanted, read};
use crate::server::outbound::{OutboundError, Receiver, ReceiverSpec};
use crate::system::clock::Timestamp;
use crate::value::id::hex;

/// The most events of one call.
const EVENTS_MAX: usize = 100;
/// How long a call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The delay after the first failed call, and the longest one.
const DELAY: Duration = Duration::from_secs(1);
const DELAY_MAX: Duration = Duration::from_hours(1);
/// How long a webhook may fail.
const FAILING_MAX: Duration = Duration::from_hours(72);
/// The shortest time between two writings of a position.
const SAVED_EVERY: Duration = Duration::from_secs(1);
/// The status by which a receiver says that it is there no more (RFC 9110 §15.5.11).
const GONE: u16 = 410;

/// Where a webhook is, as it is kept in a file.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Position {
    /// The cursor after the last event that was taken.
    cursor: String,
    /// Since when it has failed, in milliseconds since 1970; 0 if it does not.
    #[serde(default)]
    failing_since_ms: u64,
    /// Why it is not called any more.
    #[serde(default)]
    disabled: Option<String>,
}

/// What follows from a failed call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    /// It is tried again after a time.
    Again(Duration),
    /// The webhook is not called any more.
    Never,
}

/// Decides when a webhook that fails is called again. Pure.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    since: Option<Timestamp>,
    tries: u32,
}

impl Failures {
    fn note(&mut self, now: Timestamp) -> Next {
        let since = *self.since.get_or_insert(now);
        if now.since(since) >= FAILING_MAX {
            return Next::Never;
        }
        let delay = DELAY.saturating_mul(1 << self.tries.min(12)).min(DELAY_MAX);
        self.tries += 1;
        Next::Again(delay)
    }
}

/// One webhook that is called.
struct Webhook {
    engine: Arc<Engine>,
    ending: Arc<AtomicBool>,
    receiver: Receiver,
    wanted: Wanted,
    status: Arc<WebhookStatus>,
    /// The name of the file of its position.
    file: String,
    position: Position,
    cursor: Option<EventCursor>,
    is_unsaved: bool,
    failures: Failures,
}

/// Calls every webhook until `ending` is set.
pub(super) async fn run(engine: Arc<Engine>, ending: Arc<AtomicBool>) {
    let mut calling = JoinSet::new();
    let mut statuses = Vec::new();
    for (receiver, wanted, file) in receivers(&engine.services.config) {
        let status = Arc::new(WebhookStatus::new(receiver.host()));
        statuses.push(Arc::clone(&status));
        let webhook = Webhook {
            engine: Arc::clone(&engine),
            ending: Arc::clone(&ending),
            receiver,
            wanted,
            status,
            file,
            position: Position::default(),
            cursor: None,
            is_unsaved: false,
            failures: Failures::default(),
        };
        calling.spawn(webhook.run());
    }
    engine.services.set_webhooks(statuses);
    while let Some(ended) = calling.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a webhook ended in a panic; this is a fault of the server");
        }
    }
}

/// Returns the receivers that can be called, what each wants, and the file of its position.
fn receivers(config: &Config) -> Vec<(Receiver, Wanted, String)> {
    let mut receivers = Vec::new();
    for webhook in &config.webhooks {
        let spec = ReceiverSpec {
            url: &webhook.url,
            secret_file: &webhook.secret_file,
            outbound: &config.outbound,
            may_be_local: false,
            timeout: CALL_TIMEOUT,
        };
        match Receiver::new(&spec) {
            Ok(receiver) => receivers.push((receiver, webhook.events, file_of(&webhook.url))),
            Err(error) => tracing::error!("{error}: a webhook is not called"),
        }
    }
    receivers
}

/// Returns the name of the file of the position of the webhook at `url`.
fn file_of(url: &str) -> String {
    let digest = Sha256::digest(url.as_bytes());
    format!("webhook-{}.json", hex(digest.get(..16).unwrap_or_default()))
}

impl Webhook {
    async fn run(mut self) {
        let mut watch = self.engine.event_watch();
        if !self.open(&mut watch).await {
            return;
        }
        let mut saved = self.engine.clock.steady();
        while !self.is_ending() {
            if self.position.disabled.is_some() {
                self.wait_for_resume().await;
                continue;
            }
            watch.mark_unchanged();
            let before = self.cursor;
            match read(&self.engine.event_log, before, self.wanted, EVENTS_MAX).await {
                Ok(page) if page.events.is_empty() && page.gap.is_none() => {
                    self.move_to(page.next);
                    self.status.update(|state| state.waiting_since = None);
                    if self.cursor == before {
                        let _ = tokio::time::timeout(TICK, watch.changed()).await;
                    }
                }
                Ok(page) => self.call(&page).await,
                Err(error) => {
                    tracing::error!(%error, "cannot read the log of events for a webhook, retrying");
                    self.pause(DELAY).await;
                }
            }
            let now = self.engine.clock.steady();
            if self.is_unsaved && now.saturating_duration_since(saved) >= SAVED_EVERY {
                saved = now;
                self.save();
            }
        }
        self.save();
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Waits for `time`, or until the server stops or an operator resumes the webhook.
    async fn pause(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() && !self.is_ending() && !self.status.take_resume() {
            let some = left.min(TICK);
            tokio::time::sleep(some).await;
            left -= some;
        }
    }

    /// Reads the position, once the log is open. A webhook that is new begins with what has happened since the server was
    /// started; one whose position is damaged with the oldest events, since it may have taken none of them. Returns false if
    /// the server stops before.
    async fn open(&mut self, watch: &mut watch::Receiver<u64>) -> bool {
        while self.engine.event_log.history().is_none() {
            if self.is_ending() {
                return false;
            }
            let _ = tokio::time::timeout(TICK, watch.changed()).await;
        }
        let found = loop {
            match self.engine.event_log.read_beside(&self.file) {
                Ok(found) => break found.map(|bytes| serde_json::from_slice::<Position>(&bytes)),
                Err(error) => {
                    tracing::error!(%error, "cannot read the position of a webhook, retrying");
                    self.pause(DELAY).await;
                    if self.is_ending() {
                        return false;
                    }
                }
            }
        };
        match found {
            Some(Ok(position)) => {
                self.cursor = position.cursor.parse().ok();
                self.failures.since =
                    Some(Timestamp(position.failing_since_ms)).filter(|since| since.as_millis() > 0);
                self.position = position;
            }
            Some(Err(error)) => {
                let file = &self.file;
                tracing::error!(%error, file, "the position of a webhook is damaged, sending all events that are kept");
                self.cursor = None;
            }
            None => {
                self.cursor = EventCursor::at_start(&self.engine.event_log);
                self.is_unsaved = true;
                self.save();
            }
        }
        self.show();
        true
    }

    /// Shows operators how the webhook stands.
    fn show(&self) {
        let (since, disabled) = (self.failures.since, self.position.disabled.clone());
        self.status.update(|state| {
            state.failing_since = since;
            state.disabled = disabled;
            if since.is_none() {
                state.last_error = None;
            }
        });
    }

    fn move_to(&mut self, next: Option<EventCursor>) {
        if next.is_some() && next != self.cursor {
            self.cursor = next;
            self.is_unsaved = true;
        }
    }

    /// Writes the position. On a full disk it is written later: then events come again after a crash.
    fn save(&mut self) {
        if !self.is_unsaved {
            return;
        }
        self.position.cursor = self.cursor.map_or_else(String::new, |cursor| cursor.to_string());
        self.position.failing_since_ms = self.failures.since.map_or(0, Timestamp::as_millis);
        let bytes = serde_json::to_vec(&self.position).unwrap_or_default();
        match self.engine.event_log.write_beside(&self.file, &bytes) {
            Ok(()) => self.is_unsaved = false,
            Err(error) => tracing::warn!(%error, "cannot write the position of a webhook, retrying"),
        }
    }

    /// Calls the webhook with a page.
    async fn call(&mut self, page: &EventPage) {
        let first =
            page.events.first().and_then(|event| event.at().duration_since(std::time::UNIX_EPOCH).ok());
        let first = first.map(|at| Timestamp(u64::try_from(at.as_millis()).unwrap_or(u64::MAX)));
        self.status.update(|state| state.waiting_since = first);
        let now = self.engine.clock.system_now();
        // A stop does not wait for an answer: what was in flight is sent again by the next start.
        let answered = tokio::select! {
            answered = self.receiver.tell(body(page), &[], now) => answered,
            () = until_set(&self.ending) => return,
        };
        let failed = match answered {
            Ok(answer) if answer.is_success() => None,
            Ok(answer) => Some((format!("it answered {}", answer.status), answer.status == GONE)),
            Err(error) => Some((error.to_string(), matches!(error, OutboundError::Url))),
        };
        let Some((why, is_gone)) = failed else {
            let taken = page.events.len() as u64;
            self.move_to(page.next);
            self.failures = Failures::default();
            self.status.update(|state| {
                state.taken += taken;
                state.waiting_since = None;
            });
            return self.show();
        };
        let next = if is_gone { Next::Never } else { self.failures.note(self.engine.clock.now()) };
        self.status.update(|state| {
            state.failed += 1;
            state.last_error = Some(why.clone());
        });
        self.is_unsaved = true;
        match next {
            Next::Again(delay) => {
                let host = &self.status.host;
                tracing::warn!(
                    host,
                    "a webhook has not taken events: {why}; trying again in {} s",
                    delay.as_secs()
                );
                self.show();
                self.save();
                self.pause(delay).await;
            }
            Next::Never => self.disable(&why),
        }
    }

    /// Stops calling the webhook.
    fn disable(&mut self, why: &str) {
        tracing::error!(host = self.status.host, "a webhook is not called any more: {why}");
        let note = Note::new(Event::WebhookDisabled).about(&self.status.host).with_reason(why);
        self.engine.record(note);
        self.position.disabled = Some(why.to_owned());
        self.show();
        self.is_unsaved = true;
        self.save();
    }

    /// Waits until an operator resumes the webhook, or the server stops.
    async fn wait_for_resume(&mut self) {
        if self.status.take_resume() {
            self.position.disabled = None;
            self.failures = Failures::default();
            self.is_unsaved = true;
            self.save();
            self.show();
        } else {
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Waits until `ending` is set.
async fn until_set(ending: &AtomicBool) {
    while !ending.load(Ordering::Relaxed) {
        tokio::time::sleep(TICK).await;
    }
}

/// Returns the body of a call.
fn body(page: &EventPage) -> Vec<u8> {
    let mut body = json!({
        "events": page.events,
        "next": page.next.map(|next| next.to_string()),
    });
    if let (Some(gap), Some(fields)) = (page.gap, body.as_object_mut()) {
        fields.insert(String::from("gap"), json!({"reason": gap.reason()}));
    }
    body.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_failing_webhook_is_called_ever_less_often_and_after_three_days_never() {
        let mut failures = Failures::default();
        let mut now = NOW;
        let mut delays = Vec::new();
        while let Next::Again(delay) = failures.note(now) {
            delays.push(delay.as_secs());
            now = now + delay;
        }
        assert_eq!(delays[..14], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]);
        assert!(delays.len() < 90, "{}", delays.len());
        assert!(now.since(NOW) >= FAILING_MAX && now.since(NOW) < FAILING_MAX + DELAY_MAX);
    }

    #[test]
    fn each_url_has_a_position_of_its_own() {
        let [one, other] = ["https://a.example.org/x", "https://a.example.org/y"].map(file_of);
        assert_ne!(one, other);
        assert_eq!(one.len(), "webhook-.json".len() + 32);
    }

    #[test]
    fn a_position_comes_back_and_an_earlier_one_without_the_rest_is_read() {
        let position: Position = serde_json::from_str("{\"cursor\":\"00000000000000ab-7\"}").unwrap();
        assert_eq!((position.failing_since_ms, position.disabled), (0, None));
    }
}
