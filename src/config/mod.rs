//! The configuration: a file, then `PORTCULLIS__SECTION__KEY`, then flags. Works with none of them.

mod alert;
pub mod checks;
pub mod keys;
mod mail;
mod origin;
pub mod read;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use alert::{AlertHook, AlertLimits};
pub use keys::commented;
pub use mail::{MailTransport, SmtpTls};
pub use origin::Origin;
pub use read::{ConfigFault, Reader};

use crate::password::Cost;
use crate::password::argon2id::Choice;
use crate::registry::{lockout, refresh, reset, session, throttle};
use crate::storage::write_mode::WriteMode;
use crate::system::scheduling::Machine;
use crate::token::Scheme;

/// The header that trusted proxies write. The other one is left alone: a proxy that does not know it hands on what the
/// client wrote.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses.
    XForwardedFor,
    /// `Forwarded` (RFC 7239): elements with a `for`.
    Forwarded,
}

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
        origin::check(reader, "http.public_origin", std::slice::from_ref(&public_origin));
        let audience = reader.words("token.audience").unwrap_or_else(|| public_origin.to_string());
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
            allowed_origins: origin::allowed(reader),
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
            mail_transport: mail::transport(reader),
            mail_from: mail::sender(reader),
            mail_console: reader.truth("mail.console").unwrap_or_else(|| listen.ip().is_loopback()),
            segment_bytes: read_segment(reader),
            write_mode: WriteMode::of_name(
                &reader.choice("journal.write_mode", &["auto", "direct", "dsync", "fdatasync"]),
            )
            .unwrap_or(WriteMode::Direct),
            snapshot_bytes: reader.number("journal.snapshot_bytes", 1 << 20..=1 << 40),
            keys_dir: reader.words("keys.dir").map_or_else(|| sub("keys"), PathBuf::from),
            audit_dir: reader.words("audit.dir").map_or_else(|| sub("audit"), PathBuf::from),
            alert: alert::hook(reader),
            alert_limits: alert::limits(reader),
            data_dir,
            listen,
            public_origin,
        }
    }

    /// With the port that was really bound where the system was to choose one, in what is derived from it.
    #[must_use]
    pub fn with_bound_address(mut self, address: SocketAddr) -> Self {
        let derived = Origin::of(self.listen);
        if self.listen.port() == 0 && self.public_origin == derived {
            self.public_origin = Origin::of(address);
            if self.audience == derived.as_str() {
                self.public_origin.as_str().clone_into(&mut self.audience);
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

fn read_segment(reader: &mut Reader) -> u64 {
    let bytes = reader.number("journal.segment_bytes", 4 << 20..=1 << 30);
    if !bytes.is_multiple_of(4096) {
        reader.wrong("journal.segment_bytes", "must be a multiple of 4096");
    }
    bytes
}

fn read_throttle(reader: &mut Reader) -> throttle::Limits {
    use throttle::class::Class;
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

    pub(super) fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
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
        let config = load("[http]\nlisten = \"127.0.0.1:0\"\n", &[]).unwrap().with_bound_address(bound);
        assert_eq!(
            (config.public_origin.as_str(), &*config.audience),
            ("http://127.0.0.1:4711", "http://127.0.0.1:4711")
        );
        for set in ["public_origin = \"http://login.test\"", "listen = \"127.0.0.1:80\""] {
            let config = load(&format!("[http]\n{set}\n"), &[]).unwrap();
            assert_eq!(config.clone().with_bound_address(bound).public_origin, config.public_origin);
        }
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
