//! Alerts: when they are raised, and whom they are sent to.

use std::path::PathBuf;
use std::time::Duration;

use super::read::Reader;

/// Whom alerts are sent to.
#[derive(Clone, Debug)]
pub struct AlertHook {
    /// What is called.
    pub webhook: String,
    /// A file whose first line signs the calls.
    pub secret_file: PathBuf,
}

/// When something happens too often.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AlertLimits {
    /// Events are counted over this.
    pub window: Duration,
    /// The same alert is not raised again within this.
    pub quiet: Duration,
    /// How often is too often, by the name of the event. An event that is to raise none is not in it.
    pub thresholds: Vec<(&'static str, u64)>,
}

/// The key of each threshold, and the event that it is for.
const THRESHOLDS: &[(&str, &str)] = &[
    ("alert.threshold.stuffing_suspected", "stuffing.suspected"),
    ("alert.threshold.login_failed", "login.failed"),
    ("alert.threshold.login_shed", "login.shed"),
    ("alert.threshold.lockout_started", "lockout.started"),
    ("alert.threshold.device_demoted", "device.demoted"),
    ("alert.threshold.refresh_reused", "refresh.reused"),
    ("alert.threshold.token_rejected", "token.rejected"),
    ("alert.threshold.csrf_rejected", "csrf.rejected"),
    ("alert.threshold.request_throttled", "request.throttled"),
    ("alert.threshold.email_change_undone", "email.change_undone"),
    ("alert.threshold.key_retired", "key.retired"),
];

pub(super) fn hook(reader: &mut Reader) -> Option<AlertHook> {
    #[cfg(not(feature = "alert"))]
    reader.not_available("alert.webhook");
    let webhook = reader.words("alert.webhook")?;
    let plain_local = ["http://127.0.0.1", "http://[::1]", "http://localhost"].iter().any(|local| {
        webhook.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    if !webhook.starts_with("https://") && !plain_local {
        reader.wrong("alert.webhook", "must be https://, or http:// to this machine");
    }
    let Some(secret_file) = reader.words("alert.secret_file") else {
        reader.wrong("alert.webhook", "needs `alert.secret_file`, whose first line signs the calls");
        return None;
    };
    Some(AlertHook { webhook, secret_file: PathBuf::from(secret_file) })
}

pub(super) fn limits(reader: &mut Reader) -> AlertLimits {
    let thresholds = THRESHOLDS.iter().map(|(key, event)| (*event, reader.number(key, 0..=1_000_000_000)));
    let thresholds = thresholds.filter(|(_, threshold)| *threshold > 0).collect();
    AlertLimits {
        window: Duration::from_secs(reader.number("alert.window_secs", 60..=3600)),
        quiet: Duration::from_secs(reader.number("alert.quiet_secs", 60..=604_800)),
        thresholds,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::*;

    #[test]
    fn thresholds_of_alerts_can_be_set_or_put_to_nought() {
        let text = "[alert]\nwindow_secs = 60\n[alert.threshold]\nlogin_failed = 7\nlogin_shed = 0\n";
        let limits = load(text, &[]).unwrap().alert_limits;
        assert_eq!((limits.window, limits.thresholds.len()), (Duration::from_mins(1), THRESHOLDS.len() - 1));
        assert!(limits.thresholds.contains(&("login.failed", 7)));
        let text = "[alert]\nwindow_secs = 1\n[alert.threshold]\nlogin_failed = -1\nlogin_fails = 1\n";
        let faults = load(text, &[("PORTCULLIS__ALERT__QUIET_SECS", "0")]).unwrap_err();
        for expected in [
            "p.toml:2: `alert.window_secs` must be a whole number from 60 to 3600",
            "p.toml:4: `alert.threshold.login_failed` must be a whole number from 0",
            "p.toml:5: unknown key `alert.threshold.login_fails`; did you mean `alert.threshold.login_failed`?",
            "PORTCULLIS__ALERT__QUIET_SECS: `alert.quiet_secs` must be a whole number from 60",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}\n{faults:#?}");
        }
    }
}
