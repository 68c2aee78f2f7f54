//! The security checklist over the settings: a table of checks, each with the reason and the setting that mends it.

use std::time::Duration;

use ipnet::IpNet;

use self::State::{Doubtful, Unsafe};
use super::finding::Finding;
use super::{Config, MailTransport, SmtpTls};
use crate::password::Cost;
use crate::registry::throttle::{Class, Rate};
use crate::token::JWKS_KEPT;

/// The result of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The setting is as it should be.
    Good,
    /// The setting deserves a second look. The server starts.
    Doubtful,
    /// The setting is unsafe where others than users of this machine reach the server: it does not start there.
    Unsafe,
}

/// One check of the settings.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The key of the setting.
    pub key: &'static str,
    /// The result if the setting does not pass.
    otherwise: State,
    is_safe: fn(&Config) -> bool,
    /// The reason why a setting that does not pass is unsafe.
    pub why: &'static str,
    /// The remedy, with the setting to paste into the configuration.
    pub fix: &'static str,
}

impl Check {
    /// Returns the result of the check for `config`.
    pub fn state(&self, config: &Config) -> State {
        if (self.is_safe)(config) { State::Good } else { self.otherwise }
    }
}

/// Events that mean an attack or a stolen credential however rare they are.
const ALWAYS_ALERT: [&str; 4] =
    ["stuffing.suspected", "refresh.reused", "email.change_undone", "key.retired"];
const DAY: Duration = Duration::from_hours(24);
/// Requests that redeem a mailed link or check a password of a user who is logged in. Offices and carriers put
/// thousands of users behind one address, so these are compared with a rate that is no limit at all, not with the usual
/// one.
const REDEEMING: [Class; 4] = [Class::Reset, Class::Verify, Class::Unlock, Class::Check];

/// Every check of the settings alone.
pub const CHECKS: &[Check] = &[
    Check {
        key: "http.public_origin",
        otherwise: Unsafe,
        is_safe: |config| config.http.public_origin.is_https(),
        why: "passwords and tokens cross the network in the clear",
        fix: "put a proxy with TLS in front, and set [http] public_origin = \"https://login.example.org\"",
    },
    Check {
        key: "password.memory_kib",
        otherwise: Unsafe,
        is_safe: |config| {
            let cost = config.password.cost;
            cost.memory_kib >= Cost::SAFE.memory_kib && cost.passes >= Cost::SAFE.passes
        },
        why: "passwords can be guessed cheaply from a stolen copy of the data",
        fix: "set [password] memory_kib = 19456, passes = 2",
    },
    Check {
        key: "mail.transport",
        otherwise: Unsafe,
        is_safe: |config| !matches!(config.mail.transport, MailTransport::File),
        why: "mails are written to files and reach no user",
        fix: "set [mail] transport = \"smtp\"; [mail.smtp] host = \"mail.example.org\"",
    },
    Check {
        key: "mail.console",
        otherwise: Unsafe,
        is_safe: |config| !config.mail.console,
        why: "links with tokens are printed on the console",
        fix: "set [mail] console = false",
    },
    Check {
        key: "signup.verify_email",
        otherwise: Unsafe,
        is_safe: |config| config.signup.verify_email,
        why: "addresses are not proved, so anyone can sign up with the address of another person",
        fix: "set [signup] verify_email = \"required\"",
    },
    Check {
        key: "mail.from",
        otherwise: Unsafe,
        is_safe: |config| config.mail.from.domain != "localhost.localdomain",
        why: "mail servers refuse this sender, so users cannot prove an address or reset a password",
        fix: "set [mail] from = \"login@example.org\"",
    },
    Check {
        key: "lockout.failures",
        otherwise: Unsafe,
        is_safe: |config| config.lockout.failures <= 10,
        why: "an attacker may try more than ten passwords for one account before the first pause",
        fix: "set [lockout] failures = 5",
    },
    Check {
        key: "lockout.cap",
        otherwise: Unsafe,
        is_safe: |config| config.lockout.cap <= 100,
        why: "an attacker may try more than a hundred passwords in a row for one account (NIST SP 800-63B-4 §3.2.2)",
        fix: "set [lockout] cap = 100",
    },
    Check {
        key: "lockout.cap",
        otherwise: Unsafe,
        is_safe: |config| config.lockout.cap >= 10 && config.lockout.cap >= config.lockout.failures,
        why: "a few wrong passwords of a stranger keep the owner out on every new device until a mail is answered",
        fix: "set [lockout] cap = 100",
    },
    Check {
        key: "lockout.first_lock_secs",
        otherwise: Unsafe,
        is_safe: |config| {
            config.lockout.first_lock >= Duration::from_secs(30) && config.lockout.forget >= DAY
        },
        why: "locks are too short, or forgotten too soon, to slow an attacker down",
        fix: "set [lockout] first_lock_secs = 60, forget_secs = 86400",
    },
    Check {
        key: "lockout.max_lock_secs",
        otherwise: Unsafe,
        is_safe: |config| {
            let lockout = &config.lockout;
            lockout.max_lock >= lockout.first_lock && lockout.max_lock >= Duration::from_mins(15)
        },
        why: "no lock lasts longer than this, so the later ones are too short to slow an attacker down",
        fix: "set [lockout] max_lock_secs = 3600",
    },
    Check {
        key: "throttle.login",
        otherwise: Unsafe,
        is_safe: |config| limits(config, &[Class::Login], Rate { burst: 100, per_minute: 120 }),
        why: "one client may try names and passwords almost without a limit",
        fix: "set [throttle.login] burst = 20, per_minute = 20",
    },
    Check {
        key: "throttle.forgot",
        otherwise: Unsafe,
        is_safe: |config| limits(config, &[Class::Signup, Class::Forgot], Rate { burst: 60, per_minute: 60 }),
        why: "one client may have mails sent almost without a limit",
        fix: "set [throttle.forgot] burst = 10, per_minute = 10, and the same for signup",
    },
    Check {
        key: "throttle.reset",
        otherwise: Unsafe,
        is_safe: |config| limits(config, &REDEEMING, Rate { burst: 300, per_minute: 300 }),
        why: "one client may try links and passwords almost without a limit",
        fix: "set [throttle.reset] burst = 20, per_minute = 20, and the same for verify, unlock and check",
    },
    Check {
        key: "throttle.refresh",
        otherwise: Unsafe,
        is_safe: |config| limits(config, &[Class::Refresh], Rate { burst: 6000, per_minute: 6000 }),
        why: "one client may keep the disk busy almost without a limit",
        fix: "set [throttle.refresh] burst = 120, per_minute = 240",
    },
    Check {
        key: "throttle.exempt_networks",
        otherwise: Unsafe,
        is_safe: |config| !holds_wide_network(&config.throttle.exempt),
        why: "a network this wide exempts strangers from the rate limits",
        fix: "set [throttle] exempt_networks = []",
    },
    Check {
        key: "http.trusted_proxies",
        otherwise: Unsafe,
        is_safe: |config| !holds_wide_network(&config.http.trusted_proxies),
        why: "any client may claim any address, and so have a fresh rate limit for each request",
        fix: "set [http] trusted_proxies = [\"10.0.0.7\"], the address of your proxy alone",
    },
    Check {
        key: "http.allowed_origins",
        otherwise: Unsafe,
        is_safe: |config| {
            config.http.allowed_origins.iter().all(|origin| origin.is_https() || !origin.is_web())
        },
        why: "a page that was loaded without TLS may be an attacker's, and may call with the user's cookies",
        fix: "set [http] allowed_origins = [\"https://app.example.org\"]",
    },
    Check {
        key: "http.allowed_origins",
        otherwise: Doubtful,
        is_safe: |config| {
            let own = config.http.public_origin.origin();
            config.http.allowed_origins.iter().all(|origin| own.is_same_site(origin))
        },
        why: "browsers send no session cookie from the pages of another site, so a log-in by cookie is lost there",
        fix: "let these pages log in with mode \"token\", or serve them from a name under the domain of public_origin",
    },
    Check {
        key: "token.access_ttl_secs",
        otherwise: Unsafe,
        is_safe: |config| config.token.access_ttl <= Duration::from_hours(1),
        why: "a stolen access token works this long where it is checked offline without the feed",
        fix: "set [token] access_ttl_secs = 900",
    },
    Check {
        key: "reset.ttl_secs",
        otherwise: Unsafe,
        is_safe: |config| config.reset.reset <= DAY,
        why: "a link in an old mail still sets a new password",
        fix: "set [reset] ttl_secs = 1800",
    },
    Check {
        key: "reset.mails_per_hour",
        otherwise: Unsafe,
        is_safe: |config| config.reset.mails_per_hour <= 10,
        why: "strangers can fill a mailbox",
        fix: "set [reset] mails_per_hour = 3",
    },
    Check {
        key: "reset.mails_per_network",
        otherwise: Unsafe,
        is_safe: |config| config.reset.mails_per_network <= 100,
        why: "one client can have mails sent to strangers in your name almost without a limit",
        fix: "set [reset] mails_per_network = 10",
    },
    Check {
        key: "reset.invitation_ttl_secs",
        otherwise: Unsafe,
        is_safe: |config| config.reset.invitation <= DAY * 31,
        why: "a link in an old mail sets the password of an account that nobody uses yet",
        fix: "set [reset] invitation_ttl_secs = 604800",
    },
    Check {
        key: "refresh.grace_secs",
        otherwise: Unsafe,
        is_safe: |config| config.refresh.grace <= Duration::from_mins(1),
        why: "a thief who uses a stolen refresh token within this time is not detected",
        fix: "set [refresh] grace_secs = 10",
    },
    Check {
        key: "refresh.absolute_ttl_secs",
        otherwise: Unsafe,
        is_safe: |config| config.refresh.idle <= DAY * 180 && config.refresh.absolute <= DAY * 400,
        why: "a refresh token that was stolen, or left on a lost device, works this long",
        fix: "set [refresh] idle_ttl_secs = 2592000, absolute_ttl_secs = 7776000",
    },
    Check {
        key: "session.remember_absolute_secs",
        otherwise: Unsafe,
        is_safe: |config| {
            config.session.absolute <= DAY * 31 && config.session.remember_absolute <= DAY * 400
        },
        why: "a cookie that was stolen, or left on a lost device, works this long",
        fix: "set [session] absolute_secs = 43200, remember_absolute_secs = 2592000",
    },
    Check {
        key: "signup.verify_ttl_secs",
        otherwise: Unsafe,
        is_safe: |config| config.reset.verify <= DAY * 31,
        why: "a link in an old mail proves an address that may belong to another person by then",
        fix: "set [signup] verify_ttl_secs = 86400",
    },
    Check {
        key: "password.min_length",
        otherwise: Doubtful,
        is_safe: |config| config.password.chars_min >= 15,
        why: "a password that is the only factor needs 15 characters (NIST SP 800-63B-4 §3.1.1.2)",
        fix: "set [password] min_length = 15",
    },
    Check {
        key: "session.absolute_secs",
        otherwise: Doubtful,
        is_safe: |config| config.session.absolute <= DAY * 7 && config.session.remember_absolute <= DAY * 90,
        why: "a stolen cookie works this long",
        fix: "set [session] absolute_secs = 43200, remember_absolute_secs = 2592000",
    },
    Check {
        key: "throttle.cells",
        otherwise: Doubtful,
        is_safe: |config| config.throttle.cells >= 10_000,
        why: "a flood from a few addresses fills the table, and new clients share one limit",
        fix: "set [throttle] cells = 1000000",
    },
    Check {
        key: "mail.smtp.tls",
        otherwise: Doubtful,
        is_safe: |config| !matches!(config.mail.transport, MailTransport::Smtp { tls: SmtpTls::None, .. }),
        why: "links with tokens reach the mail server on this machine in the clear; it must use TLS to send them on",
        fix: "set [mail.smtp] tls = \"starttls\"",
    },
    Check {
        key: "admin.listen",
        otherwise: Unsafe,
        is_safe: |config| !config.admin.is_open_unasked(),
        why: "every machine that reaches this address can read all metrics, without a credential",
        fix: "set [admin] listen = \"127.0.0.1:9090\"; or, where a firewall lets only your monitoring in, allow_remote = true",
    },
    Check {
        key: "keys.dir",
        otherwise: Doubtful,
        is_safe: |config| !config.keys.dir.starts_with(&config.data_dir),
        why: "a copy of the data directory holds the keys that sign tokens",
        fix: "set [keys] dir = \"/etc/portcullis/keys\", on another, encrypted volume",
    },
    Check {
        key: "http.trusted_proxies",
        otherwise: Doubtful,
        is_safe: |config| {
            let http = &config.http;
            !http.public_origin.is_https() || !http.trusted_proxies.is_empty()
        },
        why: "the public origin is https, so a proxy is in front; it is not trusted, so all clients are throttled as one",
        fix: "set [http] trusted_proxies = [\"127.0.0.1\"], the address from which your proxy connects",
    },
    Check {
        key: "http.trusted_proxies",
        otherwise: Doubtful,
        is_safe: |config| {
            let http = &config.http;
            http.public_origin.is_https()
                || !http.listen.ip().is_loopback()
                || !http.trusted_proxies.is_empty()
        },
        why: "if a proxy on this machine forwards requests, all clients are throttled as one",
        fix: "if so, set [http] trusted_proxies = [\"127.0.0.1\"]",
    },
    Check {
        key: "password.list_file",
        otherwise: Doubtful,
        is_safe: |config| cfg!(feature = "known-passwords") || config.password.list_file.is_some(),
        why: "this build has no list of known passwords, so it allows the ones that attackers try first",
        fix: "set [password] list_file = \"/etc/portcullis/passwords.txt\", or build with the feature known-passwords",
    },
    Check {
        key: "token.publish_ahead_secs",
        otherwise: Doubtful,
        is_safe: |config| config.token.publish_ahead >= JWKS_KEPT,
        why: "resource servers that cache the published keys for five minutes refuse the first tokens of a new key",
        fix: "set [token] publish_ahead_secs = 600",
    },
    Check {
        key: "alert.threshold",
        otherwise: Doubtful,
        is_safe: |config| {
            ALWAYS_ALERT
                .iter()
                .all(|event| config.alert.limits.thresholds.iter().any(|(name, _)| name == event))
        },
        why: "an attack, a stolen token or a leaked key raises no alert",
        fix: "set [alert.threshold] stuffing_suspected = 1, refresh_reused = 5, email_change_undone = 1, \
              key_retired = 1",
    },
    Check {
        key: "alert.webhook",
        otherwise: Doubtful,
        is_safe: |config| config.alert.hook.is_some(),
        why: "alerts are in the log alone, where they may go unread",
        fix: "set [alert] webhook = \"https://alerts.example.org/portcullis\", \
              secret_file = \"/etc/portcullis/alert.secret\"",
    },
];

/// Says whether each of `classes` has a rate of at most `most`.
fn limits(config: &Config, classes: &[Class], most: Rate) -> bool {
    classes.iter().all(|class| {
        let rate = config.throttle.rates.iter().find(|(known, _)| known == class).map(|(_, rate)| rate);
        rate.is_some_and(|rate| rate.burst <= most.burst && rate.per_minute <= most.per_minute)
    })
}

/// Says whether one of `networks` is so wide that it holds strangers.
fn holds_wide_network(networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.prefix_len() < 8)
}

/// Returns the settings of `config` that are unsafe where others than users of this machine reach the server.
pub fn unsafe_settings(config: &Config) -> Vec<Finding> {
    let is_unsafe = |check: &&Check| check.state(config) == State::Unsafe;
    let finding = |check: &Check| Finding { key: check.key, why: check.why.into(), fix: check.fix.into() };
    CHECKS.iter().filter(is_unsafe).map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Reader;

    fn unsafe_keys(settings: &[(&str, &str)]) -> Vec<&'static str> {
        let mut reader = Reader::new();
        for (key, value) in settings {
            reader.plain(key, value, "test");
        }
        let config = Config::from_reader(reader).unwrap();
        let found = CHECKS.iter().filter(|check| check.state(&config) == State::Unsafe);
        found.map(|check| check.key).collect()
    }

    #[test]
    fn each_defence_that_a_setting_would_switch_off_is_found() {
        let usual = unsafe_keys(&[]);
        for (key, value, found) in [
            ("lockout.max_lock_secs", "1", "lockout.max_lock_secs"),
            ("lockout.max_lock_secs", "899", "lockout.max_lock_secs"),
            ("lockout.first_lock_secs", "7200", "lockout.max_lock_secs"),
            ("lockout.cap", "1", "lockout.cap"),
            ("lockout.cap", "9", "lockout.cap"),
            ("lockout.cap", "101", "lockout.cap"),
            ("throttle.reset.burst", "1000000", "throttle.reset"),
            ("throttle.reset.per_minute", "1000000", "throttle.reset"),
            ("throttle.verify.per_minute", "1000000", "throttle.reset"),
            ("throttle.unlock.burst", "1000000", "throttle.reset"),
            ("throttle.check.per_minute", "1000000", "throttle.reset"),
            ("throttle.refresh.burst", "1000000", "throttle.refresh"),
            ("throttle.refresh.per_minute", "1000000", "throttle.refresh"),
            ("refresh.idle_ttl_secs", "315360000", "refresh.absolute_ttl_secs"),
            ("refresh.absolute_ttl_secs", "315360000", "refresh.absolute_ttl_secs"),
            ("session.absolute_secs", "315360000", "session.remember_absolute_secs"),
            ("session.remember_absolute_secs", "315360000", "session.remember_absolute_secs"),
            ("signup.verify_ttl_secs", "315360000", "signup.verify_ttl_secs"),
        ] {
            let more: Vec<_> =
                unsafe_keys(&[(key, value)]).into_iter().filter(|key| !usual.contains(key)).collect();
            assert_eq!(more, [found], "{key} = {value}");
        }
        let tight = unsafe_keys(&[("lockout.failures", "20"), ("lockout.cap", "15")]);
        assert!(tight.contains(&"lockout.cap"), "{tight:?}");
        // Generous, but still a limit.
        for (key, value) in [
            ("lockout.max_lock_secs", "900"),
            ("lockout.cap", "10"),
            ("throttle.refresh.per_minute", "6000"),
            ("refresh.absolute_ttl_secs", "31536000"),
            ("session.remember_absolute_secs", "31536000"),
        ] {
            assert_eq!(unsafe_keys(&[(key, value)]), usual, "{key} = {value}");
        }
    }
}
