//! The text of each kind of mail.
//!
//! Security: links are built from the configured public origin alone. The token is in the fragment, after `#`, which
//! browsers do not send, so that no server logs it. Opening a link changes nothing. An address that somebody
//! else has chosen is shown as two characters of it, so that nobody can put words into the mails of the service.

use crate::registry::outbox::record::Kind;
use crate::value::account_name::masked;

/// The content of a mail.
#[derive(Clone, Eq, PartialEq)]
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

impl std::fmt::Debug for Letter {
    /// Leaves out the text and the link, which hold the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letter").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// A mail that is to be written.
#[derive(Clone, Copy)]
pub struct Draft<'a> {
    /// Its kind.
    pub kind: Kind,
    /// The name of the service.
    pub service: &'a str,
    /// The public origin of the service.
    pub origin: &'a str,
    /// The address that it goes to.
    pub to: &'a str,
    /// An address, masked or not, that the text hints at. The reader may not know it.
    pub about: Option<&'a str>,
    /// The token of its link; `None` if it has none, or none any more.
    pub token: Option<&'a str>,
}

/// The pages that links lead to, below the public origin. They are pages of the application.
pub const PAGES: [&str; 6] = ["verify", "reset", "unlock", "email-change", "email-undo", "invitation"];

/// Writes a mail.
pub fn write(draft: Draft<'_>) -> Letter {
    let Draft { kind, service, origin, to, about, token } = draft;
    let about = about.map(hint);
    let link = |page: &str| token.map(|token| format!("{origin}/{page}#token={token}"));
    // The token of this link is valid only together with the address.
    let bound = |page: &str| link(page).map(|link| format!("{link}&email={}", encoded(to)));
    let account = about.as_ref().map_or_else(String::new, |about| format!(" {about}"));
    let moved = about
        .as_ref()
        .map_or_else(|| String::from("another address"), |about| format!("the address {about}"));
    let body_of_change = format!(
        "The account{account} is to have this address. If that account is yours, confirm it with this link, while you are \
         logged in to it or with its password."
    );
    let body_of_undo = format!(
        "Your account {} now has {moved}. If that was not you, undo it with this link within three days. That also ends \
         every session and removes the password, and you will get a link to set a new one. If a new password was set by \
         mail since, you need the password that you had before the change.",
        masked(to)
    );
    let body_of_wish = format!(
        "The account{account} asks for your address. It has an account already, so nothing has changed."
    );
    let asker = about
        .as_ref()
        .map_or_else(|| String::from("Somebody, perhaps you,"), |about| format!("The account {about}"));
    let body_of_keep = format!(
        "{asker} asked to use this address. It belonged to an account whose address was changed within the last three days, \
         so it is kept for that account, and nothing has changed."
    );
    let body_of_undo_again = format!(
        "Somebody, perhaps you, asked for something at this address. It belonged to an account that now has {moved}, so it is \
         kept for that account, and nothing has changed. If you did not change the address, undo it with this link: within \
         three days of the change. That also ends every session and removes the password, and you will get a link to set a \
         new one. If a new password was set by mail since, you need the password that you had before the change."
    );
    let body_of_undo_ended = format!(
        "An administrator of the service has ended the time in which you could undo that your account {} got {moved}. Links \
         that undo it no longer work.",
        masked(to)
    );
    let maker = about
        .as_ref()
        .map_or_else(|| String::from("the operator"), |about| format!("the administrator {about}"));
    let body_of_key = format!(
        "An API key that may do what an administrator may was made by {maker}. It works without a log-in, and lives on if \
         its maker loses the role."
    );
    let body_of_mend = format!(
        "An administrator of the service gave your account {} the address {}. All its sessions were ended.",
        masked(to),
        about.as_deref().unwrap_or("of another mailbox")
    );
    let body_of_admin = format!(
        "The account{account} may now do all that an administrator may. Another administrator or the operator has given it \
         the role, or has enabled it."
    );
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
            if token.is_some() {
                "This link unlocks it at once. If the attempts were not yours, you do not need to do anything."
            } else {
                "If the attempts were not yours, you do not need to do anything."
            },
        ),
        Kind::EmailChange => (
            format!("Confirm your new address for {service}"),
            body_of_change.as_str(),
            bound("email-change"),
            "If you did not ask for it, or that account is not yours, ignore this mail: nothing has changed.",
        ),
        Kind::EmailUndo => (
            format!("Your address at {service} was changed"),
            body_of_undo.as_str(),
            bound("email-undo"),
            "If it was you, you do not need to do anything.",
        ),
        Kind::Invitation => (
            format!("Your account at {service}"),
            "An account with this address was made for you. Set its password with this link.",
            link("reset"),
            "The link works once, within the next days. If you do not expect an account there, ignore this mail.",
        ),
        Kind::AccountInvitation => (
            format!("You are invited to {service}"),
            "You are invited to have an account with this address. Set its password with this link.",
            link("invitation"),
            "The link works once, within the next days. If you do not want an account there, ignore this mail: none is made.",
        ),
        Kind::AddressWanted => (
            format!("Another account at {service} asks for your address"),
            body_of_wish.as_str(),
            None,
            "If that account is yours too, delete one of the two. If not, you do not need to do anything.",
        ),
        Kind::AddressKept => (
            format!("This address at {service} is kept for your account"),
            body_of_keep.as_str(),
            None,
            "If you did not change the address of your account, undo it with the link in the mail that told you of the change: \
             do that first. If that link is lost, ask for a new password with this address, and you get it again. If you did, \
             you do not need to do anything.",
        ),
        Kind::UndoAgain => (
            format!("This address at {service} is kept for your account"),
            body_of_undo_again.as_str(),
            bound("email-undo"),
            "If it was you, you do not need to do anything.",
        ),
        Kind::UndoEnded => (
            format!("The change of your address at {service} can no longer be undone"),
            body_of_undo_ended.as_str(),
            None,
            "If you did not ask for it, answer to the operator of the service at once: this address no longer opens the \
             account.",
        ),
        Kind::NoticesOff => (
            format!("Mails about new devices were switched off at {service}"),
            "From now on you get no mail when a device that is not known logs in to your account.",
            None,
            "If that was not you, set a new password at once, which switches them on again if you do it by mail, and log out \
             everywhere.",
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
            "A credential of one of your sessions was used twice, as happens when an app has lost its connection, or when the \
             credential was copied. We have ended that session.",
            None,
            "Log in again. If you do not know why this happened, change your password.",
        ),
        Kind::NewDevice => (
            format!("A new device has logged in to your account at {service}"),
            "Your account was just used on a device that has not logged in to it before, or not for a long time.",
            None,
            "If that was you, you do not need to do anything. If not, set a new password at once and log out everywhere.",
        ),
        Kind::AdminKeyMade => (
            format!("An API key for administration was made at {service}"),
            body_of_key.as_str(),
            None,
            "If you do not know what it is for, delete it: the list of API keys says who made each.",
        ),
        Kind::AdminMade => (
            format!("There is another administrator at {service}"),
            body_of_admin.as_str(),
            None,
            "If you do not know why, look who did it: the log of security events says so. Taking the role away ends the \
             access at once.",
        ),
        Kind::EmailMended => (
            format!("Your address at {service} was changed by an administrator"),
            body_of_mend.as_str(),
            None,
            "If you did not ask for it, answer to the operator of the service at once: this address no longer opens the \
             account.",
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

/// Masks an address for a reader who may not own it: `a***@e***`. Its owner recognises it.
///
/// Security: an attacker chooses the address of an account, so a domain such as `your-account-is-locked.example` would be
/// words of the attacker in a mail of the service, and mail programs make a link of it.
pub fn hint(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or_default();
    let first = |text: &str| text.chars().next().filter(char::is_ascii_alphanumeric).unwrap_or('*');
    format!("{}***@{}***", first(local), first(domain))
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

    const KINDS: [Kind; 23] = [
        Kind::Verify,
        Kind::AlreadyRegistered,
        Kind::Reset,
        Kind::ResetDone,
        Kind::PasswordChanged,
        Kind::Lockout,
        Kind::RefreshReused,
        Kind::Targeted,
        Kind::EmailChange,
        Kind::EmailUndo,
        Kind::AccountDeleted,
        Kind::NewDevice,
        Kind::DeviceDemoted,
        Kind::Invitation,
        Kind::AddressWanted,
        Kind::AddressKept,
        Kind::AdminKeyMade,
        Kind::EmailMended,
        Kind::AdminMade,
        Kind::UndoAgain,
        Kind::UndoEnded,
        Kind::NoticesOff,
        Kind::AccountInvitation,
    ];

    fn draft(kind: Kind, token: Option<&'static str>) -> Draft<'static> {
        Draft {
            kind,
            service: "A <b> & Co",
            origin: "https://us.example",
            to: "a+b@us.example",
            about: Some("e***@them.example"),
            token,
        }
    }

    #[test]
    fn the_mails_of_a_change_of_address_name_the_account() {
        for (kind, names) in [
            (Kind::EmailChange, &["account e***@t*** is"][..]),
            (Kind::EmailUndo, &["account a***@us.example now", "address e***@t***."]),
            (Kind::AddressWanted, &["account e***@t*** asks"]),
            (Kind::AddressKept, &["The account e***@t*** asked"]),
            (Kind::AdminKeyMade, &["the administrator e***@t***."]),
            (Kind::AdminMade, &["The account e***@t*** may"]),
            (Kind::EmailMended, &["account a***@us.example the address e***@t***."]),
            (Kind::UndoAgain, &["now has the address e***@t***,"]),
            (Kind::UndoEnded, &["account a***@us.example got the address e***@t***."]),
        ] {
            let letter = write(draft(kind, Some("pcm_x")));
            assert!(names.iter().all(|name| letter.text.contains(name)), "{}", letter.text);
            assert!(letter.html.contains("e***@t***"), "{}", letter.html);
        }
    }

    /// Mails about an account to somebody else differ by its address in two characters at most.
    #[test]
    fn no_mail_shows_what_the_holder_of_another_account_has_chosen() {
        for about in [
            "e***@your-account-is-locked-visit.evil.example",
            "http://evil.example/@evil.example",
            "<a href=//evil.example>@<b>.example",
            "\u{202e}elpmaxe@\u{202e}live.example",
            "e\r\nBcc: all@evil.example\r\n\r\nDear customer",
            "\"quoted@evil.example\"@evil.example",
            "no address",
            "@",
            "",
        ] {
            for kind in KINDS {
                for token in [None, Some("pcm_x")] {
                    let honest = write(draft(kind, token));
                    let hostile = write(Draft { about: Some(about), ..draft(kind, token) });
                    let shown = hint(about);
                    assert!(shown.chars().all(|c| c.is_ascii_alphanumeric() || "*@".contains(c)), "{shown}");
                    let [text, html] =
                        [&honest.text, &honest.html].map(|part| part.replace("e***@t***", &shown));
                    assert_eq!(hostile.text, text, "{kind:?} {about:?}");
                    assert_eq!(hostile.html, html, "{kind:?} {about:?}");
                    assert_eq!(hostile.subject, honest.subject, "{kind:?} {about:?}");
                    assert_eq!(hostile.link, honest.link, "{kind:?} {about:?}");
                }
            }
        }
    }

    #[test]
    fn a_lockout_is_news_without_its_link() {
        let letter = write(draft(Kind::Lockout, None));
        assert!(!letter.text.contains("This link"), "{}", letter.text);
        assert!(letter.link.is_none());
    }

    #[test]
    fn mails_have_their_link_in_both_parts_and_escape_the_service() {
        // A kind that is missing here has another place in the list than its number.
        assert!(KINDS.iter().enumerate().all(|(place, kind)| *kind as usize == place));
        let with_link = [
            Kind::Verify,
            Kind::Reset,
            Kind::Lockout,
            Kind::EmailChange,
            Kind::EmailUndo,
            Kind::Invitation,
            Kind::UndoAgain,
            Kind::AccountInvitation,
        ];
        for kind in KINDS {
            let has_link = with_link.contains(&kind);
            assert_eq!(kind.has_link(), has_link);
            let letter = write(draft(kind, Some("pcm_x")));
            let bound = letter.text.contains("&email=a%2Bb@us.example");
            assert_eq!(bound, matches!(kind, Kind::EmailChange | Kind::EmailUndo | Kind::UndoAgain));
            assert_eq!(letter.link.is_some(), has_link);
            assert_eq!(letter.text.contains("https://us.example/"), has_link);
            assert_eq!(letter.html.matches("#token=pcm_x").count(), if has_link { 2 } else { 0 });
            let page = letter.link.as_deref().and_then(|link| link.rsplit('/').next()?.split('#').next());
            assert!(page.is_none_or(|page| PAGES.contains(&page)), "{page:?}");
            assert!(letter.html.contains("A &lt;b&gt; &amp; Co"));
            assert!(!letter.subject.contains('\n'));
        }
    }
}
