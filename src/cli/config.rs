//! `portcullis config check` and `portcullis config show`.

use std::io::ErrorKind;

use clap::Subcommand;
use portcullis::config::checks::{CHECKS, State, unsafe_settings};
use portcullis::config::{Config, ConfigFault, Finding, Reader, SecretFile};
use portcullis::engine::key_loading::peppers_in_file;
use portcullis::engine::partition::master;
use portcullis::password::KnownBad;
use portcullis::password::pepper::PepperError;
use portcullis::token::master::MasterError;
use portcullis::value::file_text;
use serde_json::{Value, json};

use super::{Cli, Failure, counted, mistakes, say, shown};

/// The subcommands for the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say which file and variables are read, and report every mistake at once, each with its file and line.
    ///
    /// Also reports unsafe settings with which the server would not start. Exits with 2 if there is a mistake or one of
    /// these; settings with which it would not start with --production alone are listed as well. Reads the files of secrets
    /// and lists that are named, as far as it can, but no data, and needs no server; `portcullis doctor` checks the rest.
    Check {
        /// Check for `portcullis serve --production`, which refuses unsafe settings even if only this machine reaches the
        /// server.
        #[arg(long)]
        production: bool,
    },
    /// Show the value of every key, and whether it is a default or from file, environment or flag.
    Show,
}

impl ConfigCommand {
    pub(super) fn run(self, cli: &Cli) -> Result<(), Failure> {
        let reader = cli.reader()?;
        match self {
            Self::Check { production } => check(cli, reader, production),
            Self::Show => {
                show(cli, &reader);
                Ok(())
            }
        }
    }
}

fn check(cli: &Cli, reader: Reader, production: bool) -> Result<(), Failure> {
    let (files, variables) = reader.sources();
    let read = [files, variables.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>().as_slice()].concat();
    let checked = Config::from_reader(reader);
    let (secrets, warnings) = checked.as_ref().map_or_else(|_| Default::default(), secrets);
    let checked = if secrets.is_empty() { checked } else { Err(secrets.into()) };
    let found = checked.as_ref().map(unsafe_settings).unwrap_or_default();
    let is_public = checked.as_ref().is_ok_and(|config| config.http.is_public());
    let (refused, refused_in_production) =
        if production || is_public { (found, Vec::new()) } else { (Vec::new(), found) };
    if cli.json {
        let faults = checked.as_ref().err().into_iter().flatten();
        let faults: Vec<Value> =
            faults.map(|fault| json!({"place": fault.place, "what": fault.what})).collect();
        let listed = |findings: &[Finding]| -> Vec<Value> {
            let item =
                |finding: &Finding| json!({"key": finding.key, "why": finding.why, "fix": finding.fix});
            findings.iter().map(item).collect()
        };
        let answer = json!({
            "read": read,
            "mistakes": faults,
            "warnings": warnings,
            "unsafe": listed(&refused),
            "unsafe_in_production": listed(&refused_in_production),
        });
        say(&answer.to_string());
    } else if read.is_empty() {
        say(
            "read no file (name one with --config) and no PORTCULLIS__ variable: every setting is a default or a flag",
        );
    } else {
        say(&format!("read {}", read.join(", ")));
    }
    if !cli.json {
        for warning in &warnings {
            say(&format!("warning: {warning}"));
        }
    }
    checked.map_err(|faults| mistakes(&faults))?;
    let listed = |findings: &[Finding]| {
        let line = |Finding { key, why, fix }: &Finding| format!("  {key}: {why}: {fix}");
        let lines: Vec<String> = findings.iter().map(line).collect();
        format!(
            "{} unsafe:\n{}",
            counted(findings.len() as u64, "setting is", "settings are"),
            lines.join("\n")
        )
    };
    if !refused.is_empty() {
        let place = if is_public { "since others reach it" } else { "with --production" };
        return Err(Failure::usage(format!(
            "the configuration has no mistakes, but the server would not start {place}: {}",
            listed(&refused)
        )));
    }
    if !cli.json {
        say("the configuration has no mistakes");
        if !refused_in_production.is_empty() {
            say(&format!(
                "with serve --production the server would not start: {}",
                listed(&refused_in_production)
            ));
        }
    }
    Ok(())
}

/// Reads the secrets and the lists that the configuration names, as far as they can be read here: systemd gives some to
/// the unit of the server alone. Returns the mistakes, and what looks like one.
fn secrets(config: &Config) -> (Vec<ConfigFault>, Vec<String>) {
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    let mut wrong = |key: &str, what: &dyn std::fmt::Display| {
        faults.push(ConfigFault { place: key.to_owned(), what: what.to_string() });
    };
    for (key, file) in config.secret_lines() {
        match file.read_line() {
            // A credential is there for the unit of the server alone.
            Err(error) if error.kind() == ErrorKind::InvalidData || file.resolved().is_ok() => {
                wrong(key, &error);
            }
            Ok(line) if file_text::has_blanks_around(&line) => warnings.push(format!(
                "{key}: the first line of {file} begins or ends with a blank, which counts as part of the secret"
            )),
            _ => {}
        }
    }
    match master(config) {
        Err(MasterError::Unreadable { .. }) if is_elsewhere(config.keys.master_file.as_ref()) => {}
        Ok(_) => {}
        Err(error) => wrong("keys.master_file", &error),
    }
    match peppers_in_file(config) {
        Err(PepperError::Unreadable { .. }) if is_elsewhere(config.password.pepper_file.as_ref()) => {}
        Ok(_) => {}
        Err(error) => wrong("password.pepper_file", &error),
    }
    if let Err(error) = KnownBad::load(config.password.list_file.as_deref()) {
        wrong("password.list_file", &error);
    }
    if let Some(file) = &config.log.file {
        let dir = file.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        if let Some(dir) = dir.filter(|dir| !dir.is_dir()) {
            wrong("log.file", &format!("{}: there is no directory {}", file.path.display(), dir.display()));
        }
    }
    // As the checklist does, and a start too.
    let proxies = CHECKS.iter().filter(|check| check.key == "http.trusted_proxies");
    for check in proxies.filter(|_| config.http.public_origin.is_https()) {
        if matches!(check.state(config), State::Doubtful) {
            warnings.push(format!("{}: {}: {}", check.key, check.why, check.fix));
        }
    }
    (faults, warnings)
}

/// Says whether `file` is a credential that is not here.
fn is_elsewhere(file: Option<&SecretFile>) -> bool {
    file.is_some_and(|file| file.resolved().is_err())
}

fn show(cli: &Cli, reader: &Reader) {
    if cli.json {
        let entries = reader.entries().map(|(key, entry)| (key.to_owned(), entry));
        let items = entries.chain(reader.repeated_entries()).map(|(key, entry)| match entry {
            Some((value, from)) => json!({"key": key, "value": value, "from": from}),
            None => json!({"key": key, "value": null, "from": "default"}),
        });
        return say(&json!({"items": items.collect::<Vec<_>>()}).to_string());
    }
    for line in reader.show().lines() {
        // It is relative to the directory that the server is started in.
        let dir = reader.entries().find_map(|(key, entry)| match entry {
            Some((Value::String(dir), _)) if line.starts_with("data_dir = ") && key == "data_dir" => {
                Some(dir)
            }
            _ => None,
        });
        match dir {
            Some(dir) => say(&format!("{line}, {}", shown(dir.as_ref()))),
            None => say(line),
        }
    }
}
