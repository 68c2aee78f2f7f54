//! What background tasks have in common.

use std::time::Duration;

/// How often a background task looks for work and for a stop.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Any error of a background task.
pub(super) type AnyError = Box<dyn std::error::Error + Send + Sync>;
