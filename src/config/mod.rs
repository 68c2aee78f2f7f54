#![doc = include_str!("README.md")]

pub mod builder;
pub mod checks;
mod fault;
mod finding;
pub mod key;
pub mod keys;
mod origin;
mod public_url;
pub mod reader;
mod repeated;
mod secret_file;
pub mod sections;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use builder::ConfigBuilder;
pub use fault::{ConfigFault, ConfigFaults};
pub use keys::commented;
pub use origin::Origin;
pub use public_url::PublicUrl;
pub use reader::Reader;
pub use secret_file::SecretFile;
pub use sections::alert::{AlertHook, AlertLimits};
pub use sections::hook::OnHookError;
pub use sections::http::ForwardedHeader;
pub use sections::log::{LogFile, LogFormat};
pub use sections::mail::{MailTransport, Sender, SmtpTls};
pub use sections::outbound::Outbound;

use crate::registry::{lockout, refresh, reset, session, throttle};
use crate::system::scheduling::Machine;
pub use finding::Finding;
use sections::admin::Admin;
use sections::alert::Alert;
use sections::audit::Audit;
use sections::events::Events;
use sections::events::webhook;
use sections::hook::Hook;
use sections::http::Http;
use sections::journal::Journal;
use sections::keys::Keys;
use sections::log::Log;
use sections::mail::Mail;
use sections::password::Password;
use sections::session::{CookieNames, cookie_names};
use sections::signup::Signup;
use sections::token::Token;

/// The configuration of one server: a field for each section. It holds no secrets, only the paths of files with
/// secrets.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory that holds everything the server keeps.
    #[doc(hidden)]
    pub data_dir: PathBuf,
    /// Name of this service in mails.
    #[doc(hidden)]
    pub service_name: String,
    /// `[http]`.
    #[doc(hidden)]
    pub http: Http,
    /// `[admin]`.
    #[doc(hidden)]
    pub admin: Admin,
    /// `[machine]`.
    #[doc(hidden)]
    pub machine: Machine,
    /// `[signup]`.
    #[doc(hidden)]
    pub signup: Signup,
    /// `[password]`.
    #[doc(hidden)]
    pub password: Password,
    /// `[throttle]`.
    #[doc(hidden)]
    pub throttle: throttle::Limits,
    /// `[lockout]`.
    #[doc(hidden)]
    pub lockout: lockout::Limits,
    /// `[token]`.
    #[doc(hidden)]
    pub token: Token,
    /// `[refresh]`.
    #[doc(hidden)]
    pub refresh: refresh::Limits,
    /// `[session]`: the lifetimes.
    #[doc(hidden)]
    pub session: session::Limits,
    /// `[session]`: the names of the cookies.
    #[doc(hidden)]
    pub cookies: CookieNames,
    /// `[reset]`.
    #[doc(hidden)]
    pub reset: reset::Limits,
    /// `[mail]`.
    #[doc(hidden)]
    pub mail: Mail,
    /// `[journal]`.
    #[doc(hidden)]
    pub journal: Journal,
    /// `[keys]`.
    #[doc(hidden)]
    pub keys: Keys,
    /// `[audit]`.
    #[doc(hidden)]
    pub audit: Audit,
    /// `[events]`.
    #[doc(hidden)]
    pub events: Events,
    /// Every `[[webhook]]`.
    #[doc(hidden)]
    pub webhooks: Vec<webhook::Webhook>,
    /// `[log]`.
    #[doc(hidden)]
    pub log: Log,
    /// `[alert]`.
    #[doc(hidden)]
    pub alert: Alert,
    /// `[hook]`.
    #[doc(hidden)]
    pub hook: Hook,
    /// `[outbound]`.
    #[doc(hidden)]
    pub outbound: Outbound,
}

impl Config {
    /// Creates a configuration from the values of `reader`.
    ///
    /// Errors: every mistake in them.
    #[doc(hidden)]
    pub fn from_reader(mut reader: Reader) -> Result<Self, ConfigFaults> {
        let config = Self::read(&mut reader);
        reader.finish().map(|()| config)
    }

    /// Creates the default configuration over `data_dir`, for embedding programs and tests.
    pub fn for_data_dir(data_dir: &Path) -> Result<Self, ConfigFaults> {
        let mut reader = Reader::new();
        reader.system("data_dir", data_dir.as_os_str(), "data_dir");
        Self::from_reader(reader)
    }

    /// Reads every section. Defaults that derive from another section are passed in.
    fn read(reader: &mut Reader) -> Self {
        let data_dir = sections::top_level::data_dir(reader);
        let service_name = sections::top_level::service_name(reader);
        let http = Http::read(reader);
        let outbound = Outbound::read(reader);
        Self {
            admin: Admin::read(reader, http.listen),
            machine: sections::machine::read(reader),
            signup: Signup::read(reader),
            password: Password::read(reader),
            throttle: sections::throttle::read(reader),
            lockout: sections::lockout::read(reader),
            token: Token::read(reader, &http.public_origin),
            refresh: sections::refresh::read(reader),
            session: sections::session::read(reader),
            cookies: cookie_names(reader, http.public_origin.is_https()),
            reset: sections::reset::read(reader),
            mail: Mail::read(reader, http.is_public()),
            journal: Journal::read(reader),
            keys: Keys::read(reader, &data_dir),
            audit: Audit::read(reader, &data_dir),
            events: Events::read(reader),
            log: Log::read(reader),
            alert: Alert::read(reader, &outbound),
            hook: Hook::read(reader, &outbound),
            webhooks: webhook::read(reader, &outbound),
            outbound,
            data_dir,
            service_name,
            http,
        }
    }

    /// Returns every key whose file holds a secret in its first line, with the file.
    #[doc(hidden)]
    pub fn secret_lines(&self) -> Vec<(&'static str, &SecretFile)> {
        let mut files = Vec::new();
        if let MailTransport::Smtp { login: Some((_, file)), .. } = &self.mail.transport {
            files.push(("mail.smtp.password_file", file));
        }
        files.extend(self.alert.hook.as_ref().map(|hook| ("alert.secret_file", &hook.secret_file)));
        files.extend(self.hook.secret().map(|file| ("hook.secret_file", file)));
        files.extend(self.webhooks.iter().map(|webhook| ("webhook.secret_file", &webhook.secret_file)));
        files
    }

    /// Returns the configuration with `address`, the address that was bound, in place of a port that the system was to
    /// choose (port 0), in every setting that is derived from it.
    #[must_use]
    pub fn with_bound_address(mut self, address: SocketAddr) -> Self {
        let derived = PublicUrl::from(Origin::of(self.http.listen));
        if self.http.listen.port() == 0 && self.http.public_origin == derived {
            self.http.public_origin = Origin::of(address).into();
            if self.token.audience == derived.as_str() {
                self.http.public_origin.as_str().clone_into(&mut self.token.audience);
            }
        }
        self
    }
}

impl Reader {
    /// Creates a reader that holds the defaults of every key.
    pub fn new() -> Self {
        Self::over(sections::SECTIONS).repeating(webhook::SECTION, webhook::KEYS)
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
impl Config {
    /// Returns the configuration of a unit test that starts an engine over `dir`: cheap hashes, a small rate limiter, and
    /// `more` settings.
    pub(crate) fn for_unit_tests(dir: &Path, more: &[(&str, &str)]) -> Self {
        let mut reader = Reader::new();
        let data_dir = dir.to_string_lossy();
        let usual = [
            ("data_dir", &*data_dir),
            ("password.memory_kib", "64"),
            ("password.passes", "1"),
            ("password.threads", "1"),
            ("throttle.cells", "1000"),
            ("mail.console", "false"),
        ];
        for (key, value) in usual.iter().chain(more) {
            reader.plain(key, value, "test");
        }
        Self::from_reader(reader).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::key::Form;
    use super::*;
    use crate::password::Cost;

    pub(in crate::config) fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let mut reader = Reader::new();
        reader.file("p.toml", text);
        reader.environment(env.iter().copied());
        Config::from_reader(reader).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn no_file_works_and_the_environment_goes_over_the_file() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.http.public_origin.as_str(), "http://127.0.0.1:8080");
        assert_eq!(config.password.cost, Cost::SAFE);
        assert!(config.mail.console);
        // Behind a proxy the server listens on loopback too, but its console is read by operators, not by users.
        for origin in ["https://login.example.org", "http://login.example.org"] {
            let config = load(&format!("[http]\npublic_origin = \"{origin}\"\n"), &[]).unwrap();
            assert!(!config.mail.console, "{origin}");
        }
        let config = load(
            "[http]\nlisten = \"127.0.0.1:1\"\n[lockout]\nfailures = 3\n",
            &[
                ("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:2"),
                ("PORTCULLIS__HTTP__TRUSTED_PROXIES", "10.0.0.0/8, ::1/128"),
            ],
        )
        .unwrap();
        assert_eq!(config.http.listen.port(), 2);
        assert_eq!(config.lockout.failures, 3);
        assert_eq!(config.http.trusted_proxies.len(), 2);
    }

    #[test]
    fn a_port_that_the_system_chose_is_in_the_origin_unless_another_was_set() {
        let bound = "127.0.0.1:4711".parse().unwrap();
        let config = load("[http]\nlisten = \"127.0.0.1:0\"\n", &[]).unwrap().with_bound_address(bound);
        assert_eq!(config.http.public_origin.as_str(), "http://127.0.0.1:4711");
        assert_eq!(config.token.audience, "http://127.0.0.1:4711");
        for set in ["public_origin = \"http://login.test\"", "listen = \"127.0.0.1:80\""] {
            let config = load(&format!("[http]\n{set}\n"), &[]).unwrap();
            assert_eq!(
                config.clone().with_bound_address(bound).http.public_origin,
                config.http.public_origin
            );
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
            "p.toml:10: unknown section `[nothing]`",
            "p.toml:13: `journal.encrypt` is not available in this version",
            "PORTCULLIS__REFRESH__GRACE: unknown key `refresh.grace`; did you mean `refresh.grace_secs`?",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}\n{faults:#?}");
        }
        assert_eq!(faults.len(), 8, "{faults:#?}");
        assert!(load("[http\n", &[]).unwrap_err()[0].starts_with("p.toml:1: "));
    }

    /// Kind: a value from the environment is judged by its look instead of by its key.
    #[test]
    fn a_value_of_the_environment_has_the_type_of_its_key() {
        let text = |value: &str| load("", &[("PORTCULLIS__SERVICE_NAME", value)]).unwrap().service_name;
        for value in ["007", "+7", "true", "false", "7", "1e3", "-0"] {
            assert_eq!(text(value), value);
        }
        let smtp = [
            ("PORTCULLIS__MAIL__TRANSPORT", "smtp"),
            ("PORTCULLIS__MAIL__SMTP__HOST", "mail.example.org"),
            ("PORTCULLIS__MAIL__SMTP__USERNAME", "0042"),
            ("PORTCULLIS__MAIL__SMTP__PASSWORD_FILE", "true"),
        ];
        let MailTransport::Smtp { login, .. } = load("", &smtp).unwrap().mail.transport else { panic!() };
        assert_eq!(login, Some((String::from("0042"), SecretFile::Path(PathBuf::from("true")))));
        for (variable, value, wrong) in [
            (
                "PORTCULLIS__PASSWORD__THREADS",
                "true",
                "`password.threads` must be a whole number from 1 to 1024",
            ),
            (
                "PORTCULLIS__PASSWORD__THREADS",
                "many",
                "`password.threads` must be a whole number from 1 to 1024",
            ),
            ("PORTCULLIS__LOCKOUT__CAP", "", "`lockout.cap` is empty: give it a value, or unset"),
            ("PORTCULLIS__SIGNUP__ENABLED", "", "`signup.enabled` is empty: give it a value, or unset"),
            ("PORTCULLIS__SIGNUP__ENABLED", "1", "`signup.enabled` must be true or false"),
            ("PORTCULLIS__SIGNUP__ENABLED", "yes", "`signup.enabled` must be true or false"),
            ("PORTCULLIS__SIGNUP__VERIFY_EMAIL", "false", "`signup.verify_email` must be one of"),
        ] {
            let faults = load("", &[(variable, value)]).unwrap_err();
            assert!(faults[0].starts_with(&format!("{variable}: {wrong}")), "{value}: {faults:?}");
            assert_eq!(faults.len(), 1, "{value}: {faults:?}");
        }
        assert_eq!(
            load("[password]\nthreads = true\n", &[]).unwrap_err(),
            ["p.toml:2: `password.threads` must be a whole number from 1 to 1024"]
        );
        // As the file of `portcullis init` writes a key that is derived.
        assert!(load("[password]\nthreads = \"\"\n", &[("PORTCULLIS__PASSWORD__THREADS", "")]).is_ok());
    }

    /// Kind: a setting is passed over without a word.
    #[test]
    fn a_variable_that_is_nearly_ours_is_a_mistake_with_the_right_spelling() {
        for (variable, right) in [
            ("PORTCULLIS_HTTP_LISTEN", "PORTCULLIS__HTTP__LISTEN"),
            ("PORTCULLIS_HTTP__LISTEN", "PORTCULLIS__HTTP__LISTEN"),
            ("portcullis__http__listen", "PORTCULLIS__HTTP__LISTEN"),
            ("PORTCULLIS.HTTP.LISTEN", "PORTCULLIS__HTTP__LISTEN"),
            ("PORTCULLISHTTPLISTEN", "PORTCULLIS__HTTP__LISTEN"),
            ("PORTCULLIS_HTTP_LISTN", "PORTCULLIS__HTTP__LISTEN"),
            ("PORTCULLIS_DATA_DIR", "PORTCULLIS__DATA_DIR"),
            ("PORTCULLIS_LOCKOUT_CAP", "PORTCULLIS__LOCKOUT__CAP"),
            ("PORTCULLIS_MAIL_SMTP_HOST", "PORTCULLIS__MAIL__SMTP__HOST"),
        ] {
            let expected = format!("{variable}: is passed over; did you mean `{right}`?");
            assert_eq!(load("", &[(variable, "x")]).unwrap_err(), [expected]);
        }
        for variable in ["PORTCULLIS_CONFIG", "portcullis_config", "PORTCULLIS_CONFIG_FILE"] {
            let faults = load("", &[(variable, "x")]).unwrap_err();
            assert_eq!(faults, [format!("{variable}: is passed over; name the file with `--config FILE`")]);
        }
        let unknown = load("", &[("PORTCULLIS__HTTP_LISTEN", "x")]).unwrap_err();
        assert!(unknown[0].contains("did you mean `http.listen`?"), "{unknown:?}");
        // What Kubernetes sets for a service of our name, and what is nobody's key.
        for variable in [
            "PORTCULLIS_SERVICE_HOST",
            "PORTCULLIS_SERVICE_PORT",
            "PORTCULLIS_SERVICE_PORT_HTTP",
            "PORTCULLIS_PORT",
            "PORTCULLIS_PORT_8080_TCP",
            "PORTCULLIS_PORT_8080_TCP_ADDR",
            "PORTCULLIS_PORT_8080_TCP_PORT",
            "PORTCULLIS_PORT_8080_TCP_PROTO",
            "PORTCULLIS_PANIC_IN",
            "PORTCULLIS_TRACEABLE",
            "PORTCULLIS_VERSION",
            "PORTCULLIS",
            "HTTP_LISTEN",
        ] {
            assert!(load("", &[(variable, "x")]).is_ok(), "{variable}");
        }
    }

    /// Kind: one mistake is reported twice, since two sections read the key.
    #[test]
    fn a_wrong_value_is_one_mistake_whatever_the_key() {
        for key in keys::all() {
            let wrong = match key.form {
                Form::Number { .. } | Form::Flag => "\"?\"",
                Form::List | Form::Choice(_) => "true",
                Form::Text => "[\"?\"]",
            };
            let (section, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
            let head = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
            let loaded = load(&format!("{head}{name} = {wrong}\n"), &[]);
            let faults = loaded.err().unwrap_or_else(|| panic!("{} takes {wrong}", key.name));
            let of_key = faults.iter().filter(|fault| fault.contains(&format!("`{}` ", key.name))).count();
            assert_eq!(of_key, 1, "{}: {faults:#?}", key.name);
        }
    }

    #[test]
    fn a_network_may_be_a_single_address() {
        let text = "[http]\ntrusted_proxies = [\"10.0.0.7\", \"2001:db8::7\", \"::ffff:10.0.0.8\", \"10.1.0.0/16\"]\n";
        let networks = load(text, &[]).unwrap().http.trusted_proxies;
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.7/32", "2001:db8::7/128", "10.0.0.8/32", "10.1.0.0/16"]);
        let exempt = [("PORTCULLIS__THROTTLE__EXEMPT_NETWORKS", "127.0.0.1, ::1")];
        assert_eq!(load("", &exempt).unwrap().throttle.exempt.len(), 2);
        let faults = load("[http]\ntrusted_proxies = [\"10.0.0\", \"proxy\"]\n", &[]).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("an address or a network such as 10.0.0.0/8"), "{faults:?}");
    }

    #[test]
    fn a_binary_file_is_one_mistake_and_lines_may_end_with_cr_lf() {
        let zeros = format!("http.listen = \"127.0.0.1:1\"\r\n# {}\n", "\0".repeat(5000));
        assert_eq!(
            load(&zeros, &[]).err().unwrap(),
            ["p.toml:2: a control character (U+0000) has no place here"]
        );
        assert_eq!(load("a\rb", &[]).err().unwrap().len(), 1);
        assert!(load("http.listen = \"127.0.0.1:1\"\r\n\tsignup.verify_email = \"off\"\r\n", &[]).is_ok());
    }

    #[test]
    fn init_writes_every_key_and_its_file_can_be_read_back() {
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
        for key in keys::all() {
            let last = key.name.rsplit('.').next().unwrap();
            assert!(text.contains(&format!("#{last} = ")), "{}", key.name);
        }
    }

    #[test]
    fn unsafe_settings_are_listed_with_their_fix() {
        let config = load("[signup]\nverify_email = \"off\"\n[password]\npasses = 1\n", &[]).unwrap();
        let found = checks::unsafe_settings(&config);
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
        assert!(checks::CHECKS.len() >= 20);
        let hook = "[alert]\nwebhook = \"http://evil.example\"\n";
        assert_eq!(load(hook, &[]).unwrap_err().len(), 2);
    }

    #[test]
    fn every_default_fits_its_key_and_no_name_is_declared_twice() {
        let mut names = std::collections::HashSet::new();
        for key in keys::all() {
            assert!(names.insert(key.name), "{}", key.name);
            let is_valid = match key.form {
                _ if key.default.is_empty() => true,
                Form::Text => key.default.starts_with('"'),
                Form::Flag => key.default.parse::<bool>().is_ok(),
                Form::Number { min, max } => {
                    key.default.parse().is_ok_and(|value: u64| (min..=max).contains(&value))
                }
                Form::Choice(choices) => choices.contains(&key.default.trim_matches('"')),
                Form::List => key.default == "[]",
            };
            assert!(is_valid, "{} = {}", key.name, key.default);
        }
    }
}
