//! `portcullis doctor`: the security checklist, carried out. Each line says pass, warn or fail, why, and the fix.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use portcullis::admin_socket;
use portcullis::config::{Config, SmtpTls};
use portcullis::flow::operate::Operation;
use serde_json::{Value, json};

use super::{Cli, Failure, say};

struct Line {
    state: &'static str,
    what: String,
    why: String,
    fix: String,
}

pub(super) fn run(cli: &Cli) -> Result<(), Failure> {
    let config = cli.load()?;
    let mut lines = checklist(&config);
    lines.extend(running(&config));
    let failed = lines.iter().filter(|line| line.state == "fail").count();
    if cli.json {
        let items: Vec<_> = lines
            .iter()
            .map(|line| json!({"state": line.state, "what": line.what, "why": line.why, "fix": line.fix}))
            .collect();
        say(&json!({ "items": items }).to_string());
    } else {
        for Line { state, what, why, fix } in &lines {
            say(&format!("{state}  {what}"));
            if *state != "pass" {
                say(&format!("      why: {why}\n      fix: {fix}"));
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(Failure::refused(format!("{failed} checks failed"))) }
}

fn checklist(config: &Config) -> Vec<Line> {
    let found = config.unsafe_settings();
    let public = !config.listen.ip().is_loopback() || config.public_origin.is_https();
    let mut lines: Vec<Line> = found
        .iter()
        .map(|finding| Line {
            state: if public { "fail" } else { "warn" },
            what: finding.key.to_owned(),
            why: finding.why.clone(),
            fix: finding.fix.clone(),
        })
        .collect();
    let mut say = |good: bool, what: &str, why: &str, fix: &str| {
        let state = if good { "pass" } else { "fail" };
        lines.push(Line { state, what: what.to_owned(), why: why.to_owned(), fix: fix.to_owned() });
    };
    for name in
        ["http.public_origin", "password.memory_kib", "mail.transport", "mail.console", "signup.verify_email"]
    {
        if !found.iter().any(|finding| finding.key == name) {
            say(true, name, "", "");
        }
    }
    for dir in [&config.data_dir, &config.keys_dir] {
        say(
            is_private(dir),
            &format!("{} is readable by its owner alone", dir.display()),
            "whoever reads it can forge tokens or guess passwords at leisure",
            "chmod 0700 it",
        );
    }
    let plain =
        matches!(&config.mail_transport, portcullis::config::MailTransport::Smtp { tls: SmtpTls::None, .. });
    say(
        !plain,
        "mails leave over TLS",
        "links with tokens cross to the mail server in the clear",
        "mail.smtp.tls",
    );
    lines.push(Line {
        state: "warn",
        what: String::from("keys are not sealed at rest"),
        why: String::from("a stolen copy of the keys directory signs tokens"),
        fix: String::from("keep keys.dir on another, encrypted volume"),
    });
    lines
}

/// What only a running server can know, if one runs.
fn running(config: &Config) -> Vec<Line> {
    let Ok(stream) = UnixStream::connect(admin_socket::path(&config.data_dir)) else { return Vec::new() };
    let Ok(answer) = super::user::ask(stream, &Operation::Findings) else { return Vec::new() };
    let items = answer.pointer("/ok/items").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |item: &Value, field: &str| item.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let fail = |item: &Value| Line {
        state: "fail",
        what: text(item, "key"),
        why: text(item, "why"),
        fix: text(item, "fix"),
    };
    items.iter().map(fail).collect()
}

/// A directory that is not there yet will be made with mode 0700.
fn is_private(dir: &Path) -> bool {
    std::fs::metadata(dir).map_or(true, |found| found.permissions().mode().trailing_zeros() >= 6)
}
