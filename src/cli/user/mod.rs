//! `portcullis user`.

mod export;
mod import;
mod prompt;
mod told;

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};

use clap::Subcommand;
use portcullis::password::PASSWORD_BYTES_MAX;
use portcullis::server::operator::operation::{Carries, Operation};
use portcullis::value::account_name::AccountName;
use portcullis::value::file_text;
use portcullis::value::json_object::NewObject;
use serde_json::Value;
use zeroize::Zeroizing;

use self::prompt::Terminal;
pub(super) use self::told::named;
use self::told::{ended, invited, listed, mailed, moved, reset, roles, set, shown, unlocked};
use super::operate::operate_and_say;
use super::printable::{printable, value};
use super::{Cli, Failure};

/// The roles that mean something to the server. All others are the application's.
const OWN_ROLES: [&str; 3] = ["admin", "introspect", "metrics"];
/// How many bytes of standard input are read: more than the longest password.
const STDIN_BYTES_MAX: usize = 4 * PASSWORD_BYTES_MAX;
/// How many bytes of standard input are read for a JSON object. One that has more, with its blanks, is no object to this.
const OBJECT_STDIN_BYTES_MAX: usize = 64 * 1024;

/// The subcommands for accounts.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create an account. Without a password, mail an invitation: a link to set one.
    ///
    /// Asks for the password on the terminal, twice, unless one of the two flags is given.
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
        /// Take a role although its name is nearly one of the server's own.
        #[arg(long)]
        yes: bool,
        /// The name by which the owner wants to be called.
        #[arg(long)]
        name: Option<String>,
        /// The language of the owner, such as en-GB.
        #[arg(long, value_name = "TAG")]
        locale: Option<String>,
        /// The JSON object of the account that administrators alone may change.
        #[arg(long, value_name = "JSON")]
        app_metadata: Option<String>,
        /// The id that another program knows the account by.
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
    },
    /// Change what an account carries. An empty text takes a field away. No session ends.
    ///
    /// An object takes the place of the whole: the answer names the members that are gone, also those of an import.
    /// Access tokens that carry a field (token.claims) have the new value from their next refresh on.
    #[command(group = clap::ArgGroup::new("carried").required(true).multiple(true))]
    Set {
        /// E-mail address or id of the account, or external: and its external id.
        #[arg(value_name = "ACCOUNT")]
        user: String,
        /// The name by which the owner wants to be called.
        #[arg(long, group = "carried")]
        name: Option<String>,
        /// The language of the owner, such as en-GB.
        #[arg(long, value_name = "TAG", group = "carried")]
        locale: Option<String>,
        /// The JSON object that the owner may change too, as a whole; - reads it from standard input.
        #[arg(long, value_name = "JSON", group = "carried", allow_hyphen_values = true)]
        user_metadata: Option<String>,
        /// The JSON object that administrators alone may change, as a whole; - reads it from standard input.
        #[arg(long, value_name = "JSON", group = "carried", allow_hyphen_values = true)]
        app_metadata: Option<String>,
        /// The id that another program knows the account by. No two accounts have the same.
        #[arg(long, value_name = "ID", group = "carried")]
        external_id: Option<String>,
    },
    /// Mail an address an invitation: a link by which its owner makes an account.
    ///
    /// It is good once, for seven days, and takes the place of an earlier one. An account that is there without a password is
    /// mailed its own invitation once more.
    Invite {
        /// E-mail address; or an account without a password, also by its id.
        #[arg(value_name = "ADDRESS")]
        user: String,
        /// Give the account this role. Repeat the flag for more roles.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// The name that the account has, unless its owner gives another.
        #[arg(long)]
        name: Option<String>,
        /// The language of its owner, such as en-GB.
        #[arg(long, value_name = "TAG")]
        locale: Option<String>,
        /// Take a role although its name is nearly one of the server's own.
        #[arg(long)]
        yes: bool,
    },
    /// List the open invitations.
    Invitations {
        /// Go on after this id, which the page before named.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Withdraw an invitation: its link is dead at once.
    Uninvite {
        /// E-mail address that was invited, or the id of the invitation.
        #[arg(value_name = "ADDRESS")]
        invitation: String,
    },
    /// List accounts, or sign-ups that are not confirmed.
    List {
        /// Only accounts whose address or name contains this text, in any case.
        q: Option<String>,
        /// List sign-ups that wait for the proof of their address. They are no accounts yet.
        #[arg(long)]
        pending: bool,
        /// Go on after this id, which the page before named.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Create the accounts of a file, a line each, or of the dump of another system.
    ///
    /// An account that is there is never changed: a file that was imported in part is simply imported again. Exits with 0 if
    /// every user is there now; with 1 if some were refused, have no account since another one has their address or id, or
    /// are there with another address, and if nothing in the file is a user of the system.
    Import(import::Import),
    /// Write all accounts as lines that an import takes.
    Export(export::Export),
    /// Show an account: lockout, sessions, devices, links, and its last mail.
    Show {
        /// E-mail address or id of the account, or external: and its external id.
        user: String,
    },
    /// Replace the roles of an account. Without roles, take all away.
    SetRole {
        /// E-mail address or id of the account, or external: and its external id.
        user: String,
        /// All roles that the account has from now on.
        roles: Vec<String>,
        /// Take a role although its name is nearly one of the server's own.
        #[arg(long)]
        yes: bool,
        /// Do it although no administrator is left who can log in.
        #[arg(long)]
        force: bool,
    },
    /// Give an account another address, and tell the former one by mail. All its sessions end.
    SetEmail {
        /// E-mail address or id of the account, or external: and its external id.
        user: String,
        /// The new address. It gets a link that proves it.
        email: String,
        /// Take the new address as proved, and mail no link.
        #[arg(long)]
        verified: bool,
        /// The former address of the account: the change that its owner has made can then no longer be undone from there,
        /// and it is told by mail.
        #[arg(long, value_name = "FORMER")]
        end_undo: Option<String>,
        /// Do it although no administrator is left who can log in.
        #[arg(long)]
        force: bool,
    },
    /// Disable an account and end its sessions.
    #[command(visible_alias = "lock")]
    Disable {
        /// E-mail address or id of the account, or external: and its external id.
        user: String,
        /// Do it although no administrator is left who can log in.
        #[arg(long)]
        force: bool,
    },
    /// Enable an account that was disabled.
    Enable {
        /// E-mail address or id of the account, or external: and its external id.
        user: String,
    },
    /// Lift the lockout of an account. A disabled account stays disabled.
    Unlock {
        /// E-mail address or id of the account, or external: and its external id.
        user: String,
    },
    /// Mail a link to set a new password; an invitation, if the account has none yet.
    ///
    /// The old password works, and sessions live, until the link is used. Against somebody who knows the password, add
    /// --revoke-password.
    ResetPassword {
        /// E-mail address or id of the account, or external: and its external id.
        user: String,
        /// Remove the old password at once, and end all sessions, known devices and mailed links.
        #[arg(long)]
        revoke_password: bool,
        /// Do it although no administrator is left who can log in.
        #[arg(long, requires = "revoke_password")]
        force: bool,
    },
    /// Delete an account with all that belongs to it, and tell its owner by mail. Asks first; without a terminal it needs
    /// --yes.
    Delete {
        /// E-mail address or id of the account, or external: and its external id.
        user: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Do it although no administrator is left who can log in.
        #[arg(long)]
        force: bool,
    },
}

impl UserCommand {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let told: fn(&Value) -> Vec<String> = match self {
            Self::Import(import) => return import.run(cli),
            Self::Export(export) => return export.run(cli),
            Self::Add { .. } => |result| vec![format!("created {}{}", named(result), mailed(result))],
            Self::Set { .. } => set,
            Self::Invite { .. } => |result| vec![format!("invited {}{}", named(result), mailed(result))],
            Self::Invitations { .. } => invited,
            Self::Uninvite { .. } => |result| vec![format!("withdrew the invitation of {}", named(result))],
            Self::List { .. } => listed,
            Self::Show { .. } => shown,
            Self::SetRole { .. } => |result| vec![format!("{} now has {}", named(result), roles(result))],
            Self::SetEmail { .. } => moved,
            Self::Disable { .. } => |result| vec![format!("disabled {}, {}", named(result), ended(result))],
            Self::Enable { .. } => |result| vec![format!("enabled {}", named(result))],
            Self::Unlock { .. } => unlocked,
            Self::ResetPassword { .. } => reset,
            Self::Delete { .. } => |result| vec![format!("deleted {}, {}", named(result), ended(result))],
        };
        operate_and_say(cli, self.operation()?, told)
    }

    fn operation(&self) -> Result<Operation, Failure> {
        Ok(match self {
            Self::Import(_) | Self::Export(_) => return Err(Failure::fault("no single operation")),
            Self::Add {
                email,
                roles,
                password_stdin,
                no_password,
                yes,
                name,
                locale,
                app_metadata,
                external_id,
            } => {
                // Before anybody types a password for it.
                AccountName::parse(email).map_err(|error| Failure::usage(format!("{email}: {error}")))?;
                check_roles(roles, *yes)?;
                Operation::UserAdd {
                    carries: Carries {
                        name: name.clone(),
                        locale: locale.clone(),
                        user_metadata: None,
                        app_metadata: object("--app-metadata", app_metadata.as_deref())?,
                        external_id: external_id.clone(),
                    },
                    email: email.clone(),
                    roles: roles.clone(),
                    password: if *no_password {
                        None
                    } else {
                        Some(read_password(*password_stdin)?.as_str().to_owned().into())
                    },
                }
            }
            Self::Set { user, name, locale, user_metadata, app_metadata, external_id } => {
                let is_piped = |given: &Option<String>| given.as_deref() == Some("-");
                if is_piped(user_metadata) && is_piped(app_metadata) {
                    return Err(Failure::usage(
                        "standard input holds one object: give the other one as text",
                    ));
                }
                Operation::UserSet {
                    user: user.clone(),
                    carries: Carries {
                        name: name.clone(),
                        locale: locale.clone(),
                        user_metadata: object("--user-metadata", user_metadata.as_deref())?,
                        app_metadata: object("--app-metadata", app_metadata.as_deref())?,
                        external_id: external_id.clone(),
                    },
                }
            }
            Self::Invite { user, roles, name, locale, yes } => {
                check_roles(roles, *yes)?;
                Operation::UserInvite {
                    user: user.clone(),
                    roles: roles.clone(),
                    name: name.clone(),
                    locale: locale.clone(),
                }
            }
            Self::Invitations { after } => Operation::InvitationList { after: after.clone() },
            Self::Uninvite { invitation } => Operation::InvitationWithdraw { invitation: invitation.clone() },
            Self::List { q, pending, after, limit } => Operation::UserList {
                q: q.clone(),
                pending: *pending,
                after: after.clone(),
                limit: Some(usize::from(*limit)),
            },
            Self::Show { user } => Operation::UserShow { user: user.clone() },
            Self::SetRole { user, roles, yes, force } => {
                check_roles(roles, *yes)?;
                Operation::UserSetRole { user: user.clone(), roles: roles.clone(), force: *force }
            }
            Self::SetEmail { user, email, verified, end_undo, force } => Operation::UserSetEmail {
                user: user.clone(),
                email: email.clone(),
                verified: *verified,
                end_undo: end_undo.clone(),
                force: *force,
            },
            Self::Disable { user, force } => Operation::UserDisable { user: user.clone(), force: *force },
            Self::Enable { user } => Operation::UserEnable { user: user.clone() },
            Self::Unlock { user } => Operation::UserUnlock { user: user.clone() },
            Self::ResetPassword { user, revoke_password, force } => Operation::UserResetPassword {
                user: user.clone(),
                revoke_password: *revoke_password,
                force: *force,
            },
            Self::Delete { user, force, yes } => {
                confirm_deletion(user, *yes)?;
                Operation::UserDelete { user: user.clone(), force: *force }
            }
        })
    }
}

/// Returns the JSON object that `flag` names, as compact text. A hyphen reads it from standard input.
fn object(flag: &str, given: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(given) = given else { return Ok(None) };
    let mut piped = String::new();
    let text = if given == "-" {
        let stdin = std::io::stdin().take(OBJECT_STDIN_BYTES_MAX as u64);
        BufReader::new(stdin).read_to_string(&mut piped).map_err(Failure::refused)?;
        piped.as_str()
    } else {
        given
    };
    let object = NewObject::of_text(text).text();
    object.map(|text| Some(text.into())).map_err(|fault| Failure::refused(format!("{flag}: {fault}")))
}

/// Asks on a terminal whether to delete an account. Without a terminal, `yes` must be set.
fn confirm_deletion(user: &str, yes: bool) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if yes {
        return Ok(());
    }
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::usage(
            "no terminal to ask whether to delete for good: add --yes; nothing was deleted",
        ));
    }
    let question = format!("Delete {} for good? It cannot be undone. [y/N] ", value(user));
    let _ = write!(std::io::stderr(), "{}", printable(&question));
    let mut answer = String::new();
    BufReader::new(stdin.take(STDIN_BYTES_MAX as u64)).read_line(&mut answer).map_err(Failure::refused)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::refused("nothing was deleted"))
}

/// Refuses a role whose name is nearly one that means something to the server: it would give nothing.
fn check_roles(roles: &[String], yes: bool) -> Result<(), Failure> {
    let near = roles.iter().find_map(|role| near_miss(role).map(|own| (role, own)));
    match near {
        Some((role, own)) if !yes => Err(Failure::refused(format!(
            "the role {role:?} gives nothing here; did you mean {own:?}? If not, add --yes"
        ))),
        _ => Ok(()),
    }
}

/// Returns the role of the server that `role` was probably meant to be, if it is none itself.
fn near_miss(role: &str) -> Option<&'static str> {
    let lower = role.to_lowercase();
    let is_near = |own: &&str| {
        lower.starts_with(*own)
            || strsim::jaro_winkler(&lower, own) > 0.9
            || strsim::levenshtein(&lower, own) <= 1
    };
    let near = OWN_ROLES.into_iter().find(is_near);
    near.filter(|own| *own != role)
}

/// Reads a password from standard input, or asks for it twice on the terminal.
fn read_password(from_stdin: bool) -> Result<Zeroizing<String>, Failure> {
    let stdin = std::io::stdin();
    if !from_stdin && stdin.is_terminal() {
        let terminal = Terminal::open().map_err(Failure::refused)?;
        let password = terminal.ask("password: ").map_err(Failure::refused)?;
        if *terminal.ask("the same again: ").map_err(Failure::refused)? != *password {
            return Err(Failure::refused("the two passwords differ; nothing was done"));
        }
        return Ok(password);
    }
    if !from_stdin {
        return Err(Failure::usage(
            "no terminal to ask for a password: use --password-stdin or --no-password",
        ));
    }
    // Room for the longest password, so that a text that grows leaves no copies.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * STDIN_BYTES_MAX));
    stdin.take(STDIN_BYTES_MAX as u64).read_to_end(&mut bytes).map_err(Failure::refused)?;
    password_in(&bytes).map_err(|why| Failure::refused(format!("the password on standard input {why}")))
}

/// Returns the password in `bytes`, one line, without a byte order mark and the line end.
fn password_in(bytes: &[u8]) -> Result<Zeroizing<String>, String> {
    let text = file_text::text(bytes).map_err(|error| error.to_string())?;
    match file_text::only_line(text) {
        Some("") => Err(String::from("is empty")),
        Some(line) => Ok(Zeroizing::new(line.to_owned())),
        None => Err(String::from("is more than one line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_from_a_file_of_an_editor_is_what_its_owner_types() {
        for (bytes, password) in [
            (&b"\xEF\xBB\xBFopen sesame\r\n"[..], Ok("open sesame")),
            (b"open sesame\n", Ok("open sesame")),
            (b" open sesame ", Ok(" open sesame ")),
            (b"\xEF\xBB\xBF\n", Err("is empty")),
            (b"open\nsesame\n", Err("is more than one line")),
            (b"\xFF\xFEo\0", Err("is UTF-16: save it as UTF-8")),
        ] {
            let read = password_in(bytes);
            assert_eq!(
                read.as_ref().map(|read| read.as_str()).map_err(String::as_str),
                password,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn a_role_that_is_nearly_one_of_the_servers_own_is_asked_about() {
        for (role, meant) in [
            ("admin", None),
            ("metrics", None),
            ("introspect", None),
            ("staff", None),
            ("editor", None),
            ("domain_owner", None),
            ("admins", Some("admin")),
            ("Admin", Some("admin")),
            ("adm1n", Some("admin")),
            ("administrator", Some("admin")),
            ("metric", Some("metrics")),
            ("introspection", Some("introspect")),
        ] {
            assert_eq!(near_miss(role), meant, "{role}");
        }
    }
}
