//! Calls the webhook of alerts. A call is signed, and retried while the receiver fails.

use std::collections::VecDeque;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice};
use serde_json::json;

use super::alert::Alert;
use crate::config::Config;
use crate::system::clock::Timestamp;
use crate::value::id::hex;

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

/// The receiver of alerts.
pub struct Webhook {
    client: reqwest::Client,
    url: String,
    secret: SecretSlice<u8>,
    calls: VecDeque<Call>,
}

/// Why an alert did not reach the webhook. The path of the URL may hold a secret, so only the host is named.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The secret cannot be read.
    #[error("cannot use alert.secret_file: {0}")]
    Secret(#[source] std::io::Error),
    /// No client can be made.
    #[error("cannot set up the client of the webhook: {0}")]
    Client(#[source] reqwest::Error),
    /// The receiver was not reached, or did not answer.
    #[error("no answer from the webhook at {host}: {why}")]
    NoAnswer {
        /// Host and port.
        host: String,
        /// The innermost reason.
        why: String,
    },
    /// The receiver refused the call. A redirect is not followed.
    #[error("the webhook at {host} answered {status}")]
    Refused {
        /// Host and port.
        host: String,
        /// The status of its answer.
        status: reqwest::StatusCode,
    },
}

impl Webhook {
    /// Returns the configured webhook; `None` if there is none.
    ///
    /// Errors: its secret cannot be read.
    pub fn from_config(config: &Config) -> Result<Option<Self>, WebhookError> {
        let Some(hook) = config.alert.hook.as_ref() else { return Ok(None) };
        let line = hook.secret_file.read_line().map_err(WebhookError::Secret)?;
        let secret = SecretSlice::from(line.as_bytes().to_vec());
        let client = reqwest::Client::builder()
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(WebhookError::Client)?;
        Ok(Some(Self { client, url: hook.webhook.clone(), secret, calls: VecDeque::new() }))
    }

    /// Returns host and port of the receiver.
    pub fn host(&self) -> String {
        host_of(&self.url)
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
        let secs = now.as_secs();
        let signature = signature(self.secret.expose_secret(), secs, body);
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("x-portcullis-signature", format!("t={secs},v1={signature}"))
            .body(body.to_owned());
        let answer = request
            .send()
            .await
            .map_err(|error| WebhookError::NoAnswer { host: self.host(), why: why(error.without_url()) })?;
        let status = answer.status();
        if status.is_success() {
            Ok(status.as_u16())
        } else {
            Err(WebhookError::Refused { host: self.host(), status })
        }
    }
}

/// Returns host and port of a URL, without the rest of it.
fn host_of(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    host.map_or_else(|| String::from("its host"), |(host, port)| format!("{host}:{port}"))
}

/// Returns the innermost reason of an error, which names the cause. Those around it say that a request failed.
fn why(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("nothing within {} s", CALL_TIMEOUT.as_secs());
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
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
    use super::*;

    #[test]
    fn a_signature_binds_time_and_body() {
        let signed = signature(b"key", 7, "{}");
        assert_eq!(signed.len(), 64);
        assert_eq!(signed, signature(b"key", 7, "{}"));
        for (secret, secs, body) in [(&b"kez"[..], 7, "{}"), (b"key", 8, "{}"), (b"key", 7, "[]")] {
            assert_ne!(signature(secret, secs, body), signed);
        }
    }

    /// Kind: an error that names neither where nor why.
    #[tokio::test]
    async fn a_receiver_that_is_not_there_is_named_with_the_cause_and_without_the_path() {
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = reqwest::Client::builder().timeout(CALL_TIMEOUT).build().unwrap();
        let secret = SecretSlice::from(b"key".to_vec());
        let url = format!("http://user:word@{dead}/hook/of-secret-path");
        let hook = Webhook { client, url, secret, calls: VecDeque::new() };
        let said = hook.send_test("x", Timestamp::from_secs(1_800_000_000)).await.unwrap_err().to_string();
        assert!(said.contains(&format!("{dead}: Connection refused")), "{said}");
        assert!(!said.contains("secret-path") && !said.contains("word"), "{said}");
    }

    /// A receiver answers with a line that has no end, in the head or in the body. The body is not read at all.
    #[tokio::test]
    async fn an_answer_without_an_end_is_not_kept() {
        use std::io::{Read, Write};
        const MANY: usize = 64 << 20;
        const BUFFERS: usize = 16 << 20;
        for (start, is_answer) in [
            ("HTTP/1.1 200 OK\r\nx-a: ", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n", true),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let answering = std::thread::spawn(move || {
                let mut stream = listener.accept().unwrap().0;
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(start.as_bytes());
                let mut taken = 0;
                while taken < MANY && stream.write_all(&[b'A'; 8192]).is_ok() {
                    taken += 8192;
                }
                taken
            });
            let client = reqwest::Client::builder().timeout(CALL_TIMEOUT).build().unwrap();
            let secret = SecretSlice::from(b"key".to_vec());
            let hook = Webhook { client, url, secret, calls: VecDeque::new() };
            let sent = hook.send("{}", Timestamp::from_secs(1_800_000_000)).await;
            assert_eq!(sent.is_ok(), is_answer, "{sent:?}");
            drop(hook);
            let taken = tokio::task::spawn_blocking(move || answering.join().unwrap()).await.unwrap();
            assert!(taken < BUFFERS, "{taken}");
        }
    }
}
