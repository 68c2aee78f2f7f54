//! The configuration: a file, then `PORTCULLIS__SECTION__KEY`, then flags. Works with none of them.

pub mod checks;
pub mod keys;
pub mod read;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

pub use keys::commented;
pub use read::{ConfigFault, Reader};

use crate::journal::log_file::WriteMode;
use crate::password::Cost;
use crate::password::kernel::Choice;
use crate::thread_class::Machine;
use crate::token::Scheme;
use crate::{lockout, refresh, reset, session, throttle};

/// Scheme, host and port, as an `Origin` header says it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin(String);

impl Origin {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether browsers speak TLS to it.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// What it should say where it names the port that goes without saying: browsers leave that out, so that nothing they
    /// send would ever be equal to it.
    fn rightly_spelled(&self) -> Option<&str> {
        let port = if self.is_https() { ":443" } else { ":80" };
        self.0.strip_suffix(port)
    }

    /// Of an address that is listened on.
    fn of(listen: SocketAddr) -> Self {
        let origin = Self(format!("http://{listen}"));
        Self(origin.rightly_spelled().unwrap_or(&origin.0).to_owned())
    }
}

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(())?;
        let plain = |c: char| c.is_ascii_alphanumeric() && !c.is_ascii_uppercase() || ".-:[]".contains(c);
        if host.is_empty() || !host.chars().all(plain) { Err(()) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The header that trusted proxies write. The other one is left alone: a proxy that does not know it hands on what the
/// client wrote.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses.
    XForwardedFor,
    /// `Forwarded` (RFC 7239): elements with a `for`.
    Forwarded,
}

/// How SMTP is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SmtpTls {
    /// Upgraded on a plain connection, or nothing is sent.
    Starttls,
    /// From the first byte.
    Tls,
    /// Not at all: a server on this machine.
    None,
}

/// Where mails go.
#[derive(Clone, Debug)]
pub enum MailTransport {
    /// `.eml` files.
    File,
    /// A mail server.
    Smtp {
        /// Its name.
        host: String,
        /// Its port.
        port: u16,
        /// How it is spoken to.
        tls: SmtpTls,
        /// Who logs in, and the file with the password.
        login: Option<(String, PathBuf)>,
    },
}

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

/// The configuration of one server.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the configuration, which has its words in `keys`")]
pub struct Config {
    pub data_dir: PathBuf,
    pub service_name: String,
    pub listen: SocketAddr,
    pub public_origin: Origin,
    pub trusted_proxies: Vec<IpNet>,
    pub forwarded_header: ForwardedHeader,
    pub allowed_origins: Vec<Origin>,
    pub admin_listen: Option<SocketAddr>,
    pub signup_enabled: bool,
    pub verify_email: bool,
    pub cost: Cost,
    pub hash_threads: usize,
    pub hash_kernel: Choice,
    pub machine: Machine,
    pub hash_wait_budget: Duration,
    pub password_list: Option<PathBuf>,
    pub throttle: throttle::Limits,
    pub lockout: lockout::Limits,
    pub scheme: Scheme,
    pub access_ttl: Duration,
    pub audience: String,
    pub publish_ahead: Duration,
    pub key_days: u64,
    pub refresh: refresh::Limits,
    pub session: session::Limits,
    pub reset: reset::Limits,
    pub mail_transport: MailTransport,
    pub mail_from: String,
    pub mail_console: bool,
    pub segment_bytes: u64,
    /// How entries become durable, or in the next mode that the file system can.
    pub write_mode: WriteMode,
    pub snapshot_bytes: u64,
    pub keys_dir: PathBuf,
    pub audit_dir: PathBuf,
    pub alert: Option<AlertHook>,
    pub alert_limits: AlertLimits,
}

/// An unsafe setting, why it is one, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The key.
    pub key: &'static str,
    /// Why.
    pub why: String,
    /// The fix.
    pub fix: String,
}

impl Finding {
    /// Every request comes forwarded from one peer that is not trusted.
    pub fn forgotten_proxy(proxy: std::net::IpAddr) -> Self {
        Self {
            key: "http.trusted_proxies",
            why: format!("every request is forwarded by {proxy}, so all its clients are throttled as one"),
            fix: format!("if it is your proxy, set http.trusted_proxies = [\"{proxy}\"]"),
        }
    }
}

impl Config {
    /// From what was read. All mistakes at once.
    pub fn from_reader(mut reader: Reader) -> Result<Self, Vec<ConfigFault>> {
        let config = Self::read(&mut reader);
        reader.finish().map(|()| config)
    }

    /// The defaults over a data directory: for embedding programs and tests.
    pub fn for_data_dir(data_dir: &std::path::Path) -> Result<Self, Vec<ConfigFault>> {
        let mut reader = Reader::new();
        reader.plain("data_dir", &data_dir.to_string_lossy(), "data_dir");
        Self::from_reader(reader)
    }

    fn read(reader: &mut Reader) -> Self {
        for name in ["journal.mirror_dir", "journal.encrypt", "keys.master_file"] {
            reader.not_available(name);
        }
        let scheme = match reader.choice("token.algorithm", &["ES256", "EdDSA"]).as_str() {
            "EdDSA" => Scheme::EdDsa,
            _ => Scheme::Es256,
        };
        let data_dir = PathBuf::from(reader.words("data_dir").unwrap_or_else(|| String::from("data")));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 8080));
        let listen = reader.parsed("http.listen", "an address and port").unwrap_or(loopback);
        let public_origin = reader
            .parsed("http.public_origin", "an origin such as https://login.example.org, without a path")
            .unwrap_or_else(|| Origin::of(listen));
        check_origins(reader, "http.public_origin", std::slice::from_ref(&public_origin));
        let audience = reader.words("token.audience").unwrap_or_else(|| public_origin.0.clone());
        let threads = match reader.words("password.threads") {
            Some(_) => reader.number("password.threads", 1..=1024) as usize,
            None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        };
        let cost = Cost {
            memory_kib: reader.number("password.memory_kib", 8..=262_144) as u32,
            passes: reader.number("password.passes", 1..=10) as u32,
            lanes: reader.number("password.lanes", 1..=4) as u32,
        };
        if !cost.is_bounded() {
            reader.wrong("password.memory_kib", "must be at least 8 for each lane");
        }
        let sub = |name: &str| data_dir.join(name);
        Self {
            service_name: reader.words("service_name").unwrap_or_else(|| String::from("Portcullis")),
            trusted_proxies: reader.list("http.trusted_proxies", "a network such as 10.0.0.0/8"),
            forwarded_header: match reader
                .choice("http.forwarded_header", &["x-forwarded-for", "forwarded"])
                .as_str()
            {
                "forwarded" => ForwardedHeader::Forwarded,
                _ => ForwardedHeader::XForwardedFor,
            },
            allowed_origins: read_allowed(reader),
            admin_listen: reader.parsed("admin.listen", "an address and port"),
            signup_enabled: reader.truth("signup.enabled").unwrap_or(true),
            verify_email: reader.choice("signup.verify_email", &["required", "off"]) != "off",
            cost,
            hash_threads: threads,
            hash_kernel: match reader.choice("password.implementation", &["auto", "reference"]).as_str() {
                "reference" => Choice::Reference,
                _ => Choice::Auto,
            },
            machine: if reader.truth("machine.dedicated").unwrap_or(false) {
                Machine::Dedicated
            } else {
                Machine::Shared
            },
            hash_wait_budget: Duration::from_millis(reader.number("password.wait_budget_ms", 0..=600_000)),
            password_list: reader.words("password.list_file").map(PathBuf::from),
            throttle: read_throttle(reader),
            lockout: lockout::Limits {
                failures: reader.number("lockout.failures", 1..=100) as u32,
                cap: reader.number("lockout.cap", 1..=1_000_000) as u32,
                first_lock: reader.secs("lockout.first_lock_secs"),
                max_lock: reader.secs("lockout.max_lock_secs"),
                forget: reader.secs("lockout.forget_secs"),
                names_max: 1_000_000,
            },
            scheme,
            access_ttl: reader.secs("token.access_ttl_secs"),
            audience,
            publish_ahead: Duration::from_secs(reader.number("token.publish_ahead_secs", 0..=86_400)),
            key_days: reader.number("token.key_days", 1..=3650),
            refresh: refresh::Limits {
                grace: Duration::from_secs(reader.number("refresh.grace_secs", 0..=300)),
                idle: reader.secs("refresh.idle_ttl_secs"),
                absolute: reader.secs("refresh.absolute_ttl_secs"),
            },
            session: session::Limits {
                idle: reader.secs("session.idle_secs"),
                absolute: reader.secs("session.absolute_secs"),
                remember_idle: reader.secs("session.remember_idle_secs"),
                remember_absolute: reader.secs("session.remember_absolute_secs"),
            },
            reset: reset::Limits {
                reset: reader.secs("reset.ttl_secs"),
                verify: reader.secs("signup.verify_ttl_secs"),
                mails_per_hour: reader.number("reset.mails_per_hour", 1..=1000) as u32,
            },
            mail_transport: read_mail(reader),
            mail_from: read_sender(reader),
            mail_console: reader.truth("mail.console").unwrap_or_else(|| listen.ip().is_loopback()),
            segment_bytes: read_segment(reader),
            write_mode: WriteMode::of_name(
                &reader.choice("journal.write_mode", &["auto", "direct", "dsync", "fdatasync"]),
            )
            .unwrap_or(WriteMode::Direct),
            snapshot_bytes: reader.number("journal.snapshot_bytes", 1 << 20..=1 << 40),
            keys_dir: reader.words("keys.dir").map_or_else(|| sub("keys"), PathBuf::from),
            audit_dir: reader.words("audit.dir").map_or_else(|| sub("audit"), PathBuf::from),
            alert: read_alert(reader),
            alert_limits: read_alert_limits(reader),
            data_dir,
            listen,
            public_origin,
        }
    }

    /// With the port that was really bound where the system was to choose one, in what is derived from it.
    #[must_use]
    pub fn bound_to(mut self, address: SocketAddr) -> Self {
        let derived = Origin::of(self.listen);
        if self.listen.port() == 0 && self.public_origin == derived {
            self.public_origin = Origin::of(address);
            if self.audience == derived.0 {
                self.audience.clone_from(&self.public_origin.0);
            }
        }
        self
    }

    /// What must not stand on a public address.
    pub fn unsafe_settings(&self) -> Vec<Finding> {
        let wrong = checks::checks(self).into_iter().filter(|check| check.state == checks::State::Unsafe);
        wrong.map(|check| Finding { key: check.key, why: check.why.into(), fix: check.fix.into() }).collect()
    }
}

fn read_allowed(reader: &mut Reader) -> Vec<Origin> {
    let origins = reader.list("http.allowed_origins", "an origin");
    check_origins(reader, "http.allowed_origins", &origins);
    origins
}

fn check_origins(reader: &mut Reader, key: &'static str, origins: &[Origin]) {
    for right in origins.iter().filter_map(Origin::rightly_spelled) {
        reader.wrong(key, format!("must leave out the port that browsers leave out: \"{right}\""));
    }
}

fn read_segment(reader: &mut Reader) -> u64 {
    let bytes = reader.number("journal.segment_bytes", 4 << 20..=1 << 30);
    if !bytes.is_multiple_of(4096) {
        reader.wrong("journal.segment_bytes", "must be a multiple of 4096");
    }
    bytes
}

fn read_sender(reader: &mut Reader) -> String {
    let from = reader.words("mail.from").unwrap_or_default();
    if !email_address::EmailAddress::is_valid(&from) {
        reader.wrong("mail.from", format!("must be an e-mail address, not {from:?}"));
    }
    from
}

fn read_mail(reader: &mut Reader) -> MailTransport {
    let host = reader.words("mail.smtp.host");
    let port = reader.number("mail.smtp.port", 1..=65_535) as u16;
    let tls = match reader.choice("mail.smtp.tls", &["starttls", "tls", "none"]).as_str() {
        "tls" => SmtpTls::Tls,
        "none" => SmtpTls::None,
        _ => SmtpTls::Starttls,
    };
    let login = match (reader.words("mail.smtp.username"), reader.words("mail.smtp.password_file")) {
        (Some(name), Some(file)) => Some((name, PathBuf::from(file))),
        (None, None) => None,
        _ => {
            reader.wrong("mail.smtp.username", "and `mail.smtp.password_file` belong together");
            None
        }
    };
    if reader.choice("mail.transport", &["file", "smtp"]) != "smtp" {
        return MailTransport::File;
    }
    let Some(host) = host else {
        reader.wrong("mail.transport", "is \"smtp\", but `mail.smtp.host` is not set");
        return MailTransport::File;
    };
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if tls == SmtpTls::None && !local {
        reader.wrong("mail.smtp.tls", "may be \"none\" for a server on this machine alone");
    }
    MailTransport::Smtp { host, port, tls, login }
}

fn read_alert(reader: &mut Reader) -> Option<AlertHook> {
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

fn read_alert_limits(reader: &mut Reader) -> AlertLimits {
    let thresholds = THRESHOLDS.iter().map(|(key, event)| (*event, reader.number(key, 0..=1_000_000_000)));
    let thresholds = thresholds.filter(|(_, threshold)| *threshold > 0).collect();
    AlertLimits {
        window: Duration::from_secs(reader.number("alert.window_secs", 60..=3600)),
        quiet: Duration::from_secs(reader.number("alert.quiet_secs", 60..=604_800)),
        thresholds,
    }
}

fn read_throttle(reader: &mut Reader) -> throttle::Limits {
    use throttle::table::Class;
    macro_rules! rate {
        ($class:ident, $name:literal) => {{
            let burst = reader.number(concat!("throttle.", $name, ".burst"), 1..=1_000_000) as u32;
            let per_minute = reader.number(concat!("throttle.", $name, ".per_minute"), 1..=1_000_000) as u32;
            (Class::$class, throttle::Rate { burst, per_minute })
        }};
    }
    let rates = vec![
        rate!(Login, "login"),
        rate!(Signup, "signup"),
        rate!(Refresh, "refresh"),
        rate!(Forgot, "forgot"),
        rate!(Reset, "reset"),
        rate!(Verify, "verify"),
        rate!(Unlock, "unlock"),
        rate!(Check, "check"),
    ];
    throttle::Limits {
        rates,
        cells: reader.number("throttle.cells", 1000..=100_000_000) as usize,
        exempt: reader.list("throttle.exempt_networks", "a network such as 10.0.0.0/8"),
        half_spent: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let mut reader = Reader::new();
        reader.file("p.toml", text);
        reader.environment(env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        Config::from_reader(reader).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn no_file_works_and_the_environment_goes_over_the_file() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.public_origin.as_str(), "http://127.0.0.1:8080");
        assert_eq!((config.cost, config.mail_console), (Cost::SAFE, true));
        let config = load(
            "[http]\nlisten = \"127.0.0.1:1\"\n[lockout]\nfailures = 3\n",
            &[
                ("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:2"),
                ("PORTCULLIS__HTTP__TRUSTED_PROXIES", "10.0.0.0/8, ::1/128"),
            ],
        )
        .unwrap();
        assert_eq!((config.listen.port(), config.lockout.failures), (2, 3));
        assert_eq!(config.trusted_proxies.len(), 2);
    }

    #[test]
    fn a_port_that_the_system_chose_stands_in_the_origin_unless_another_was_set() {
        let bound = "127.0.0.1:4711".parse().unwrap();
        let config = load("[http]\nlisten = \"127.0.0.1:0\"\n", &[]).unwrap().bound_to(bound);
        assert_eq!(
            (config.public_origin.as_str(), &*config.audience),
            ("http://127.0.0.1:4711", "http://127.0.0.1:4711")
        );
        for set in ["public_origin = \"http://login.test\"", "listen = \"127.0.0.1:80\""] {
            let config = load(&format!("[http]\n{set}\n"), &[]).unwrap();
            assert_eq!(config.clone().bound_to(bound).public_origin, config.public_origin);
        }
    }

    #[test]
    fn an_origin_is_spelled_as_browsers_spell_it() {
        let text = "[http]\npublic_origin = \"https://login.example.org:443\"\nallowed_origins = [\"http://a.test:80\", \
            \"https://b.test:80\", \"http://[::1]:8080\"]\n";
        assert_eq!(
            load(text, &[]).unwrap_err(),
            [
                "p.toml:2: `http.public_origin` must leave out the port that browsers leave out: \
                 \"https://login.example.org\"",
                "p.toml:3: `http.allowed_origins` must leave out the port that browsers leave out: \"http://a.test\"",
            ]
        );
        let config = load("[http]\nlisten = \"127.0.0.1:80\"\n", &[]).unwrap();
        assert_eq!(
            (config.public_origin.as_str(), &*config.audience),
            ("http://127.0.0.1", "http://127.0.0.1")
        );
    }

    #[test]
    fn every_mistake_is_named_at_once_with_its_line_and_the_nearest_key() {
        let text = "[http]\nlisten = 7\nlisen = \"x\"\n\n[lockout]\nfailures = \"many\"\ncap = -1\n[mail]\n\
            transport = \"smtp\"\n[nothing]\nx = 1\n[journal]\nencrypt = true\n";
        let faults = load(text, &[("PORTCULLIS__REFRESH__GRACE", "1")]).unwrap_err();
        for expected in [
            "p.toml:2: `http.listen` must be an address and port, not \"7\"",
            "p.toml:3: unknown key `http.lisen`; did you mean `http.listen`?",
            "p.toml:6: `lockout.failures` must be a whole number from 1 to 100",
            "p.toml:7: `lockout.cap` must be",
            "p.toml:9: `mail.transport` is \"smtp\", but `mail.smtp.host` is not set",
            "p.toml:10: unknown key `nothing`",
            "p.toml:13: `journal.encrypt` is not available in this version",
            "PORTCULLIS__REFRESH__GRACE: unknown key `refresh.grace`; did you mean `refresh.grace_secs`?",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}\n{faults:#?}");
        }
        assert_eq!(faults.len(), 8, "{faults:#?}");
        assert!(load("[http\n", &[]).unwrap_err()[0].starts_with("p.toml:1: "));
    }

    #[test]
    fn what_is_no_text_is_one_mistake_and_a_line_may_end_as_on_any_system() {
        let zeros = format!("http.listen = \"127.0.0.1:1\"\r\n# {}\n", "\0".repeat(5000));
        assert_eq!(
            load(&zeros, &[]).err().unwrap(),
            ["p.toml:2: a control character (U+0000) has no place here"]
        );
        assert_eq!(load("a\rb", &[]).err().unwrap().len(), 1);
        assert!(load("http.listen = \"127.0.0.1:1\"\r\n\tsignup.verify_email = \"off\"\r\n", &[]).is_ok());
    }

    #[test]
    fn what_init_writes_names_every_key_and_reads_back_with_and_without_its_comments() {
        let text = commented();
        assert!(load(&text, &[]).is_ok());
        let bare: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        assert!(load(&bare, &[]).is_ok(), "{:?}", load(&bare, &[]).err());
        for key in keys::KEYS {
            let last = key.name.rsplit('.').next().unwrap();
            assert!(text.contains(&format!("#{last} = ")), "{}", key.name);
        }
    }

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

    #[test]
    fn unsafe_settings_are_listed_with_their_fix() {
        let found = load("[signup]\nverify_email = \"off\"\n[password]\npasses = 1\n", &[])
            .unwrap()
            .unsafe_settings();
        let keys: Vec<_> = found.iter().map(|finding| finding.key).collect();
        assert_eq!(
            keys,
            [
                "http.public_origin",
                "password.memory_kib",
                "mail.transport",
                "mail.console",
                "signup.verify_email",
                "mail.from"
            ]
        );
        assert!(checks::checks(&load("", &[]).unwrap()).len() >= 20);
        let hook = "[alert]\nwebhook = \"http://evil.example\"\n";
        assert_eq!(load(hook, &[]).unwrap_err().len(), 2);
    }
}
