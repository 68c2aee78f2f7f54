//! Looks after the server's keys: changes the signing key by age, removes keys of which nothing lives, and reports
//! passwords whose pepper is missing.

use std::sync::atomic::{AtomicBool, Ordering};

use super::task::TICK;
use crate::engine::Engine;
use crate::flow::keys::rotation::{self, Remembered};

/// Ticks between two looks.
const LOOK_TICKS: u32 = 10;
/// Ticks until the next look after a failed one, so that a full disk does not fill the log.
const RETRY_TICKS: u32 = 600;

/// Looks after the keys until `ending` is set.
pub(super) async fn run(engine: &Engine, ending: &AtomicBool) {
    let mut wait = 0;
    let mut unknown = 0;
    let mut remembered = Remembered::default();
    while !ending.load(Ordering::Relaxed) {
        if wait == 0 {
            let now_unknown = engine.services.peppers.unknown();
            if now_unknown > unknown {
                unknown = now_unknown;
                tracing::error!(
                    count = unknown,
                    "passwords cannot be checked, so their owners cannot log in: a pepper that they were hashed with is not \
                     in password.pepper_file"
                );
            }
            wait = match rotation::tend(engine, &mut remembered).await {
                Ok(_) => LOOK_TICKS,
                Err(error) => {
                    tracing::error!(%error, "cannot look after the keys in keys.dir, trying again in a minute");
                    RETRY_TICKS
                }
            };
        }
        wait -= 1;
        tokio::time::sleep(TICK).await;
    }
}
