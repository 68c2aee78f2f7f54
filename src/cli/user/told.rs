//! Texts that the commands for accounts print, made of the server's answers.

use serde_json::Value;

use crate::cli::counted;
use crate::cli::printable::value;
use crate::cli::table::{table_of, text};

/// Names the account of an answer: its address and its id.
pub(in crate::cli) fn named(account: &Value) -> String {
    format!("{} ({})", value(&text(&account["email"])), text(&account["id"]))
}

/// Says what became of the mail of an answer, if it has one.
pub(super) fn mailed(result: &Value) -> String {
    result["mail"].as_str().map_or_else(String::new, |mail| format!("; mail: {mail}"))
}

/// Lists invitations.
pub(super) fn invited(result: &Value) -> Vec<String> {
    let items = result["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |item: &Value| {
        let [by, end] = ["invited_by", "expires_at"].map(|field| value(&text(&item[field])));
        format!("{}, {}, by {by}, until {end}", named(item), roles(item))
    };
    let mut lines: Vec<String> = items.iter().map(line).collect();
    if lines.is_empty() {
        lines.push(String::from("no open invitations"));
    }
    if let Some(next) = result["next_cursor"].as_str() {
        lines.push(format!("there are more: add --after {next}"));
    }
    lines
}

pub(super) fn ended(result: &Value) -> String {
    let count = result["sessions_ended"].as_u64().unwrap_or(0);
    format!("{} ended", counted(count, "session", "sessions"))
}

pub(super) fn roles(account: &Value) -> String {
    let roles: Vec<&str> =
        account["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match roles.as_slice() {
        [] => String::from("no roles"),
        [one] => format!("the role {one}"),
        many => format!("the roles {}", many.join(", ")),
    }
}

/// Tells what a reset has ended, and what not.
pub(super) fn reset(result: &Value) -> Vec<String> {
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

pub(super) fn unlocked(result: &Value) -> Vec<String> {
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

pub(super) fn moved(result: &Value) -> Vec<String> {
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

pub(super) fn listed(result: &Value) -> Vec<String> {
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
    match result["foreign_hashes"].as_u64() {
        Some(foreign) if foreign > 0 => {
            let hashes = counted(foreign, "account has", "accounts have");
            lines.push(format!("{hashes} a hash of another system, which the first log-in replaces"));
        }
        _ => {}
    }
    lines
}

/// Tells how an account stands, one thing a line; or which sign-ups wait where there is no account.
pub(super) fn shown(result: &Value) -> Vec<String> {
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
        ("password", password(result)),
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
    fields.extend(carried(result));
    if let Some(until) = result["address_change_undoable_until"].as_str() {
        fields.push(("address change", format!("can be undone until {until}")));
    }
    fields.into_iter().map(|(name, field)| format!("{name:<15}{field}")).collect()
}

/// Tells whether an account has a password, and of what kind if another system has hashed it.
fn password(result: &Value) -> String {
    let text = |name: &str| result[name].as_str();
    let has_password = result["has_password"] == true;
    match (text("foreign_hash"), text("foreign_hash_ends_at"), text("imported_at")) {
        (Some(hash), Some(end), _) => {
            format!("a hash of another system ({hash}), none any more from {end} on")
        }
        (Some(hash), None, _) => {
            format!("a hash of another system ({hash}), which the first log-in replaces")
        }
        (None, _, _) if has_password => String::from("set"),
        (None, Some(end), Some(at)) => {
            format!(
                "none yet; imported at {at}, and what another system had hashed is no password any more since {end}"
            )
        }
        (None, ..) => String::from("none yet"),
    }
}

/// Tells what an account carries beside its name, as far as it has it.
fn carried(result: &Value) -> Vec<(&'static str, String)> {
    let names = [
        ("language", "locale"),
        ("user metadata", "user_metadata"),
        ("app metadata", "app_metadata"),
        ("external id", "external_id"),
    ];
    let told = |(name, field): (&'static str, &str)| Some((name, value(&text(result.get(field)?))));
    names.into_iter().filter_map(told).collect()
}

/// Tells what an account carries after a change.
pub(super) fn set(result: &Value) -> Vec<String> {
    let fields = std::iter::once(("name", value(&text(&result["name"])))).chain(carried(result));
    let fields = fields.map(|(name, field)| format!("{name:<15}{field}"));
    let gone = ["user_metadata", "app_metadata"].into_iter().filter_map(|object| removed(result, object));
    std::iter::once(format!("changed {}", named(result))).chain(fields).chain(gone).collect()
}

/// Names the members that an object of an account has lost, since a new one takes the place of the whole.
fn removed(result: &Value, object: &str) -> Option<String> {
    let before = result.get("before")?.get(object)?.as_object()?;
    let is_there =
        |name: &&String| result.get(object).is_some_and(|after| after.get(name.as_str()).is_some());
    let gone: Vec<String> = before.keys().filter(|name| !is_there(name)).map(|name| value(name)).collect();
    let from = object.replace('_', " ");
    (!gone.is_empty()).then(|| format!("removed from {from}: {}", gone.join(", ")))
}

fn joined(items: &Value, told: impl Fn(&Value) -> String) -> String {
    let items: Vec<String> = items.as_array().into_iter().flatten().map(told).collect();
    if items.is_empty() { String::from("none") } else { items.join("; ") }
}
