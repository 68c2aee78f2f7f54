//! The thread that asks hooks, and the hooks that the configuration names.

#[cfg(feature = "outbound")]
pub mod http;

use std::io;

use crate::config::Config;
use crate::engine::hooks::SetHooks;
use crate::engine::partition::StartError;
use crate::system::clock::Clock;

/// Returns the hooks to ask: those of the embedding program, or else those that the configuration names; `None` if there are none.
///
/// Errors: the secret of the hooks cannot be read.
pub(super) fn chosen(
    config: &Config,
    own: Option<SetHooks>,
    clock: &Clock,
) -> Result<Option<SetHooks>, StartError> {
    if own.is_some() {
        return Ok(own);
    }
    of_config(config, clock).map_err(StartError::from)
}

#[cfg(feature = "outbound")]
fn of_config(config: &Config, clock: &Clock) -> io::Result<Option<SetHooks>> {
    http::HttpHooks::of(config, clock).map_err(|error| io::Error::other(format!("[hook]: {error}")))
}

#[cfg(not(feature = "outbound"))]
fn of_config(_: &Config, _: &Clock) -> io::Result<Option<SetHooks>> {
    Ok(None)
}
