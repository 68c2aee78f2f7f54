//! Waiting for what happens on other threads.

use std::time::Duration;

/// Waits until `is_so` says yes. Panics after half a minute; `what` ends the sentence "waited in vain until …".
pub async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}
