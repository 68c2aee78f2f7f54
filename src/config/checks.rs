//! The security checklist over the settings: what each is checked for, why, and the line that mends it.

use std::net::IpAddr;
use std::time::Duration;

use super::{Config, MailTransport, SmtpTls};
use crate::password::Cost;
use crate::registry::throttle::Class;
use crate::token::JWKS_KEPT;

/// How a setting stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// As it should be.
    Good,
    /// Worth a thought; the server starts.
    Doubtful,
    /// Must not stand on a public address.
    Unsafe,
}

/// One check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// The key.
    pub key: &'static str,
    /// How it stands.
    pub state: State,
    /// Why it matters.
    pub why: &'static str,
    /// What to paste into the configuration.
    pub fix: &'static str,
}

/// Events that are never part of an ordinary day in any number.
const TELLING: [&str; 4] = ["stuffing.suspected", "refresh.reused", "email.change_undone", "key.retired"];
const DAY: Duration = Duration::from_hours(24);

/// All checks of the settings alone, good ones too.
pub fn checks(config: &Config) -> Vec<Check> {
    use State::{Doubtful, Unsafe};
    let mut done = Vec::new();
    let mut check = |good: bool, otherwise: State, key, why, fix| {
        done.push(Check { key, state: if good { State::Good } else { otherwise }, why, fix });
    };
    let Cost { memory_kib, passes, .. } = config.cost;
    let everything = |networks: &[ipnet::IpNet]| networks.iter().any(|network| network.prefix_len() < 8);
    let rate = |class| config.throttle.rates.iter().find(|(known, _)| *known == class).map(|(_, rate)| *rate);
    let login = rate(Class::Login).is_some_and(|rate| rate.burst <= 100 && rate.per_minute <= 120);
    let mailing = [Class::Signup, Class::Forgot].into_iter().filter_map(rate);
    let mailing = mailing.into_iter().all(|rate| rate.burst <= 60 && rate.per_minute <= 60);
    // Offices and carriers put thousands behind one address: these are not asked for what is usual, but for what is no limit.
    let redeeming = [Class::Reset, Class::Verify, Class::Unlock, Class::Check].into_iter().filter_map(rate);
    let redeeming = redeeming.into_iter().all(|rate| rate.burst <= 300 && rate.per_minute <= 300);
    let refreshing = rate(Class::Refresh).is_some_and(|rate| rate.burst <= 6000 && rate.per_minute <= 6000);
    let lockout = &config.lockout;
    let https = config.allowed_origins.iter().all(super::Origin::is_https);
    let is_local = |address: IpAddr| address.is_loopback();
    check(
        config.public_origin.is_https(),
        Unsafe,
        "http.public_origin",
        "passwords and tokens would cross the network in the clear",
        "put a proxy with TLS in front, and set [http] public_origin = \"https://login.example.org\"",
    );
    check(
        memory_kib >= Cost::SAFE.memory_kib && passes >= Cost::SAFE.passes,
        Unsafe,
        "password.memory_kib",
        "a stolen copy would be guessed cheaply",
        "[password] memory_kib = 19456, passes = 2",
    );
    check(
        !matches!(config.mail_transport, MailTransport::File),
        Unsafe,
        "mail.transport",
        "mails are written to files and reach nobody",
        "[mail] transport = \"smtp\"; [mail.smtp] host = \"mail.example.org\"",
    );
    check(
        !config.mail_console,
        Unsafe,
        "mail.console",
        "links with tokens are shown on the console",
        "[mail] console = false",
    );
    check(
        config.verify_email,
        Unsafe,
        "signup.verify_email",
        "addresses are not proved, so anybody can take another's",
        "[signup] verify_email = \"required\"",
    );
    check(
        !config.mail_from.ends_with("localhost.localdomain"),
        Unsafe,
        "mail.from",
        "mail servers refuse this sender, so nobody can prove an address or reset a password",
        "[mail] from = \"login@example.org\"",
    );
    check(
        config.lockout.failures <= 10,
        Unsafe,
        "lockout.failures",
        "so many guesses at one account pass without a pause",
        "[lockout] failures = 5",
    );
    check(
        config.lockout.cap <= 100,
        Unsafe,
        "lockout.cap",
        "more than a hundred guesses in a row at one account (NIST SP 800-63B-4 §3.2.2)",
        "[lockout] cap = 100",
    );
    check(
        config.lockout.cap >= 10 && config.lockout.cap >= config.lockout.failures,
        Unsafe,
        "lockout.cap",
        "a few wrong passwords of a stranger stop every new device of the owner, until a mail is answered",
        "[lockout] cap = 100",
    );
    check(
        config.lockout.first_lock >= Duration::from_secs(30) && config.lockout.forget >= DAY,
        Unsafe,
        "lockout.first_lock_secs",
        "locks are too short, or forgotten too soon, to slow a guesser down",
        "[lockout] first_lock_secs = 60, forget_secs = 86400",
    );
    check(
        lockout.max_lock >= lockout.first_lock && lockout.max_lock >= Duration::from_mins(15),
        Unsafe,
        "lockout.max_lock_secs",
        "no lock lasts longer than this, so the later ones are too short to slow a guesser down",
        "[lockout] max_lock_secs = 3600",
    );
    check(
        login,
        Unsafe,
        "throttle.login",
        "one client may try names as fast as it likes",
        "[throttle.login] burst = 20, per_minute = 20",
    );
    check(
        mailing,
        Unsafe,
        "throttle.forgot",
        "one client may have mails sent as fast as it likes",
        "[throttle.forgot] burst = 10, per_minute = 10, and the same for signup",
    );
    check(
        redeeming,
        Unsafe,
        "throttle.reset",
        "one client may try links and passwords as fast as it likes",
        "[throttle.reset] burst = 20, per_minute = 20, and the same for verify, unlock and check",
    );
    check(
        refreshing,
        Unsafe,
        "throttle.refresh",
        "one client may keep the disk busy as much as it likes",
        "[throttle.refresh] burst = 120, per_minute = 240",
    );
    check(
        !everything(&config.throttle.exempt),
        Unsafe,
        "throttle.exempt_networks",
        "a network this wide exempts strangers from the limiter",
        "[throttle] exempt_networks = []",
    );
    check(
        !everything(&config.trusted_proxies),
        Unsafe,
        "http.trusted_proxies",
        "any client may say who it is, and so have a limit of its own for each request",
        "[http] trusted_proxies = [\"10.0.0.7/32\"], your proxy's address alone",
    );
    check(
        https,
        Unsafe,
        "http.allowed_origins",
        "a page that came in the clear may be another's, and may call with cookies",
        "[http] allowed_origins = [\"https://app.example.org\"]",
    );
    check(
        config.access_ttl <= Duration::from_hours(1),
        Unsafe,
        "token.access_ttl_secs",
        "where tokens are checked offline without the feed, a stolen one lives this long",
        "[token] access_ttl_secs = 900",
    );
    check(
        config.reset.reset <= DAY,
        Unsafe,
        "reset.ttl_secs",
        "a link in an old mail sets a new password",
        "[reset] ttl_secs = 1800",
    );
    check(
        config.reset.mails_per_hour <= 10,
        Unsafe,
        "reset.mails_per_hour",
        "strangers can fill a mailbox",
        "[reset] mails_per_hour = 3",
    );
    check(
        config.refresh.grace <= Duration::from_mins(1),
        Unsafe,
        "refresh.grace_secs",
        "a thief who is this quick is not found out",
        "[refresh] grace_secs = 10",
    );
    check(
        config.refresh.idle <= DAY * 180 && config.refresh.absolute <= DAY * 400,
        Unsafe,
        "refresh.absolute_ttl_secs",
        "a refresh token that was stolen, or left on a lost device, lives this long",
        "[refresh] idle_ttl_secs = 2592000, absolute_ttl_secs = 7776000",
    );
    check(
        config.session.absolute <= DAY * 31 && config.session.remember_absolute <= DAY * 400,
        Unsafe,
        "session.remember_absolute_secs",
        "a cookie that was stolen, or left on a lost device, lives this long",
        "[session] absolute_secs = 43200, remember_absolute_secs = 2592000",
    );
    check(
        config.reset.verify <= DAY * 31,
        Unsafe,
        "signup.verify_ttl_secs",
        "a link in an old mail proves an address that may be another's by then",
        "[signup] verify_ttl_secs = 86400",
    );
    check(
        config.session.absolute <= DAY * 7 && config.session.remember_absolute <= DAY * 90,
        Doubtful,
        "session.absolute_secs",
        "a cookie that was stolen lives this long",
        "[session] absolute_secs = 43200, remember_absolute_secs = 2592000",
    );
    check(
        config.throttle.cells >= 10_000,
        Doubtful,
        "throttle.cells",
        "a flood from few addresses fills the table, and newcomers share a limit",
        "[throttle] cells = 1000000",
    );
    check(
        !matches!(config.mail_transport, MailTransport::Smtp { tls: SmtpTls::None, .. }),
        Doubtful,
        "mail.smtp.tls",
        "links with tokens cross to the mail server in the clear; it is on this machine, which must send them on with TLS",
        "[mail.smtp] tls = \"starttls\"",
    );
    check(
        config.admin_listen.is_none_or(|listen| is_local(listen.ip())),
        Doubtful,
        "admin.listen",
        "whoever reaches this address reads all figures",
        "[admin] listen = \"127.0.0.1:9090\"",
    );
    check(
        !config.keys_dir.starts_with(&config.data_dir),
        Doubtful,
        "keys.dir",
        "a copy of the data directory holds the keys that sign tokens",
        "[keys] dir = \"/etc/portcullis/keys\", on another, encrypted volume",
    );
    check(
        !is_local(config.listen.ip()) || !config.trusted_proxies.is_empty(),
        Doubtful,
        "http.trusted_proxies",
        "behind a proxy on this machine all clients are throttled as one",
        "[http] trusted_proxies = [\"127.0.0.1/32\"], if a proxy is in front",
    );
    check(
        cfg!(feature = "known-passwords") || config.password_list.is_some(),
        Doubtful,
        "password.list_file",
        "this build has no list of known-bad passwords, so the first ones that are guessed are allowed",
        "[password] list_file = \"/etc/portcullis/passwords.txt\", or build with the feature known-passwords",
    );
    check(
        config.publish_ahead >= JWKS_KEPT,
        Doubtful,
        "token.publish_ahead_secs",
        "resource servers that keep the published keys for five minutes refuse the first tokens of a new one",
        "[token] publish_ahead_secs = 600",
    );
    check(
        TELLING.iter().all(|event| config.alert_limits.thresholds.iter().any(|(name, _)| name == event)),
        Doubtful,
        "alert.threshold",
        "an attack, a stolen token or a leaked key would raise no alert",
        "[alert.threshold] stuffing_suspected = 1, refresh_reused = 5, email_change_undone = 1, key_retired = 1",
    );
    check(
        config.alert.is_some(),
        Doubtful,
        "alert.webhook",
        "alerts stand in the log alone, where nobody may look",
        "[alert] webhook = \"https://alerts.example.org/portcullis\", secret_file = \"/etc/portcullis/alert.secret\"",
    );
    done
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
        let done = checks(&Config::from_reader(reader).unwrap());
        done.iter().filter(|check| check.state == State::Unsafe).map(|check| check.key).collect()
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
        // What is generous and still a limit.
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
