//! `portcullis user`, `session` and `key`: over the admin socket of a running server, else on the stopped directory.

use std::io::{BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;

use clap::Subcommand;
use portcullis::config::Config;
use portcullis::engine::start::StartError;
use portcullis::server;
use portcullis::server::operator::operation::Operation;
use portcullis::server::operator::socket;
use portcullis::storage::local::LocalStorage;
use portcullis::system::clock::Clock;
use portcullis::system::fail_stop::FailStop;
use portcullis::token::Keys;
use serde_json::Value;

use super::{Cli, Failure, say};

/// Accounts.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make an account. Without a password a link to set one is mailed.
    Add {
        /// Its address, which counts as proved.
        email: String,
        /// What it may do; may be given again.
        #[arg(long = "role")]
        roles: Vec<String>,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
        /// Ask for no password, and mail a link to set one.
        #[arg(long, conflicts_with = "password_stdin")]
        no_password: bool,
    },
    /// List accounts.
    List {
        /// Part of the address or name.
        q: Option<String>,
    },
    /// Show an account.
    Show {
        /// Its address or id.
        user: String,
    },
    /// Set what an account may do; without roles it may do nothing special.
    SetRole {
        /// Its address or id.
        user: String,
        /// All its roles from now on.
        roles: Vec<String>,
    },
    /// Disable an account and end everything that is open.
    Lock {
        /// Its address or id.
        user: String,
    },
    /// Enable an account and lift its lockout.
    Unlock {
        /// Its address or id.
        user: String,
    },
    /// Mail a link to set a new password.
    ResetPassword {
        /// Its address or id.
        user: String,
    },
    /// Delete an account.
    Delete {
        /// Its address or id.
        user: String,
    },
}

/// What is open.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List what is open for an account.
    List {
        /// Its address or id.
        user: String,
    },
    /// End everything that is open for an account.
    Revoke {
        /// Its address or id.
        user: String,
    },
}

/// Keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// List the public signing keys, newest first, and which of them signs.
    List,
    /// Make a new signing key: published now, signing after token.publish_ahead_secs; older ones still check.
    Rotate,
    /// Take a signing key out at once: every token it has signed is dead.
    Retire {
        /// Its id, as `key list` shows it.
        kid: String,
    },
}

/// Security events.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Show the newest events.
    Tail {
        /// How many.
        #[arg(default_value_t = 20)]
        limit: usize,
        /// Only of this name, or beginning with it where it ends with a dot: `login.`
        #[arg(long = "type", value_name = "NAME")]
        event: Option<String>,
        /// Only of this account or session, by id.
        #[arg(long)]
        account: Option<String>,
    },
    /// Walk the chain of the files in `audit.dir`.
    Verify,
}

impl AuditCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        match self {
            Self::Tail { limit, event, account } => {
                let (event, account) = (event.clone(), account.clone());
                operate(cli, Operation::AuditTail { limit: *limit, event, account })
            }
            Self::Verify => {
                let config = cli.load()?;
                let no_keys = |error| Failure::refused(format!("{}: {error}", config.keys.dir.display()));
                let keys = LocalStorage::open_existing(&config.keys.dir).map_err(no_keys)?;
                let key = Keys::load(&keys).map_err(Failure::refused)?.audit();
                let walked =
                    portcullis::audit::verify::verify(&config.audit.dir, &key).map_err(Failure::refused)?;
                say(&format!("the chain is whole: {} lines", walked.map_err(Failure::refused)?));
                Ok(())
            }
        }
    }
}

impl UserCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let user = |user: &String| user.clone();
        let operation = match self {
            Self::Add { email, roles, password_stdin, no_password } => Operation::UserAdd {
                email: email.clone(),
                roles: roles.clone(),
                password: if *no_password { None } else { Some(read_password(*password_stdin)?) },
            },
            Self::List { q } => Operation::UserList { q: q.clone() },
            Self::Show { user: of } => Operation::UserShow { user: user(of) },
            Self::SetRole { user: of, roles } => {
                Operation::UserSetRole { user: user(of), roles: roles.clone() }
            }
            Self::Lock { user: of } => Operation::UserLock { user: user(of) },
            Self::Unlock { user: of } => Operation::UserUnlock { user: user(of) },
            Self::ResetPassword { user: of } => Operation::UserResetPassword { user: user(of) },
            Self::Delete { user: of } => Operation::UserDelete { user: user(of) },
        };
        operate(cli, operation)
    }
}

impl SessionCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        operate(
            cli,
            match self {
                Self::List { user } => Operation::SessionList { user: user.clone() },
                Self::Revoke { user } => Operation::SessionRevoke { user: user.clone() },
            },
        )
    }
}

impl KeyCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        operate(
            cli,
            match self {
                Self::List => Operation::KeyList,
                Self::Rotate => Operation::KeyRotate,
                Self::Retire { kid } => Operation::KeyRetire { kid: kid.clone() },
            },
        )
    }
}

fn read_password(from_stdin: bool) -> Result<String, Failure> {
    let mut stdin = std::io::stdin();
    if !from_stdin && stdin.is_terminal() {
        return rpassword::prompt_password("password: ").map_err(Failure::refused);
    }
    if !from_stdin {
        return Err(Failure::usage(
            "no terminal to ask for a password: use --password-stdin or --no-password",
        ));
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text).map_err(Failure::refused)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn operate(cli: &Cli, operation: Operation) -> Result<(), Failure> {
    let config = cli.load()?;
    let socket = socket::path(&config.data_dir);
    let answer = match UnixStream::connect(&socket) {
        Ok(stream) => ask(stream, &operation)?,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(Failure::refused(format!(
                "{}: {error}; run this as the user that owns {}",
                socket.display(),
                config.data_dir.display()
            )));
        }
        Err(_) => on_stopped_directory(config, operation)?,
    };
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return Err(Failure::refused(error));
    }
    let shown = answer.get("ok").unwrap_or(&Value::Null);
    if cli.json {
        say(&shown.to_string());
        return Ok(());
    }
    match shown.get("items").and_then(Value::as_array) {
        Some(items) => items.iter().for_each(|item| say(&line(item))),
        None => say(&line(shown)),
    }
    Ok(())
}

pub(super) fn ask(mut stream: UnixStream, operation: &Operation) -> Result<Value, Failure> {
    let lost = |error: &dyn std::fmt::Display| Failure(3, format!("the server does not answer: {error}"));
    let text = serde_json::to_string(operation).map_err(Failure::fault)?;
    stream.write_all(format!("{text}\n").as_bytes()).map_err(|error| lost(&error))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(|error| lost(&error))?;
    serde_json::from_str(&answer).map_err(|error| lost(&error))
}

/// Nobody serves the directory: recovers it, does the operation, and stops in order.
fn on_stopped_directory(config: Config, operation: Operation) -> Result<Value, Failure> {
    let identity = config.data_dir.join("IDENTITY");
    let unreadable = |error| Failure::refused(format!("{}: {error}", identity.display()));
    if !identity.try_exists().map_err(unreadable)? {
        return Err(Failure(
            3,
            format!("no server answers, and {} holds nothing yet", config.data_dir.display()),
        ));
    }
    super::place::refuse_another_owner(&config.data_dir)?;
    actix_web::rt::System::new().block_on(async {
        let fail_stop = FailStop::new(|why| {
            let _ = writeln!(std::io::stderr(), "portcullis: fault, the process ends: {why}");
            std::process::exit(70);
        });
        let (engine, running) =
            server::start(config, Clock::system(), false, None, &fail_stop).map_err(|error| match error {
                StartError::Refused(refusal) => Failure::refused(refusal),
                other => Failure::fault(other),
            })?;
        let answer = socket::run(&engine, operation).await;
        drop(engine);
        running.stop();
        Ok(answer)
    })
}

/// One item for people: its values, one after the other.
fn line(item: &Value) -> String {
    let Some(fields) = item.as_object() else { return item.to_string() };
    let shown = fields.iter().filter(|(_, value)| !value.is_null());
    let shown = shown.map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name}={text}"),
        None => format!("{name}={value}"),
    });
    shown.collect::<Vec<_>>().join("  ")
}
