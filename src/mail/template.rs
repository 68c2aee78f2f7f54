//! The text of each kind of mail.
//!
//! Security: links are built from the configured public origin alone. The token is in the fragment, after `#`, which
//! browsers do not send, so that no server logs it. Opening a link changes nothing.

use crate::registry::outbox::record::Kind;

/// The content of a mail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Letter {
    /// Subject line.
    pub subject: String,
    /// Plain-text part.
    pub text: String,
    /// HTML part.
    pub html: String,
    /// The link in both parts, if there is one.
    pub link: Option<String>,
}

/// Writes the mail of `kind` to the address `to`, for a service named `service` at `origin`. `token` is the secret of
/// its link.
pub fn write(kind: Kind, service: &str, origin: &str, to: &str, token: Option<&str>) -> Letter {
    let link = |page: &str| token.map(|token| format!("{origin}/{page}#token={token}"));
    // The token of this link is valid only together with the address.
    let bound = |page: &str| link(page).map(|link| format!("{link}&email={}", encoded(to)));
    let (subject, body, link, end) = match kind {
        Kind::Verify => (
            format!("Confirm your address for {service}"),
            "Please confirm that this address is yours.",
            link("verify"),
            "If you did not sign up, ignore this mail. Without the link no account is confirmed.",
        ),
        Kind::AlreadyRegistered => (
            format!("You already have an account at {service}"),
            "Somebody, perhaps you, tried to sign up with this address. It has an account already.",
            None,
            "If it was you, log in, or ask for a new password if you have forgotten it. If not, you do not need to do anything.",
        ),
        Kind::Reset => (
            format!("Set a new password for {service}"),
            "A new password was requested for the account with this address.",
            link("reset"),
            "The link works once, and for a short time. If you did not ask for it, ignore this mail: nothing has changed.",
        ),
        Kind::ResetDone => (
            format!("Your password for {service} was changed by a mailed link"),
            "Your password was just changed with a link that was mailed to you. All sessions were ended.",
            None,
            "If that was not you, somebody else can read your mail: secure your mailbox first, then ask for a new password.",
        ),
        Kind::PasswordChanged => (
            format!("Your password for {service} was changed"),
            "Your password was just changed, and your other sessions were ended.",
            None,
            "If that was not you, ask for a new password at once.",
        ),
        Kind::Lockout => (
            format!("Log-in to {service} is locked for some time"),
            "Wrong passwords were entered for your account several times, so new devices have to wait. Devices on which \
             you have logged in before are not affected.",
            link("unlock"),
            "This link unlocks it at once. If the attempts were not yours, you do not need to do anything.",
        ),
        Kind::EmailChange => (
            format!("Confirm your new address for {service}"),
            "Please confirm the new address of your account.",
            bound("email-change"),
            "If you did not ask for it, ignore this mail: nothing has changed.",
        ),
        Kind::EmailUndo => (
            format!("Your address at {service} was changed"),
            "Your account now has another address. If that was not you, undo it with this link within three days. That also \
             ends every session and removes the password, and you will get a link to set a new one.",
            bound("email-undo"),
            "If it was you, you do not need to do anything.",
        ),
        Kind::Targeted => (
            format!("Somebody is trying to get into your account at {service}"),
            "Wrong passwords for your account came from many networks within an hour. None of them was right.",
            None,
            "You do not need to do anything. If you use the same password elsewhere, change it there and here.",
        ),
        Kind::AccountDeleted => (
            format!("Your account at {service} was deleted"),
            "Your account with this address was just deleted, with all its sessions. Nothing of it is left that could log in.",
            None,
            "If that was not you, answer to the operator of the service at once: your password may be known to somebody else.",
        ),
        Kind::RefreshReused => (
            format!("A session at {service} was ended"),
            "A credential of one of your sessions was used twice, as happens when it was copied. We have ended that \
             session.",
            None,
            "Log in again. If you do not know why this happened, change your password.",
        ),
        Kind::NewDevice => (
            format!("A new device has logged in to your account at {service}"),
            "Your account was just used on a device that has not logged in to it before, or not for a long time.",
            None,
            "If that was you, you do not need to do anything. If not, set a new password at once and log out everywhere.",
        ),
        Kind::DeviceDemoted => (
            format!("A device was used to guess your password for {service}"),
            "Wrong passwords for your account were entered several times on a device or in a session that you had logged \
             in with. We no longer trust that device.",
            None,
            "If that was you, log in there again once you remember the password. If not, somebody else uses the device, or \
             has copied from it: log out everywhere and set a new password.",
        ),
    };
    let link_line = link.as_deref().map_or(String::new(), |link| format!("{link}\n\n"));
    let text = format!("{body}\n\n{link_line}{end}\n\n{service}\n");
    let anchor = link.as_deref().map_or(String::new(), |link| {
        let link = escape(link);
        format!("<p><a href=\"{link}\">{link}</a></p>")
    });
    let html = format!(
        "<!doctype html><html lang=\"en\"><body><p>{}</p>{anchor}<p>{}</p><p>{}</p></body></html>",
        escape(body),
        escape(end),
        escape(service)
    );
    Letter { subject, text, html, link }
}

/// Encodes a value for a URL fragment.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_have_their_link_in_both_parts_and_escape_the_service() {
        let kinds = [
            (Kind::Verify, true),
            (Kind::AlreadyRegistered, false),
            (Kind::Reset, true),
            (Kind::ResetDone, false),
            (Kind::PasswordChanged, false),
            (Kind::Lockout, true),
            (Kind::RefreshReused, false),
            (Kind::Targeted, false),
            (Kind::EmailChange, true),
            (Kind::EmailUndo, true),
            (Kind::NewDevice, false),
            (Kind::DeviceDemoted, false),
        ];
        for (kind, has_link) in kinds {
            let letter = write(kind, "A <b> & Co", "https://us.example", "a+b@us.example", Some("pcm_x"));
            let bound = letter.text.contains("&email=a%2Bb@us.example");
            assert_eq!(bound, matches!(kind, Kind::EmailChange | Kind::EmailUndo));
            assert_eq!(letter.link.is_some(), has_link);
            assert_eq!(letter.text.contains("https://us.example/"), has_link);
            assert_eq!(letter.html.matches("#token=pcm_x").count(), if has_link { 2 } else { 0 });
            assert!(letter.html.contains("A &lt;b&gt; &amp; Co"));
            assert!(!letter.subject.contains('\n'));
        }
    }
}
