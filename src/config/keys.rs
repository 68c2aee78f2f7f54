//! Every key of the configuration, with its default and what it is for: the one list that reading, the environment,
//! `init` and the nearest-key hint share.

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// With its section: `http.listen`.
    pub name: &'static str,
    /// As it would stand in the file; empty when there is none.
    pub default: &'static str,
    /// For `init`.
    pub doc: &'static str,
}

const fn key(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { name, default, doc }
}

/// All of them, in the order of the file.
pub const KEYS: &[Key] = &[
    key("data_dir", "\"data\"", "Where everything is kept."),
    key("service_name", "\"Portcullis\"", "What mails call this service."),
    key("http.listen", "\"127.0.0.1:8080\"", "Address and port."),
    key(
        "http.public_origin",
        "",
        "What browsers see, such as https://login.example.org. Default: http:// and the listen address.",
    ),
    key("http.trusted_proxies", "[]", "Networks of proxies whose forwarding header is believed."),
    key(
        "http.forwarded_header",
        "\"x-forwarded-for\"",
        "The header that these proxies write, \"x-forwarded-for\" or \"forwarded\"; the other is never read.",
    ),
    key("http.allowed_origins", "[]", "Other origins whose pages may call with cookies."),
    key("admin.listen", "", "Address and port for health and metrics of operators. Default: none."),
    key(
        "machine.dedicated",
        "false",
        "true where no other busy program shares the cores: hashing then never comes up from the idle class.",
    ),
    key("signup.enabled", "true", "Whether strangers may sign up."),
    key("signup.verify_email", "\"required\"", "\"required\" or \"off\"."),
    key("signup.verify_ttl_secs", "86400", "How long the link that proves an address lives."),
    key("password.memory_kib", "19456", "Memory of one argon2id hash."),
    key("password.passes", "2", "Passes over it."),
    key("password.lanes", "1", "Lanes."),
    key("password.threads", "", "Threads that hash. Default: the cores."),
    key(
        "password.implementation",
        "\"auto\"",
        "\"auto\": vector instructions where they pass their test; \"reference\": the argon2 crate.",
    ),
    key("password.wait_budget_ms", "2000", "A password that would wait longer is refused at once."),
    key(
        "password.list_file",
        "",
        "A file of passwords that are refused as known, one a line, beside the embedded ones.",
    ),
    key("throttle.exempt_networks", "[]", "Networks that are not throttled."),
    key("throttle.cells", "1000000", "Networks that are remembered at most."),
    key("throttle.login.burst", "20", "Requests of one network at once."),
    key("throttle.login.per_minute", "20", "Then so many a minute."),
    key("throttle.signup.burst", "10", ""),
    key("throttle.signup.per_minute", "10", ""),
    key("throttle.refresh.burst", "120", ""),
    key("throttle.refresh.per_minute", "240", ""),
    key("throttle.forgot.burst", "10", ""),
    key("throttle.forgot.per_minute", "10", ""),
    key("throttle.reset.burst", "20", ""),
    key("throttle.reset.per_minute", "20", ""),
    key("throttle.verify.burst", "20", ""),
    key("throttle.verify.per_minute", "20", ""),
    key("throttle.unlock.burst", "20", ""),
    key("throttle.unlock.per_minute", "20", ""),
    key("throttle.check.burst", "20", ""),
    key("throttle.check.per_minute", "20", ""),
    key("lockout.failures", "5", "Wrong passwords that lock a name for unknown devices."),
    key("lockout.cap", "100", "Consecutive failures after which only the owner's own ways are left."),
    key("lockout.first_lock_secs", "60", "The first lock; each further failure doubles it."),
    key("lockout.max_lock_secs", "3600", "The longest lock."),
    key("lockout.forget_secs", "86400", "After so long without a failure all is forgotten."),
    key(
        "token.algorithm",
        "\"ES256\"",
        "How access tokens are signed: \"ES256\" or \"EdDSA\". After a change the keys of before check on.",
    ),
    key("token.access_ttl_secs", "900", "How long an access token lives at most."),
    key("token.audience", "", "For whom access tokens are. Default: the public origin."),
    key(
        "token.publish_ahead_secs",
        "600",
        "A new signing key is published so long before it signs: longer than others keep the published keys.",
    ),
    key("token.key_days", "30", "Age at which `doctor` asks for a new signing key."),
    key("refresh.grace_secs", "10", "While a spent refresh token returns the same successor."),
    key("refresh.idle_ttl_secs", "2592000", "How long a refresh token lives unused."),
    key("refresh.absolute_ttl_secs", "7776000", "How long a log-in lives at most."),
    key("session.idle_secs", "1800", "How long a browser session lives unused."),
    key("session.absolute_secs", "43200", "How long it lives at most."),
    key("session.remember_idle_secs", "1209600", "The same where the browser is to remember it."),
    key("session.remember_absolute_secs", "2592000", ""),
    key("reset.ttl_secs", "1800", "How long a link to set a new password lives."),
    key("reset.mails_per_hour", "3", "Mails of one kind to one account in an hour."),
    key("mail.transport", "\"file\"", "\"file\" writes .eml files into data/outbox, \"smtp\" sends."),
    key("mail.from", "\"portcullis@localhost.localdomain\"", "The sender."),
    key("mail.console", "", "Whether links are also shown on the console. Default: only on loopback."),
    key("mail.smtp.host", "", "The mail server."),
    key("mail.smtp.port", "587", ""),
    key("mail.smtp.tls", "\"starttls\"", "\"starttls\", \"tls\", or \"none\" for a server on this machine."),
    key("mail.smtp.username", "", ""),
    key("mail.smtp.password_file", "", "A file whose first line is the password."),
    key("journal.segment_bytes", "16777216", "Bytes of one file of the journal."),
    key(
        "journal.write_mode",
        "\"auto\"",
        "How entries become durable: \"direct\" (past the page cache), \"dsync\", \"fdatasync\", or \"auto\", the first of \
         them that the file system can.",
    ),
    key("journal.snapshot_bytes", "67108864", "Journal bytes after which a snapshot is taken."),
    key("journal.mirror_dir", "", "Not available in this version."),
    key("journal.encrypt", "false", "Not available in this version."),
    key("keys.dir", "", "Where keys are kept. Default: keys in the data directory."),
    key("keys.master_file", "", "Not available in this version."),
    key("audit.dir", "", "Where security events are kept. Default: audit in the data directory."),
    key(
        "alert.webhook",
        "",
        "What is called when something happens too often: https://, or http:// to this machine.",
    ),
    key("alert.secret_file", "", "A file whose first line signs these calls (HMAC-SHA-256)."),
    key("alert.window_secs", "600", "Events are counted over this."),
    key("alert.quiet_secs", "1800", "The same alert is not raised again within this."),
    key(
        "alert.threshold.stuffing_suspected",
        "1",
        "So many of an event within the window raise an alert, in the log and by the webhook; 0: never.",
    ),
    key("alert.threshold.login_failed", "500", ""),
    key("alert.threshold.login_shed", "100", ""),
    key("alert.threshold.lockout_started", "20", ""),
    key("alert.threshold.device_demoted", "10", ""),
    key("alert.threshold.refresh_reused", "5", ""),
    key("alert.threshold.token_rejected", "200", ""),
    key("alert.threshold.csrf_rejected", "50", ""),
    key("alert.threshold.request_throttled", "10000", ""),
    key("alert.threshold.email_change_undone", "1", ""),
    key("alert.threshold.key_retired", "1", ""),
];

/// The known key nearest to an unknown one, if any is near.
pub fn nearest(unknown: &str) -> Option<&'static str> {
    let near = KEYS.iter().map(|key| (strsim::jaro_winkler(unknown, key.name), key.name));
    let best = near.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(likeness, _)| *likeness > 0.8).map(|(_, name)| name)
}

/// The file that `init` writes: every key with its default, commented out.
pub fn commented() -> String {
    let mut out =
        String::from("# Portcullis. Every key stands here with its default; remove the # to change one.\n");
    let mut section = "";
    for Key { name, default, doc } in KEYS {
        let (of, last) = name.rsplit_once('.').unwrap_or(("", name));
        if of != section {
            section = of;
            out.push_str(&format!("\n[{section}]\n"));
        }
        if !doc.is_empty() {
            out.push_str(&format!("# {doc}\n"));
        }
        let shown = if default.is_empty() { "\"\"" } else { default };
        out.push_str(&format!("#{last} = {shown}\n"));
    }
    out
}
