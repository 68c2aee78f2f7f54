#![doc = include_str!("README.md")]

mod api_key;
mod audit;
mod bench;
mod config;
mod data;
mod delivery;
mod doctor;
mod health;
mod init;
mod key;
mod log;
mod new_directory;
mod operate;
mod print;
mod printable;
mod remembered;
mod serve;
mod session;
mod table;
mod user;

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use portcullis::config::{Config, ConfigFault, Reader};
use portcullis::engine::StartError;
use portcullis::system::bounded_file;
use portcullis::system::file_error::{FileError, at_dir};
use portcullis::value::counted::counted;
use serde_json::{Value, json};

use self::printable::printable;

/// The most bytes of a configuration file.
const CONFIG_BYTES_MAX: usize = 1 << 20;
/// The exit codes, for the help of the program.
const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   refused: the message says why and what to do
  2   wrong usage, or a mistake in the configuration
  3   no server answers
  70  internal fault

With --json, a result is JSON on standard output, and a failure is one line on standard error:
{\"error\": the reason, \"code\": the exit code}";

/// Run and operate Portcullis, a hardened authentication server in one binary, with no database to run.
///
/// Without a command it serves, on http://127.0.0.1:8080, and keeps its data in ./data. Settings come from the file
/// given by --config, then from PORTCULLIS__SECTION__KEY variables, then from flags.
#[derive(Debug, Parser)]
#[command(name = "portcullis", bin_name = "portcullis", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Read the configuration from this file (`portcullis init` writes one).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keep everything in this directory, instead of `data_dir` of the configuration.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until SIGTERM, SIGINT or SIGQUIT (the default command).
    ///
    /// Recovers the data directory, or creates it, then listens. Refuses unsafe settings on a public address. Exits
    /// with 0 after a signal, 1 if the directory cannot be used, 2 if the configuration is wrong or unsafe, 70 after a
    /// fault. A second signal ends it at once, with 1.
    Serve(serve::Serve),
    /// Write a configuration file that lists every key with its default.
    Init(init::Init),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Go through the security checklist: settings, files, memory, audit log.
    ///
    /// Prints one line per check: pass, warn or fail, the setting, what is unsafe about it, and what to do. Needs no
    /// running server; if one runs, it is asked as well. Exits with 1 if a check fails.
    Doctor,
    /// Ask the running server whether it serves, for the health check of a container.
    ///
    /// Asks `/healthz`, or `/readyz` with --ready, and prints its answer on one line. Exits with 0 if it is well, 1 if it
    /// says that it is not, 3 if it does not answer in time.
    Health(health::Health),
    /// Inspect, verify, dump, back up, restore or salvage a data directory.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Add, list, change, disable, unlock or delete accounts.
    ///
    /// Asks the running server through admin.sock in its data directory. If no server runs, opens the directory itself.
    /// Run it as the user that owns the directory. Exits with 3 if there is neither a server nor a directory with data.
    #[command(subcommand)]
    User(user::UserCommand),
    /// List or end the sessions of an account.
    ///
    /// Asks the running server through admin.sock in its data directory. If no server runs, opens the directory itself.
    /// Run it as the user that owns the directory. Exits with 3 if there is neither a server nor a directory with data.
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// List or rotate keys, or retire signing keys.
    ///
    /// Asks the running server through admin.sock in its data directory. If no server runs, opens the directory itself.
    /// Run it as the user that owns the directory. Exits with 3 if there is neither a server nor a directory with data.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Test how mails are sent.
    #[command(subcommand)]
    Mail(delivery::mail::MailCommand),
    /// Test how alerts are sent.
    #[command(subcommand)]
    Alert(delivery::alert::AlertCommand),
    /// List or resume the webhooks that a running server calls with events.
    #[command(subcommand)]
    Webhook(delivery::webhook::WebhookCommand),
    /// Create, list or delete API keys, the credentials of other services.
    ///
    /// Asks the running server through admin.sock in its data directory. If no server runs, opens the directory itself.
    /// Run it as the user that owns the directory. Exits with 3 if there is neither a server nor a directory with data.
    #[command(subcommand)]
    ApiKey(api_key::ApiKeyCommand),
    /// Show security events, or verify their log.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Measure a server under load.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Print a client of the API for programs in another language.
    #[command(subcommand)]
    Sdk(print::sdk::SdkCommand),
    /// Print a completion script for a shell.
    Completions(print::completions::Completions),
}

/// Why a command failed: the exit code and the message.
pub struct Failure(u8, String);

impl Failure {
    fn refused(why: impl ToString) -> Self {
        Self(1, why.to_string())
    }

    fn usage(why: impl ToString) -> Self {
        Self(2, why.to_string())
    }

    fn no_answer(why: impl ToString) -> Self {
        Self(3, why.to_string())
    }

    fn fault(why: impl ToString) -> Self {
        Self(70, why.to_string())
    }

    /// A file or directory that cannot be used. The nearer path is named, if the error has one.
    fn at(path: &Path, error: &std::io::Error) -> Self {
        match (FileError::within(error), error.raw_os_error()) {
            (Some(named), _) => Self::refused(named),
            (None, Some(raw)) => Self::refused(at_dir(path)(std::io::Error::from_raw_os_error(raw))),
            (None, None) => Self::refused(format!("{}: {error}", path.display())),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Refused(refusal) => Self::refused(refusal),
            StartError::Io(error) => Self::refused(error),
            StartError::Key(error) => Self::fault(error),
            error @ (StartError::NoActixSystem | StartError::Config(_)) => Self::fault(error),
            StartError::Master(error) => Self::usage(error),
            StartError::Pepper(error) => Self::usage(error),
        }
    }
}

/// Runs the command that this process was started with.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => return wrong_usage(&wrong),
    };
    let done = match &cli.command {
        None => serve::Serve::default().run(&cli),
        Some(Command::Serve(serve)) => serve.run(&cli),
        Some(Command::Init(init)) => init.run(&cli),
        Some(Command::Config(command)) => command.run(&cli),
        Some(Command::Doctor) => doctor::run(&cli),
        Some(Command::Health(health)) => health.run(&cli),
        Some(Command::Data(command)) => command.run(&cli),
        Some(Command::User(command)) => command.run(&cli),
        Some(Command::Session(command)) => command.run(&cli),
        Some(Command::Key(command)) => command.run(&cli),
        Some(Command::Mail(command)) => command.run(&cli),
        Some(Command::Alert(command)) => command.run(&cli),
        Some(Command::Webhook(command)) => command.run(&cli),
        Some(Command::ApiKey(command)) => command.run(&cli),
        Some(Command::Audit(command)) => command.run(&cli),
        Some(Command::Bench(command)) => command.run(&cli),
        Some(Command::Sdk(command)) => command.run(&cli),
        Some(Command::Completions(completions)) => {
            completions.run();
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure, cli.json),
    }
}

/// Prints why a command failed, and returns its exit code.
fn report(Failure(code, why): &Failure, is_json: bool) -> ExitCode {
    // A closed output is no failure to speak of.
    if why.is_empty() {
        return ExitCode::from(*code);
    }
    let line =
        if is_json { json!({"error": why, "code": code}).to_string() } else { format!("portcullis: {why}") };
    // If stderr is closed, the exit code is all that can be said.
    let _ = writeln!(std::io::stderr(), "{}", printable(&line));
    ExitCode::from(*code)
}

/// Prints what is wrong with the command line, or the help that it asks for.
fn wrong_usage(wrong: &clap::Error) -> ExitCode {
    if asks_for_json() && wrong.use_stderr() {
        return report(&Failure::usage(in_one_message(wrong)), true);
    }
    let printed = wrong.print().and_then(|()| std::io::stdout().flush());
    match printed {
        // A closed output of the help is no failure, and a closed stderr leaves the exit code.
        Err(error) if !wrong.use_stderr() && error.kind() != ErrorKind::BrokenPipe => {
            report(&unprinted(&error), asks_for_json())
        }
        _ => ExitCode::from(u8::try_from(wrong.exit_code()).unwrap_or(2)),
    }
}

/// Returns what is wrong with the command line, for programs: without the word that begins it on a terminal, and without the
/// help in the place of a reason.
fn in_one_message(wrong: &clap::Error) -> String {
    if wrong.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return String::from("a subcommand or an argument is missing: --help lists them");
    }
    let text = wrong.to_string();
    text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()
}

/// Says whether the command line asks for JSON, before it is read or where it is not at hand.
fn asks_for_json() -> bool {
    std::env::args_os().any(|argument| argument == "--json")
}

/// Returns how a command ends that cannot write to standard output: quietly, if its reader has seen enough and closed it.
fn ended_output(error: &std::io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe { Failure(PIPE_CLOSED, String::new()) } else { unprinted(error) }
}

/// Returns the failure of a command whose result could not be printed.
fn unprinted(error: &std::io::Error) -> Failure {
    Failure::fault(format!(
        "cannot write to standard output: {error}; what is printed is not complete, and what the command changed stays \
         changed"
    ))
}

/// The exit code of a process that a closed pipe has ended: 128 and the number of SIGPIPE.
const PIPE_CLOSED: u8 = 141;

/// Prints `text` and a line end on standard output, without what a terminal would obey. If its reader has seen enough and
/// closed it, the process ends, like every command in a pipe; if it cannot be written, with 70.
fn say(text: &str) {
    write_out(format!("{}\n", printable(text)).as_bytes());
}

/// Prints something beside the result, on standard error.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "portcullis: {}", printable(text));
}

/// Prints the same for programs.
fn note_json(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(&json!({"note": text}).to_string()));
}

/// Writes `bytes` to standard output, as [`say`] does.
fn write_out(bytes: &[u8]) {
    let Err(error) = try_write_out(bytes) else { return };
    let failure = ended_output(&error);
    report(&failure, asks_for_json());
    std::process::exit(i32::from(failure.0));
}

/// Writes `bytes` to standard output.
fn try_write_out(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(bytes).and_then(|()| stdout.flush())
}

/// Returns `path` as it is shown: absolute, so that it can be found from another directory.
fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

impl Cli {
    /// Prints a result: `text` for people, or `value` for programs.
    fn answer(&self, text: &str, value: &Value) {
        if self.json { say(&value.to_string()) } else { say(text) }
    }

    /// Collects the settings of file, environment and flags, before they get their types: `config show` lists them
    /// although some may be wrong.
    fn reader(&self) -> Result<Reader, Failure> {
        let mut reader = Reader::new();
        if let Some(path) = &self.config {
            let bytes = bounded_file::read(path, CONFIG_BYTES_MAX)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
            reader.bytes(&path.to_string_lossy(), &bytes);
        }
        reader.environment(std::env::vars_os());
        if let Some(dir) = &self.data_dir {
            reader.system("data_dir", dir.as_os_str(), "--data-dir");
        }
        Ok(reader)
    }

    /// Loads the configuration.
    ///
    /// Errors: every mistake in it, one a line.
    fn load(&self) -> Result<Config, Failure> {
        Config::from_reader(self.reader()?).map_err(|faults| mistakes(&faults))
    }
}

/// Lists the mistakes of a configuration.
fn mistakes(faults: &[ConfigFault]) -> Failure {
    let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
    let mistakes = counted(faults.len() as u64, "mistake", "mistakes");
    Failure::usage(format!("the configuration has {mistakes}:\n{}", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
