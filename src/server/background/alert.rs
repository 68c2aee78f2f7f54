//! One alert: an event that happened more often than its threshold.

use serde::Serialize;

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
