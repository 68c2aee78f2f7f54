//! `portcullis user`.

use std::io::{IsTerminal, Read};

use clap::Subcommand;
use portcullis::server::operator::operation::Operation;
use zeroize::Zeroizing;

use super::operate::operate;
use super::{Cli, Failure};

/// The subcommands for accounts.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create an account. Without a password, mail a link to set one.
    ///
    /// Asks for the password on the terminal unless one of the two flags is given.
    Add {
        /// E-mail address of the account. It counts as proved.
        email: String,
        /// Give the account this role. Repeat the flag for more roles.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
        /// Set no password, and mail a link to set one.
        #[arg(long, conflicts_with = "password_stdin")]
        no_password: bool,
    },
    /// List accounts, 1000 at most.
    List {
        /// Only accounts whose address or name contains this text.
        q: Option<String>,
    },
    /// Show an account.
    Show {
        /// E-mail address or id of the account.
        user: String,
    },
    /// Replace the roles of an account. Without roles, take all away.
    SetRole {
        /// E-mail address or id of the account.
        user: String,
        /// All roles that the account has from now on.
        roles: Vec<String>,
    },
    /// Disable an account and end its sessions.
    Lock {
        /// E-mail address or id of the account.
        user: String,
    },
    /// Enable an account and lift its lockout.
    Unlock {
        /// E-mail address or id of the account.
        user: String,
    },
    /// Mail a link to set a new password.
    ResetPassword {
        /// E-mail address or id of the account.
        user: String,
    },
    /// Delete an account.
    Delete {
        /// E-mail address or id of the account.
        user: String,
    },
}

impl UserCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let operation = match self {
            Self::Add { email, roles, password_stdin, no_password } => Operation::UserAdd {
                email: email.clone(),
                roles: roles.clone(),
                password: if *no_password { None } else { Some(read_password(*password_stdin)?.into()) },
            },
            Self::List { q } => Operation::UserList { q: q.clone() },
            Self::Show { user } => Operation::UserShow { user: user.clone() },
            Self::SetRole { user, roles } => {
                Operation::UserSetRole { user: user.clone(), roles: roles.clone() }
            }
            Self::Lock { user } => Operation::UserLock { user: user.clone() },
            Self::Unlock { user } => Operation::UserUnlock { user: user.clone() },
            Self::ResetPassword { user } => Operation::UserResetPassword { user: user.clone() },
            Self::Delete { user } => Operation::UserDelete { user: user.clone() },
        };
        operate(cli, operation)
    }
}

/// Reads a password from standard input, or asks for it on the terminal.
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
    let mut text = Zeroizing::new(String::new());
    stdin.read_to_string(&mut text).map_err(Failure::refused)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
