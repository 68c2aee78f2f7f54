//! How the webhooks stand: written by the task that calls them, read by figures, operators and the checklist.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::system::clock::Timestamp;
use crate::system::lock::Mutex;

/// How one webhook stands.
#[derive(Debug)]
pub struct WebhookStatus {
    /// Host and port of its URL; the rest may hold a secret.
    pub host: String,
    state: Mutex<WebhookState>,
    is_to_resume: AtomicBool,
}

/// What changes about a webhook.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WebhookState {
    /// Why it is not called any more, if it is not.
    pub disabled: Option<String>,
    /// Since when it has taken nothing, while it fails.
    pub failing_since: Option<Timestamp>,
    /// What its last call came to, while it fails.
    pub last_error: Option<String>,
    /// When the oldest event happened that it has not taken, if there is one.
    pub waiting_since: Option<Timestamp>,
    /// Events that it has taken since the start.
    pub taken: u64,
    /// Calls that failed since the start.
    pub failed: u64,
}

impl WebhookStatus {
    /// Creates the status of a webhook at `host`.
    pub fn new(host: String) -> Self {
        Self { host, state: Mutex::default(), is_to_resume: AtomicBool::new(false) }
    }

    /// Returns the state.
    pub fn state(&self) -> WebhookState {
        self.state.lock().clone()
    }

    /// Changes the state.
    pub fn update(&self, change: impl FnOnce(&mut WebhookState)) {
        change(&mut self.state.lock());
    }

    /// Asks that it be called again at once. Returns whether it was disabled or failing.
    pub fn resume(&self) -> bool {
        let is_stopped = {
            let state = self.state.lock();
            state.disabled.is_some() || state.failing_since.is_some()
        };
        if is_stopped {
            self.is_to_resume.store(true, Ordering::Release);
        }
        is_stopped
    }

    /// Says once whether it was asked to be called again.
    pub fn take_resume(&self) -> bool {
        self.is_to_resume.swap(false, Ordering::AcqRel)
    }
}
