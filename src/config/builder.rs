//! The configuration, set by a program: a method for each key.
//!
//! The methods hand over values to the same [`Reader`] that reads files, so that ranges, defaults and checks are those of a file.
//! The table below names every key; a test walks the list of all keys, so that none is forgotten.

use std::ffi::OsString;
use std::path::Path;

use super::Config;
use super::fault::ConfigFaults;
use super::reader::{PLACE_OF_PROGRAM, Reader, Value};

/// Builds a [`Config`]. Every key of the configuration file has a method: [`ConfigBuilder::set`] and the methods of the
/// sections, whose names are those of the keys, with `_` for a dot.
///
/// ```
/// # fn main() -> Result<(), portcullis::StartError> {
/// use portcullis::Config;
///
/// let config = Config::builder()
///     .data_dir("auth-data")
///     .public_origin("https://example.org/auth")
///     .password(|password| password.memory_kib(65_536).passes(3))
///     .signup(|signup| signup.enabled(false))
///     .build()?;
/// # let _ = config;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ConfigBuilder {
    reader: Reader,
}

impl Config {
    /// Begins a configuration that has the default of every key.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder { reader: Reader::new() }
    }

    /// Reads a configuration from the text of a file such as `portcullis init` writes.
    ///
    /// Errors: every mistake in it, with its line and the key that was probably meant.
    pub fn from_toml_str(text: &str) -> Result<Self, ConfigFaults> {
        let mut reader = Reader::new();
        reader.file("configuration", text);
        Self::from_reader(reader)
    }
}

impl ConfigBuilder {
    /// Sets `data_dir`: the directory that holds everything the server keeps.
    #[must_use]
    pub fn data_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.reader.typed("data_dir", path(dir));
        self
    }

    /// Sets `service_name`: the name of the service in mails.
    #[must_use]
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.reader.typed("service_name", text(name));
        self
    }

    /// Sets `http.public_origin`: the origin that browsers see, such as `https://example.org`, with the path below which the
    /// API is mounted, if there is one: `https://example.org/auth`.
    #[must_use]
    pub fn public_origin(self, origin: impl Into<String>) -> Self {
        self.http(|http| http.public_origin(origin))
    }

    /// Sets the key `name`, such as `password.min_length`, to a value as an environment variable spells it: a list has commas.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.reader.plain(name, value, PLACE_OF_PROGRAM);
        self
    }

    /// Sets what the text of a configuration file sets.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Self {
        self.reader.file("configuration", text);
        self
    }

    /// Adds a `[[webhook]]`: a program that is called with the events of these types, such as `account.*`; none: all of them.
    #[must_use]
    pub fn webhook(
        mut self,
        url: impl Into<String>,
        secret_file: impl AsRef<Path>,
        events: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.reader.add_repeated(vec![
            ("webhook.url", text(url)),
            ("webhook.secret_file", path(secret_file)),
            ("webhook.events", list(events)),
        ]);
        self
    }

    /// Ends the building.
    ///
    /// Errors: every mistake, with its key.
    pub fn build(self) -> Result<Config, ConfigFaults> {
        Config::from_reader(self.reader)
    }
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

fn path(value: impl AsRef<Path>) -> Value {
    let path = value.as_ref().as_os_str();
    path.to_str().map_or_else(|| Value::Bytes(OsString::from(path)), text)
}

fn number(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn list(values: impl IntoIterator<Item = impl Into<String>>) -> Value {
    Value::List(values.into_iter().map(Into::into).collect())
}

/// Declares the method of one key.
macro_rules! method {
    ($method:ident: text = $key:literal) => {
        #[doc = concat!("Sets `", $key, "`.")]
        #[must_use]
        pub fn $method(self, value: impl Into<String>) -> Self {
            self.reader.typed($key, text(value));
            self
        }
    };
    ($method:ident: path = $key:literal) => {
        #[doc = concat!("Sets `", $key, "`.")]
        #[must_use]
        pub fn $method(self, path_of_file: impl AsRef<Path>) -> Self {
            self.reader.typed($key, path(path_of_file));
            self
        }
    };
    ($method:ident: number = $key:literal) => {
        #[doc = concat!("Sets `", $key, "`.")]
        #[must_use]
        pub fn $method(self, value: u64) -> Self {
            self.reader.typed($key, number(value));
            self
        }
    };
    ($method:ident: flag = $key:literal) => {
        #[doc = concat!("Sets `", $key, "`.")]
        #[must_use]
        pub fn $method(self, value: bool) -> Self {
            self.reader.typed($key, Value::Bool(value));
            self
        }
    };
    ($method:ident: list = $key:literal) => {
        #[doc = concat!("Sets `", $key, "`.")]
        #[must_use]
        pub fn $method(self, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
            self.reader.typed($key, list(values));
            self
        }
    };
}

/// Declares the sections: the method of the builder, the type, and a method for each key.
macro_rules! sections {
    ($($section:ident: $Section:ident = $title:literal { $($method:ident: $kind:ident = $key:literal,)+ })+) => {
        impl ConfigBuilder {
            $(
                #[doc = concat!("Sets keys of `", $title, "`.")]
                #[must_use]
                pub fn $section(
                    mut self,
                    set: impl for<'a> FnOnce($Section<'a>) -> $Section<'a>,
                ) -> Self {
                    set($Section { reader: &mut self.reader });
                    self
                }
            )+
        }

        $(
            #[doc = concat!("The keys of `", $title, "`. See `portcullis init` for what each means.")]
            #[derive(Debug)]
            pub struct $Section<'a> {
                reader: &'a mut Reader,
            }

            impl $Section<'_> {
                $(method!($method: $kind = $key);)+
            }
        )+

        /// The keys that have a method in a section.
        #[cfg(test)]
        const KEYS_OF_SECTIONS: &[(&str, &str, &str)] =
            &[$($((stringify!($section), stringify!($method), $key),)+)+];
    };
}

sections! {
    http: HttpSection = "[http]" {
        listen: text = "http.listen",
        public_origin: text = "http.public_origin",
        trusted_proxies: list = "http.trusted_proxies",
        forwarded_header: text = "http.forwarded_header",
        keep_alive_secs: number = "http.keep_alive_secs",
        allowed_origins: list = "http.allowed_origins",
    }
    admin: AdminSection = "[admin]" {
        listen: text = "admin.listen",
        allow_remote: flag = "admin.allow_remote",
    }
    machine: MachineSection = "[machine]" {
        dedicated: flag = "machine.dedicated",
    }
    signup: SignupSection = "[signup]" {
        enabled: flag = "signup.enabled",
        verify_email: text = "signup.verify_email",
        verify_ttl_secs: number = "signup.verify_ttl_secs",
        allow_local_domains: flag = "signup.allow_local_domains",
        allow_domains: list = "signup.allow_domains",
        invite_only: flag = "signup.invite_only",
    }
    password: PasswordSection = "[password]" {
        memory_kib: number = "password.memory_kib",
        passes: number = "password.passes",
        lanes: number = "password.lanes",
        threads: number = "password.threads",
        implementation: text = "password.implementation",
        wait_budget_ms: number = "password.wait_budget_ms",
        min_length: number = "password.min_length",
        pepper_file: path = "password.pepper_file",
        list_file: path = "password.list_file",
        drop_foreign_after_days: number = "password.drop_foreign_after_days",
    }
    throttle: ThrottleSection = "[throttle]" {
        exempt_networks: list = "throttle.exempt_networks",
        cells: number = "throttle.cells",
        login_burst: number = "throttle.login.burst",
        login_per_minute: number = "throttle.login.per_minute",
        signup_burst: number = "throttle.signup.burst",
        signup_per_minute: number = "throttle.signup.per_minute",
        refresh_burst: number = "throttle.refresh.burst",
        refresh_per_minute: number = "throttle.refresh.per_minute",
        forgot_burst: number = "throttle.forgot.burst",
        forgot_per_minute: number = "throttle.forgot.per_minute",
        reset_burst: number = "throttle.reset.burst",
        reset_per_minute: number = "throttle.reset.per_minute",
        verify_burst: number = "throttle.verify.burst",
        verify_per_minute: number = "throttle.verify.per_minute",
        unlock_burst: number = "throttle.unlock.burst",
        unlock_per_minute: number = "throttle.unlock.per_minute",
        check_burst: number = "throttle.check.burst",
        check_per_minute: number = "throttle.check.per_minute",
        advice_burst: number = "throttle.advice.burst",
        advice_per_minute: number = "throttle.advice.per_minute",
        rejected_burst: number = "throttle.rejected.burst",
        rejected_per_minute: number = "throttle.rejected.per_minute",
        change_burst: number = "throttle.change.burst",
        change_per_minute: number = "throttle.change.per_minute",
    }
    lockout: LockoutSection = "[lockout]" {
        failures: number = "lockout.failures",
        cap: number = "lockout.cap",
        first_lock_secs: number = "lockout.first_lock_secs",
        max_lock_secs: number = "lockout.max_lock_secs",
        forget_secs: number = "lockout.forget_secs",
    }
    token: TokenSection = "[token]" {
        algorithm: text = "token.algorithm",
        access_ttl_secs: number = "token.access_ttl_secs",
        audience: text = "token.audience",
        publish_ahead_secs: number = "token.publish_ahead_secs",
        key_days: number = "token.key_days",
        claims: list = "token.claims",
    }
    refresh: RefreshSection = "[refresh]" {
        grace_secs: number = "refresh.grace_secs",
        idle_ttl_secs: number = "refresh.idle_ttl_secs",
        absolute_ttl_secs: number = "refresh.absolute_ttl_secs",
    }
    session: SessionSection = "[session]" {
        idle_secs: number = "session.idle_secs",
        absolute_secs: number = "session.absolute_secs",
        remember_idle_secs: number = "session.remember_idle_secs",
        remember_absolute_secs: number = "session.remember_absolute_secs",
        cookie_name: text = "session.cookie_name",
    }
    reset: ResetSection = "[reset]" {
        ttl_secs: number = "reset.ttl_secs",
        invitation_ttl_secs: number = "reset.invitation_ttl_secs",
        mails_per_hour: number = "reset.mails_per_hour",
        mails_per_network: number = "reset.mails_per_network",
        mails_per_domain: number = "reset.mails_per_domain",
    }
    mail: MailSection = "[mail]" {
        transport: text = "mail.transport",
        from: text = "mail.from",
        console: flag = "mail.console",
        smtp_host: text = "mail.smtp.host",
        smtp_port: number = "mail.smtp.port",
        smtp_tls: text = "mail.smtp.tls",
        smtp_ca_file: path = "mail.smtp.ca_file",
        smtp_utf8: flag = "mail.smtp.utf8",
        smtp_username: text = "mail.smtp.username",
        smtp_password_file: path = "mail.smtp.password_file",
    }
    journal: JournalSection = "[journal]" {
        segment_bytes: number = "journal.segment_bytes",
        write_mode: text = "journal.write_mode",
        snapshot_bytes: number = "journal.snapshot_bytes",
        mirror_dir: path = "journal.mirror_dir",
        encrypt: flag = "journal.encrypt",
    }
    keys: KeysSection = "[keys]" {
        dir: path = "keys.dir",
        master_file: path = "keys.master_file",
    }
    events: EventsSection = "[events]" {
        keep_days: number = "events.keep_days",
        bytes_max: number = "events.bytes_max",
    }
    audit: AuditSection = "[audit]" {
        dir: path = "audit.dir",
        keep_days: number = "audit.keep_days",
        bytes_max: number = "audit.bytes_max",
    }
    log: LogSection = "[log]" {
        format: text = "log.format",
        file: path = "log.file",
        file_bytes_max: number = "log.file_bytes_max",
        file_count: number = "log.file_count",
    }
    alert: AlertSection = "[alert]" {
        webhook: text = "alert.webhook",
        secret_file: path = "alert.secret_file",
        window_secs: number = "alert.window_secs",
        quiet_secs: number = "alert.quiet_secs",
        threshold_stuffing_suspected: number = "alert.threshold.stuffing_suspected",
        threshold_login_failed: number = "alert.threshold.login_failed",
        threshold_login_shed: number = "alert.threshold.login_shed",
        threshold_lockout_started: number = "alert.threshold.lockout_started",
        threshold_device_demoted: number = "alert.threshold.device_demoted",
        threshold_refresh_reused: number = "alert.threshold.refresh_reused",
        threshold_token_rejected: number = "alert.threshold.token_rejected",
        threshold_csrf_rejected: number = "alert.threshold.csrf_rejected",
        threshold_request_throttled: number = "alert.threshold.request_throttled",
        threshold_email_change_undone: number = "alert.threshold.email_change_undone",
        threshold_key_retired: number = "alert.threshold.key_retired",
        threshold_hook_failed: number = "alert.threshold.hook_failed",
        threshold_webhook_disabled: number = "alert.threshold.webhook_disabled",
        threshold_events_lost: number = "alert.threshold.events_lost",
    }
    hook: HookSection = "[hook]" {
        sign_up: text = "hook.sign_up",
        claims: text = "hook.claims",
        secret_file: path = "hook.secret_file",
        on_error: text = "hook.on_error",
    }
    outbound: OutboundSection = "[outbound]" {
        allow: list = "outbound.allow",
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Form;
    use super::super::keys;
    use super::*;

    /// Kind: a key is added to the file, and a program cannot set it.
    #[test]
    fn every_key_has_a_method_that_is_named_like_it() {
        let above = ["data_dir", "service_name"];
        let declared: Vec<_> = keys::all().map(|key| key.name).collect();
        let set: Vec<_> = KEYS_OF_SECTIONS.iter().map(|(.., key)| *key).collect();
        for key in &declared {
            assert!(set.contains(key) || above.contains(key), "{key} has no row in src/config/builder.rs");
        }
        for (section, method, key) in KEYS_OF_SECTIONS {
            assert!(declared.contains(key), "{key}");
            assert_eq!(*key, format!("{section}.{}", key.split_once('.').unwrap().1), "{method}");
            assert_eq!(*method, key.split_once('.').unwrap().1.replace('.', "_"), "{key}");
        }
        assert_eq!(set.len() + above.len(), declared.len());
    }

    /// Kind: a row of the table gives a key a value of another type than the file does.
    #[test]
    fn every_method_has_the_type_of_its_key() {
        let rows = include_str!("builder.rs");
        for key in keys::all().filter(|key| key.name.contains('.')) {
            let mark = format!(" = \"{}\",", key.name);
            let row = rows.lines().find(|line| line.ends_with(&mark)).unwrap();
            let kind = row.split(": ").nth(1).unwrap().split(' ').next().unwrap();
            let expected: &[&str] = match key.form {
                Form::Flag => &["flag"],
                Form::Number { .. } => &["number"],
                Form::Text | Form::Choice(_) => &["text", "path"],
                Form::List => &["list"],
            };
            assert!(expected.contains(&kind), "{row}");
        }
    }

    #[test]
    fn what_a_program_sets_is_read_like_a_file() {
        let built = Config::builder()
            .data_dir("elsewhere")
            .service_name("Tea")
            .public_origin("https://example.org/auth")
            .http(|http| http.trusted_proxies(["10.0.0.0/8", "::1"]).keep_alive_secs(30))
            .password(|password| password.memory_kib(1024).passes(3))
            .signup(|signup| signup.enabled(false))
            .throttle(|throttle| throttle.login_burst(3))
            .toml("[session]\nidle_secs = 60\n")
            .set("http.allowed_origins", "https://a.test, https://b.test")
            .build()
            .unwrap();
        let text = "data_dir = \"elsewhere\"\nservice_name = \"Tea\"\n[http]\npublic_origin = \"https://example.org/auth\"\n\
            trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nkeep_alive_secs = 30\nallowed_origins = [\"https://a.test\", \
            \"https://b.test\"]\n[password]\nmemory_kib = 1024\npasses = 3\n[signup]\nenabled = false\n\
            [throttle.login]\nburst = 3\n[session]\nidle_secs = 60\n";
        assert_eq!(format!("{built:?}"), format!("{:?}", Config::from_toml_str(text).unwrap()));
        assert_eq!(
            format!("{:?}", Config::builder().build().unwrap()),
            format!("{:?}", Config::from_toml_str("").unwrap())
        );
    }

    #[test]
    fn every_mistake_of_a_program_is_named_at_once() {
        let built = Config::builder()
            .public_origin("example.org")
            .password(|password| password.passes(11).memory_kib(u64::MAX))
            .set("password.lenght", "8")
            .build();
        let faults: Vec<String> = built.unwrap_err().iter().map(ToString::to_string).collect();
        for expected in [
            "Config::builder(): `http.public_origin` must be an origin",
            "Config::builder(): `password.passes` must be a whole number from 1 to 10",
            "Config::builder(): `password.memory_kib` must be a whole number from 8",
            "Config::builder(): unknown key `password.lenght`",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}\n{faults:#?}");
        }
        assert_eq!(faults.len(), 4, "{faults:#?}");
        let faults = Config::from_toml_str("[http]\nlisten = 7\n").unwrap_err();
        assert!(faults[0].to_string().starts_with("configuration:2: `http.listen`"), "{faults:?}");
    }
}
