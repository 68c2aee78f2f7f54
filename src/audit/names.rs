//! The names of all events with what they mean, and how a reader names some of them.

/// Every event of the log with its meaning, in the order of names.
pub const EVENTS: &[(&str, &str)] = &[
    ("account.deleted", "An account was deleted, by its owner or an administrator."),
    ("account.invited", "The owner of an account without a password was mailed a link to set one."),
    ("account.sign_up_taken", "Somebody signed up with an address that has an account."),
    ("account.signed_up", "Somebody signed up; the address is not proved yet."),
    ("account.verified", "An address was proved."),
    (
        "accounts.exported",
        "An operator had all accounts written out; the reason says whether with hashes of passwords.",
    ),
    (
        "accounts.imported",
        "Accounts of another system were taken: a line at the begin, and one with the counts.",
    ),
    ("admin.account_changed", "An administrator changed an account; the reason names the fields."),
    (
        "admin.account_created",
        "An administrator made an account; the reason names its roles and its other fields.",
    ),
    ("api_key.deleted", "An API key was deleted."),
    ("api_key.made", "An API key was made."),
    ("audit.acknowledged", "An operator knows of what starts have found changed in this log."),
    ("audit.cut", "Lines of this log are missing: somebody removed them, or a file."),
    ("audit.damaged", "The end of a file of this log cannot be read."),
    ("audit.mended", "A line that a crash had torn was cut off."),
    ("audit.removed", "An old file of this log was removed, by its age or the size of all."),
    ("audit.unrecorded", "A start found no record of where this log ends."),
    ("csrf.rejected", "A request may have come from another site."),
    (
        "data.backed_up",
        "An operator had the running server back up its data; the reason says where, and whether with keys.",
    ),
    ("device.all_ended", "An owner ended all known devices."),
    ("device.demoted", "A known device entered wrong passwords, and is trusted no longer."),
    ("device.new", "A device that the account did not know has logged in."),
    ("device.notices_set", "An owner switched the mails about new devices on or off."),
    ("device.recognised", "A known device tried to log in."),
    ("email.change_asked", "An owner asked for another address."),
    ("email.change_undone", "A change of address was undone from the former mailbox."),
    ("email.changed", "The address of an account was changed."),
    ("events.lost", "Events for other programs could not be kept; those that read them are told of a gap."),
    ("hook.failed", "A hook gave no answer that counts, and hook.on_error decided; summed up once a minute."),
    (
        "hook.refused",
        "A hook of the operator refused a sign-up, a log-in or a refresh; the reason says which.",
    ),
    (
        "invitation.accepted",
        "Somebody made an account by the link of an invitation; the reason names its roles.",
    ),
    ("invitation.sent", "An administrator invited an address; the reason names the roles."),
    ("invitation.withdrawn", "An administrator withdrew an invitation."),
    ("key.retired", "A signing key was withdrawn; its tokens are refused."),
    ("key.rotated", "A new key was made, by an administrator or by age."),
    ("lockout.cleared", "The lock of an account was lifted."),
    ("lockout.started", "Too many wrong passwords: a name is locked for unknown devices."),
    ("login.failed", "A wrong password, or a name without an account."),
    ("login.locked", "A try to log in was refused since the name is locked."),
    ("login.shed", "A try to log in was refused since too many wait."),
    ("login.succeeded", "Somebody logged in; the line names the session."),
    ("mail.withheld", "A mail that was asked for is not sent: a quota of mails is used up."),
    ("password.changed", "An owner changed the password with the old one."),
    ("password.reset", "A password was set by a mailed link."),
    ("password.reset_requested", "A link to set a new password was asked for."),
    ("refresh.replayed", "A refresh token came twice within the grace, as after a lost answer."),
    (
        "refresh.reused",
        "A spent refresh token came back: copied, stored wrongly, or late after a lost answer.",
    ),
    ("refresh.rotated", "A refresh token was exchanged for the next."),
    ("request.throttled", "Requests over a limit, summed up once a minute."),
    ("server.started", "The server started."),
    ("session.gave_way", "An account had too many sessions, and the one unused longest ended."),
    ("session.issued", "An embedding program opened a session without a password; the line says why."),
    ("session.moved", "A session cookie came from another browser."),
    ("session.reauthenticated", "An owner proved again who they are."),
    ("session.revoked", "Sessions were ended, by a log-out or an administrator."),
    ("stuffing.suspected", "Many wrong passwords follow one pattern."),
    ("token.rejected", "An access token or API key that is not valid."),
    (
        "webhook.disabled",
        "A webhook has failed for three days or answered 410, and is not called any more; the reason says which.",
    ),
    ("webhook.resumed", "An operator had a webhook called again."),
];

/// How many names are proposed for one that is unknown.
const NEAREST: usize = 3;

/// A name that no event has.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no event {typed:?}; the nearest are {}", .nearest.join(", "))]
pub struct UnknownEvent {
    typed: String,
    nearest: Vec<&'static str>,
}

/// Turns the name of an event that a person typed into the filter of [`super::read::Wanted`]. Takes a whole name
/// (`login.failed`) or the first part of several (`login`, `login.`, `login.*`), in any case.
pub fn wanted(typed: &str) -> Result<String, UnknownEvent> {
    let lower = typed.trim().to_ascii_lowercase();
    let is_name = |name: &str| EVENTS.iter().any(|(event, _)| *event == name);
    let begins = |prefix: &str| EVENTS.iter().any(|(event, _)| event.starts_with(prefix));
    if is_name(&lower) {
        return Ok(lower);
    }
    let whole = match lower.strip_suffix('*') {
        Some(prefix) => prefix.to_owned(),
        None if lower.is_empty() => return Err(unknown(typed, &lower)),
        None if lower.ends_with('.') => lower.clone(),
        None => format!("{lower}."),
    };
    if !begins(&whole) {
        return Err(unknown(typed, &lower));
    }
    Ok(if whole.ends_with('.') { whole } else { whole + "*" })
}

fn unknown(typed: &str, lower: &str) -> UnknownEvent {
    // A distance costs the product of the lengths, and no name is longer than this.
    let begin = &*lower.chars().take(64).collect::<String>();
    let mut nearest: Vec<&'static str> = EVENTS.iter().map(|(event, _)| *event).collect();
    let distance = |event: &&str| {
        let group = event.split('.').next().unwrap_or(event);
        let action = event.rsplit('.').next().unwrap_or(event);
        [*event, group, action].into_iter().map(|part| strsim::damerau_levenshtein(begin, part)).min()
    };
    nearest.sort_by_cached_key(distance);
    nearest.truncate(NEAREST);
    UnknownEvent { typed: typed.chars().take(64).collect(), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::Event;

    #[test]
    fn every_event_has_one_meaning_and_its_place() {
        let names: Vec<&str> = EVENTS.iter().map(|(name, _)| *name).collect();
        assert!(names.is_sorted_by(|a, b| a < b));
        for event in Event::ALL {
            assert!(names.contains(&event.name()), "{}", event.name());
        }
        let of_the_log = names.iter().filter(|name| Event::ALL.iter().all(|event| event.name() != **name));
        let of_the_log: Vec<_> = of_the_log.copied().collect();
        assert_eq!(
            of_the_log,
            [
                "audit.cut",
                "audit.damaged",
                "audit.mended",
                "audit.removed",
                "audit.unrecorded",
                "server.started"
            ]
        );
    }

    /// Kind: a reader who names nothing that exists is told that nothing happened.
    #[test]
    fn names_are_read_as_people_type_them_and_an_unknown_one_is_a_mistake() {
        for (typed, read) in [
            ("login.failed", "login.failed"),
            ("LOGIN.Failed", "login.failed"),
            ("login", "login."),
            ("login.", "login."),
            ("LOGIN.", "login."),
            ("login.*", "login."),
            ("login*", "login*"),
            ("login.s*", "login.s*"),
            ("api_key", "api_key."),
            ("server", "server."),
            ("*", "*"),
        ] {
            assert_eq!(wanted(typed).as_deref(), Ok(read), "{typed}");
        }
        for (typed, near) in [
            ("nosuch", ""),
            ("", ""),
            (".", ""),
            ("logn.failed", "login.failed"),
            ("logins", "login."),
            ("failed", "login.failed"),
            ("login.nosuch*", ""),
        ] {
            let error = wanted(typed).unwrap_err();
            assert_eq!(error.nearest.len(), NEAREST);
            assert!(error.nearest.iter().any(|name| name.starts_with(near)), "{error}");
        }
    }
}
