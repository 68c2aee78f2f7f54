//! `[alert]`: how many security events raise an alert, and where alerts are sent.

use std::time::Duration;

use super::keys::secret_file;
use super::outbound::Outbound;
#[cfg(feature = "alert")]
use super::outbound::receiver;
use crate::config::key::{Key, number, text};
use crate::config::reader::Reader;
use crate::config::secret_file::SecretFile;

const fn threshold(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    number(name, default, 0..=1_000_000_000, doc)
}

pub(in crate::config) const KEYS: &[Key] = &[
    text(
        "alert.webhook",
        "",
        "URL that receives alerts: https://, or http:// to this machine or to what outbound.allow lists.",
    ),
    text(
        "alert.secret_file",
        "",
        "File whose first line is the secret that signs these calls (HMAC-SHA-256); or credential:NAME.",
    ),
    number("alert.window_secs", "600", 60..=3600, "Time over which events are counted."),
    number("alert.quiet_secs", "1800", 60..=604_800, "Time in which the same alert is not raised again."),
    threshold(
        "alert.threshold.stuffing_suspected",
        "1",
        "Events within the window that raise an alert, in the log and by the webhook; 0: never.",
    ),
    threshold("alert.threshold.login_failed", "500", ""),
    threshold("alert.threshold.login_shed", "100", ""),
    threshold("alert.threshold.lockout_started", "20", ""),
    threshold("alert.threshold.device_demoted", "10", ""),
    threshold("alert.threshold.refresh_reused", "5", ""),
    threshold("alert.threshold.token_rejected", "200", ""),
    threshold("alert.threshold.csrf_rejected", "50", ""),
    threshold("alert.threshold.request_throttled", "10000", ""),
    threshold("alert.threshold.email_change_undone", "1", ""),
    threshold("alert.threshold.key_retired", "1", ""),
    threshold("alert.threshold.hook_failed", "1", ""),
    threshold("alert.threshold.webhook_disabled", "1", ""),
    threshold("alert.threshold.events_lost", "1", ""),
];

/// The key of each threshold, and the event that it counts.
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
    ("alert.threshold.hook_failed", "hook.failed"),
    ("alert.threshold.webhook_disabled", "webhook.disabled"),
    ("alert.threshold.events_lost", "events.lost"),
];

/// The settings of `[alert]`.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Where alerts are sent, if anywhere but the log.
    pub hook: Option<AlertHook>,
    /// When an alert is raised.
    pub limits: AlertLimits,
}

/// Where alerts are sent.
#[derive(Clone, Debug)]
pub struct AlertHook {
    /// The URL to call.
    pub webhook: String,
    /// A file whose first line is the secret that signs the calls.
    pub secret_file: SecretFile,
}

/// When an alert is raised.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AlertLimits {
    /// Time over which events are counted.
    pub window: Duration,
    /// Time in which the same alert is not raised again.
    pub quiet: Duration,
    /// Events within the window that raise an alert, by the name of the event. An event that raises none is absent.
    pub thresholds: Vec<(&'static str, u64)>,
}

impl Alert {
    pub(in crate::config) fn read(reader: &mut Reader, outbound: &Outbound) -> Self {
        Self { hook: hook(reader, outbound), limits: limits(reader) }
    }
}

fn hook(reader: &mut Reader, outbound: &Outbound) -> Option<AlertHook> {
    #[cfg(not(feature = "alert"))]
    let webhook = {
        let _ = outbound;
        reader.not_available("alert.webhook", Some("alert"));
        reader.text("alert.webhook")
    };
    #[cfg(feature = "alert")]
    let webhook = receiver(reader, "alert.webhook", outbound, true);
    reader.text("alert.webhook")?;
    let is_set = reader.path("alert.secret_file").is_some();
    let Some(secret_file) = secret_file(reader, "alert.secret_file") else {
        if !is_set {
            reader.wrong("alert.webhook", "needs `alert.secret_file`, whose first line signs the calls");
        }
        return None;
    };
    Some(AlertHook { webhook: webhook?, secret_file })
}

fn limits(reader: &mut Reader) -> AlertLimits {
    let thresholds = THRESHOLDS.iter().map(|(key, event)| (*event, reader.number(key)));
    let thresholds = thresholds.filter(|(_, threshold)| *threshold > 0).collect();
    AlertLimits {
        window: reader.secs("alert.window_secs"),
        quiet: reader.secs("alert.quiet_secs"),
        thresholds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::load;

    #[test]
    fn thresholds_of_alerts_can_be_set_or_put_to_nought() {
        let text = "[alert]\nwindow_secs = 60\n[alert.threshold]\nlogin_failed = 7\nlogin_shed = 0\n";
        let limits = load(text, &[]).unwrap().alert.limits;
        assert_eq!(limits.window, Duration::from_mins(1));
        assert_eq!(limits.thresholds.len(), THRESHOLDS.len() - 1);
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

    #[test]
    fn every_threshold_has_its_key() {
        let declared = KEYS.iter().map(|key| key.name).filter(|name| name.starts_with("alert.threshold."));
        assert!(declared.eq(THRESHOLDS.iter().map(|(key, _)| *key)));
    }
}
