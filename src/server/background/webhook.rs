//! Calls the webhook of alerts. A call is signed, and retried while the receiver fails.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;

use super::alert::Alert;
use crate::config::Config;
use crate::server::outbound::{OutboundError, Receiver, ReceiverSpec};
use crate::system::clock::Timestamp;

/// Maximum number of queued calls. Beyond it the oldest is dropped.
const QUEUE: usize = 100;
/// Delays before the five further tries, in seconds.
const RETRIES_SECS: [u64; 5] = [1, 5, 30, 120, 600];
/// The name that the header of the signature had at first, which receivers may still read.
const FORMER_HEADER: &str = "x-portcullis-signature";
/// Timeout of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

struct Call {
    body: String,
    /// Failed tries so far.
    tries: usize,
    /// When the call is due.
    next: Timestamp,
}

/// The receiver of alerts.
pub struct Webhook {
    receiver: Receiver,
    calls: VecDeque<Call>,
}

/// Why an alert did not reach the webhook.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It was not reached, or did not answer.
    #[error("the webhook of alerts: {0}")]
    Outbound(#[from] OutboundError),
    /// The receiver refused the call. A redirect is not followed.
    #[error("the webhook at {host} answered {status}")]
    Refused {
        /// Host and port.
        host: String,
        /// The status of its answer.
        status: u16,
    },
}

impl Webhook {
    /// Returns the configured webhook; `None` if there is none.
    ///
    /// Errors: its secret cannot be read.
    pub fn from_config(config: &Config) -> Result<Option<Self>, WebhookError> {
        let Some(hook) = config.alert.hook.as_ref() else { return Ok(None) };
        let receiver = Receiver::new(&ReceiverSpec {
            url: &hook.webhook,
            secret_file: &hook.secret_file,
            outbound: &config.outbound,
            may_be_local: true,
            timeout: CALL_TIMEOUT,
        })?;
        Ok(Some(Self { receiver, calls: VecDeque::new() }))
    }

    /// Returns host and port of the receiver.
    pub fn host(&self) -> String {
        self.receiver.host()
    }

    /// Sends an alert that says that nothing has happened, once, and returns the status of the answer.
    pub async fn send_test(&self, service: &str, now: Timestamp) -> Result<u16, WebhookError> {
        self.send(&body(&Alert::test(), service, now), now).await
    }

    /// Queues the call for an alert.
    pub(super) fn push(&mut self, alert: &Alert, service: &str, now: Timestamp) {
        if self.calls.len() >= QUEUE {
            self.calls.pop_front();
            tracing::error!("too many alerts wait for the webhook: the oldest is dropped");
        }
        self.calls.push_back(Call { body: body(alert, service, now), tries: 0, next: now });
    }

    /// Makes the first call that is due.
    pub(super) async fn send_due(&mut self, now: Timestamp) {
        let due = self.calls.iter().position(|call| call.next <= now);
        let Some(mut call) = due.and_then(|at| self.calls.remove(at)) else { return };
        if let Err(error) = self.send(&call.body, now).await {
            match RETRIES_SECS.get(call.tries) {
                Some(secs) => {
                    tracing::warn!(tries = call.tries + 1, "{error}; trying again in {secs} s");
                    call.tries += 1;
                    call.next = now + Duration::from_secs(*secs);
                    self.calls.push_back(call);
                }
                None => tracing::error!("{error}: the alert is dropped"),
            }
        }
    }

    async fn send(&self, body: &str, now: Timestamp) -> Result<u16, WebhookError> {
        let bytes = body.as_bytes().to_vec();
        let signed = self.receiver.sign(&bytes, now);
        let answer = self.receiver.tell(bytes, &[(FORMER_HEADER, &signed)], now).await?;
        if answer.is_success() {
            Ok(answer.status)
        } else {
            Err(WebhookError::Refused { host: self.host(), status: answer.status })
        }
    }
}

/// Returns the body of the call for an alert.
fn body(alert: &Alert, service: &str, now: Timestamp) -> String {
    let mut body = json!(alert);
    if let Some(fields) = body.as_object_mut() {
        fields.insert(String::from("time"), json!(now.rfc3339()));
        fields.insert(String::from("service"), json!(service));
    }
    body.to_string()
}
