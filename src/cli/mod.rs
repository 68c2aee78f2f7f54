//! One file per subcommand. Exit codes: 0 done, 1 refused, 2 usage, 3 unreachable, 70 fault.

mod bench;
mod config;
mod data;
mod doctor;
mod init;
mod place;
mod serve;
mod user;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use portcullis::config::{Config, Reader};

/// A hardened authentication server in one binary, with no database to run.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Machine-readable output.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (also without any command).
    Serve(serve::Serve),
    /// Write a configuration file with every key, commented.
    Init(init::Init),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// The security checklist, carried out.
    Doctor,
    /// Look at a stopped data directory.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Accounts.
    #[command(subcommand)]
    User(user::UserCommand),
    /// What is open for an account.
    #[command(subcommand)]
    Session(user::SessionCommand),
    /// Signing keys.
    #[command(subcommand)]
    Key(user::KeyCommand),
    /// Security events.
    #[command(subcommand)]
    Audit(user::AuditCommand),
    /// What the server does under load.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Write completions for a shell.
    Completions {
        /// Which one.
        shell: clap_complete::Shell,
    },
}

/// Why a command did not do what it was asked for, with its exit code.
pub struct Failure(u8, String);

impl Failure {
    fn refused(why: impl ToString) -> Self {
        Self(1, why.to_string())
    }

    fn usage(why: impl ToString) -> Self {
        Self(2, why.to_string())
    }

    fn fault(why: impl ToString) -> Self {
        Self(70, why.to_string())
    }
}

/// Runs the command of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        None => serve::Serve::default().run(&cli),
        Some(Command::Serve(serve)) => serve.run(&cli),
        Some(Command::Init(init)) => init.run(&cli),
        Some(Command::Config(command)) => command.run(&cli),
        Some(Command::Doctor) => doctor::run(&cli),
        Some(Command::Data(command)) => command.run(&cli),
        Some(Command::User(command)) => command.run(&cli),
        Some(Command::Session(command)) => command.run(&cli),
        Some(Command::Key(command)) => command.run(&cli),
        Some(Command::Audit(command)) => command.run(&cli),
        Some(Command::Bench(command)) => command.run(&cli),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(*shell, &mut Cli::command(), "portcullis", &mut std::io::stdout());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, why)) => {
            // A closed stderr has nobody to tell.
            let _ = writeln!(std::io::stderr(), "portcullis: {why}");
            ExitCode::from(code)
        }
    }
}

/// Prints a line for people or programs.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

impl Cli {
    /// The configuration of file, environment and flags: unread, so that a command can show it.
    fn reader(&self) -> Result<Reader, Failure> {
        let mut reader = Reader::new();
        if let Some(path) = &self.config {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
            reader.file(&path.to_string_lossy(), &text);
        }
        reader.environment(std::env::vars());
        if let Some(dir) = &self.data_dir {
            reader.plain("data_dir", &dir.to_string_lossy(), "--data-dir");
        }
        Ok(reader)
    }

    fn load(&self) -> Result<Config, Failure> {
        Config::from_reader(self.reader()?).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
            Failure::usage(format!("the configuration has {} mistakes:\n{}", faults.len(), lines.join("\n")))
        })
    }
}
