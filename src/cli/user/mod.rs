//! `portcullis user`.

mod prompt;

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};

use clap::Subcommand;
use portcullis::password::PASSWORD_BYTES_MAX;
use portcullis::server::operator::operation::Operation;
use portcullis::value::account_name::AccountName;
use portcullis::value::file_text;
use serde_json::Value;
use zeroize::Zeroizing;

use self::prompt::Terminal;
use super::operate::operate_and_say;
use super::printable::{printable, value};
use super::table::{table_of, text};
use super::{Cli, Failure, counted};

/// The roles that mean something to the server. All others are the application's.
const OWN_ROLES: [&str; 3] = ["admin", "introspect", "metrics"];
/// How many bytes of standard input are read: more than the longest password.
const STDIN_BYTES_MAX: usize = 4 * PASSWORD_BYTES_MAX;

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
    },
    /// Mail the invitation of an account without a password once more.
    Invite {
        /// E-mail address or id of the account.
        user: String,
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
    /// Show an account: lockout, sessions, devices, links, and its last mail.
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
        /// Take a role although its name is nearly one of the server's own.
        #[arg(long)]
        yes: bool,
        /// Do it although no administrator is left who can log in.
        #[arg(long)]
        force: bool,
    },
    /// Give an account another address, and tell the former one by mail. All its sessions end.
    SetEmail {
        /// E-mail address or id of the account.
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
        /// E-mail address or id of the account.
        user: String,
        /// Do it although no administrator is left who can log in.
        #[arg(long)]
        force: bool,
    },
    /// Enable an account that was disabled.
    Enable {
        /// E-mail address or id of the account.
        user: String,
    },
    /// Lift the lockout of an account. A disabled account stays disabled.
    Unlock {
        /// E-mail address or id of the account.
        user: String,
    },
    /// Mail a link to set a new password; an invitation, if the account has none yet.
    ///
    /// The old password works, and sessions live, until the link is used. Against somebody who knows the password, add
    /// --revoke-password.
    ResetPassword {
        /// E-mail address or id of the account.
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
        /// E-mail address or id of the account.
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
            Self::Add { .. } => |result| vec![format!("created {}{}", named(result), mailed(result))],
            Self::Invite { .. } => |result| vec![format!("invited {}{}", named(result), mailed(result))],
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
            Self::Add { email, roles, password_stdin, no_password, yes } => {
                // Before anybody types a password for it.
                AccountName::parse(email).map_err(|error| Failure::usage(format!("{email}: {error}")))?;
                check_roles(roles, *yes)?;
                Operation::UserAdd {
                    email: email.clone(),
                    roles: roles.clone(),
                    password: if *no_password {
                        None
                    } else {
                        Some(read_password(*password_stdin)?.as_str().to_owned().into())
                    },
                }
            }
            Self::Invite { user } => Operation::UserInvite { user: user.clone() },
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

/// Asks on a terminal whether to delete an account. Where nobody can be asked, the command line has to say so.
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

/// Names the account of an answer: its address and its id.
pub(super) fn named(account: &Value) -> String {
    format!("{} ({})", value(&text(&account["email"])), text(&account["id"]))
}

/// Says what became of the mail of an answer, if it has one.
fn mailed(result: &Value) -> String {
    result["mail"].as_str().map_or_else(String::new, |mail| format!("; mail: {mail}"))
}

fn ended(result: &Value) -> String {
    let count = result["sessions_ended"].as_u64().unwrap_or(0);
    format!("{} ended", counted(count, "session", "sessions"))
}

fn roles(account: &Value) -> String {
    let roles: Vec<&str> =
        account["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match roles.as_slice() {
        [] => String::from("no roles"),
        [one] => format!("the role {one}"),
        many => format!("the roles {}", many.join(", ")),
    }
}

/// Tells what a reset has ended, and what not.
fn reset(result: &Value) -> Vec<String> {
    let asked = format!("asked {} to set a password{}", named(result), mailed(result));
    let more = if result["password_still_works"] == true {
        format!(
            "The old password still works until the link is used, and sessions live on. If somebody else knows it: \
             portcullis user reset-password --revoke-password {}",
            text(&result["id"])
        )
    } else if result["sessions_ended"].is_u64() {
        format!("The old password is gone; {}, with known devices and mailed links", ended(result))
    } else {
        return vec![asked];
    };
    vec![asked, more]
}

fn unlocked(result: &Value) -> Vec<String> {
    let was = match &result["was_locked_until"] {
        Value::String(until) => format!("it was locked until {until}"),
        _ => String::from("it was not locked"),
    };
    let failures = result["failures_cleared"].as_u64().unwrap_or(0);
    let cleared = counted(failures, "failure", "failures");
    let mut lines = vec![format!("unlocked {}: {was}, {cleared} cleared", named(result))];
    if result["status"] == "disabled" {
        lines.push(String::from("It is disabled, which stays so: portcullis user enable lifts that."));
    }
    lines
}

fn moved(result: &Value) -> Vec<String> {
    let before = &result["before"];
    let undoable = result["address_change_undoable_until"].as_str().map(|until| {
        format!(
            "The change that its owner has made can still be undone from the mailbox of before, until {until}. If that must \
             not be, repeat this with --end-undo and the address of before."
        )
    });
    if before["email"] == result["email"] {
        let proved = if result["email_verified"] == true { "proved" } else { "not proved" };
        let same = format!("{} has this address already; it is {proved}", named(result));
        return [same].into_iter().chain(undoable).collect();
    }
    let former = value(&text(&before["email"]));
    let next = if result["email_verified"] == true {
        "The new address counts as proved."
    } else {
        "The new address was mailed a link that proves it."
    };
    let lines = [
        format!("{former} is now {}, {}", named(result), ended(result)),
        format!("{former} is told by mail. {next}"),
    ];
    lines.into_iter().chain(undoable).collect()
}

fn listed(result: &Value) -> Vec<String> {
    let items = result["items"].as_array().map_or(&[][..], Vec::as_slice);
    let columns = [
        ("ID", "id"),
        ("ADDRESS", "email"),
        ("STATUS", "status"),
        ("PROVED", "email_verified"),
        ("ROLES", "roles"),
        ("CREATED", "created_at"),
        ("NAME", "name"),
    ];
    let mut lines =
        if items.is_empty() { vec![String::from("none found")] } else { table_of(items, &columns) };
    if let Some(next) = result["next_cursor"].as_str() {
        lines.push(format!("There are more: repeat the command with --after {next}"));
    }
    match result["pending"].as_u64() {
        Some(pending) if pending > 0 => {
            let sign_ups = counted(pending, "sign-up is", "sign-ups are");
            lines.push(format!("{sign_ups} not confirmed, and no account yet: --pending lists them"));
        }
        _ => {}
    }
    lines
}

/// Tells how an account stands, one thing a line; or which sign-ups wait where there is no account.
fn shown(result: &Value) -> Vec<String> {
    if let Some(sign_ups) = result["items"].as_array() {
        let waiting = |item: &Value| {
            format!(
                "{} has signed up at {} and has not confirmed the address: no account yet. It is forgotten at {}",
                named(item),
                text(&item["created_at"]),
                text(&item["expires_at"])
            )
        };
        return sign_ups.iter().map(waiting).collect();
    }
    let lock = &result["lock"];
    let locked = match lock["locked_until"].as_str() {
        Some(until) => format!("locked for unknown devices until {until}"),
        None => String::from("not locked"),
    };
    let failures = counted(lock["failures"].as_u64().unwrap_or(0), "failure", "failures");
    let guesses = counted(lock["guesses_left"].as_u64().unwrap_or(0), "guess is", "guesses are");
    let of_devices = text(&lock["device_guesses_left"]);
    let sessions = &result["sessions"];
    let [browsers, programs] =
        [&sessions["cookie"], &sessions["token"]].map(|count| count.as_u64().unwrap_or(0));
    let device = |of: &Value| {
        format!("{} {} (last {})", text(&of["count"]), value(&text(&of["family"])), text(&of["newest"]))
    };
    let link = |of: &Value| format!("{} until {}", text(&of["purpose"]), text(&of["expires_at"]));
    let mail = &result["last_mail"];
    let mail = if mail.is_null() {
        String::from("unknown: none waits, and none has left since the start of the server")
    } else {
        let tries = mail["failed_tries"].as_u64().filter(|tries| *tries > 0);
        let tries = tries.map_or_else(String::new, |tries| {
            format!(" after {}", counted(tries, "failed try", "failed tries"))
        });
        let is_tried = mail["failed_tries"].as_u64().is_some_and(|tries| tries > 0);
        let next = mail["next_try_at"].as_str().filter(|_| is_tried);
        let next = next.map_or_else(String::new, |next| format!(", next try at {next}"));
        let why = mail["reason"].as_str().map_or_else(String::new, |why| format!(": {}", value(why)));
        format!("{} {}{tries}, {}{next}{why}", text(&mail["kind"]), text(&mail["state"]), text(&mail["at"]))
    };
    let is_proved = result["email_verified"] == true;
    let mut fields = vec![
        ("id", text(&result["id"])),
        (
            "address",
            format!(
                "{} ({})",
                value(&text(&result["email"])),
                if is_proved { "proved" } else { "not proved" }
            ),
        ),
        ("name", value(&text(&result["name"]))),
        ("status", text(&result["status"])),
        ("roles", roles(result)),
        ("created", text(&result["created_at"])),
        ("password", String::from(if result["has_password"] == true { "set" } else { "none yet" })),
        (
            "lockout",
            format!(
                "{locked}; {failures}; {guesses} left in all to unknown devices, and a part of them each day, and {of_devices} to \
                 known ones; see portcullis audit tail --account {}",
                text(&result["id"])
            ),
        ),
        (
            "sessions",
            format!(
                "{}, {}",
                counted(browsers, "browser session", "browser sessions"),
                counted(programs, "token family", "token families")
            ),
        ),
        ("devices", joined(&result["devices"], device)),
        (
            "last log-in",
            match result["last_log_in_at"].as_str() {
                Some(at) => at.to_owned(),
                None => String::from("unknown: no open session and no known device"),
            },
        ),
        ("live links", joined(&result["links"], link)),
        ("last mail", mail),
    ];
    if let Some(until) = result["address_change_undoable_until"].as_str() {
        fields.push(("address change", format!("can be undone until {until}")));
    }
    fields.into_iter().map(|(name, field)| format!("{name:<15}{field}")).collect()
}

fn joined(items: &Value, told: impl Fn(&Value) -> String) -> String {
    let items: Vec<String> = items.as_array().into_iter().flatten().map(told).collect();
    if items.is_empty() { String::from("none") } else { items.join("; ") }
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
