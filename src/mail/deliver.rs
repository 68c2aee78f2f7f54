//! A way to deliver mails that the embedding program brings along: its own texts, languages and mail service.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use crate::mail::outgoing::{DeliveryError, Outgoing, Source};
use crate::registry::outbox::Kind;
use crate::value::account_name::masked;

/// How long one delivery may take before it counts as failed. Other mails leave meanwhile.
const DELIVERY_MAX: Duration = Duration::from_mins(2);
/// The longest reason that is kept of a failure, in characters.
const REASON_CHARS_MAX: usize = 200;

/// Delivers the mails of an engine.
///
/// Each mail waits in the journal until its delivery is recorded there. So it is delivered at least once: after a crash in
/// between it comes again, with the same [`Mail::message_id`]. The result decides what follows: `Ok` and
/// [`DeliverError::permanent`] end the mail, every other error lets it be tried again, later each time, for as long as its
/// link lives. A delivery may take its time, up to two minutes: nothing else waits for it. One that panics has failed.
///
/// Futures run on tokio.
///
/// ```
/// use portcullis::{Deliver, DeliverError, Mail, MailKind};
///
/// struct Post;
///
/// impl Deliver for Post {
///     async fn deliver(&self, mail: Mail<'_>) -> Result<(), DeliverError> {
///         let subject = match (mail.kind, mail.locale) {
///             (MailKind::Reset, Some("de" | "de-AT" | "de-CH")) => "Ihr neues Passwort",
///             _ => mail.subject,
///         };
///         # let _ = subject;
///         // Send it. An error of the mail service becomes a later try by `?`.
///         Ok(())
///     }
/// }
/// ```
pub trait Deliver: Send + Sync + 'static {
    /// Delivers one mail.
    fn deliver(&self, mail: Mail<'_>) -> impl Future<Output = Result<(), DeliverError>> + Send;
}

/// A mail that is to be delivered.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Mail<'a> {
    /// Why it is sent.
    pub kind: MailKind,
    /// The address that it goes to.
    pub recipient: &'a str,
    /// The language of whom the mail is for: of the account, as its owner or an administrator has set it, or of the sign-up or
    /// invitation of which there is no account yet. A tag of BCP 47, such as `en-GB`. `None` if none is set, and for most mails
    /// to a former address.
    pub locale: Option<&'a str>,
    /// The token of the link, if it has one.
    pub token: Option<&'a str>,
    /// The link to a page of the application, which has the token after `#`.
    pub link: Option<&'a str>,
    /// An address that the text names, already masked.
    pub about: Option<&'a str>,
    /// The subject, in English.
    pub subject: &'a str,
    /// The text, in English.
    pub text: &'a str,
    /// The same as HTML.
    pub html: Option<&'a str>,
    /// The `Message-ID`. It is the same in every try.
    pub message_id: &'a str,
}

impl fmt::Debug for Mail<'_> {
    /// Leaves out the texts, which hold the token, and masks the address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Mail");
        shown.field("kind", &self.kind).field("recipient", &masked(self.recipient)).finish_non_exhaustive()
    }
}

/// Declares [`MailKind`] and its conversion from the kinds that the outbox stores.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident,)+) => {
        /// Why a mail is sent.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum MailKind {
            $($(#[$doc])+ $kind,)+
        }

        impl From<Kind> for MailKind {
            fn from(kind: Kind) -> Self {
                match kind {
                    $(Kind::$kind => Self::$kind,)+
                }
            }
        }
    };
}

kinds! {
    /// Proves the address of a sign-up. Has a link to `/verify`.
    Verify,
    /// Somebody tried to sign up with an address that has an account.
    AlreadyRegistered,
    /// Sets a new password. Has a link to `/reset`.
    Reset,
    /// The password was set by a mailed link.
    ResetDone,
    /// The password was changed.
    PasswordChanged,
    /// Log-in from new devices is locked for a while. May have a link to `/unlock`.
    Lockout,
    /// A refresh token was used twice, and its session has ended.
    RefreshReused,
    /// Wrong passwords come from many networks.
    Targeted,
    /// Proves a new address of an account. Has a link to `/email-change`.
    EmailChange,
    /// The address was changed. Goes to the former address, with a link to `/email-undo`.
    EmailUndo,
    /// The account was deleted.
    AccountDeleted,
    /// A device that was not known has logged in.
    NewDevice,
    /// A known device has entered wrong passwords and is trusted no longer.
    DeviceDemoted,
    /// Sets the first password of an account that was made for the recipient. Has a link to `/reset`.
    Invitation,
    /// Another account asks for this address.
    AddressWanted,
    /// Somebody asks for this address, which is kept for the account that had it.
    AddressKept,
    /// An API key with the rights of an administrator was made. Goes to every administrator.
    AdminKeyMade,
    /// An administrator has changed the address of the account. Goes to the former address.
    EmailMended,
    /// An account has become an administrator. Goes to every other administrator.
    AdminMade,
    /// Somebody asks for an address that is kept for the account that had it. Goes there, with a link to `/email-undo`.
    UndoAgain,
    /// An administrator has ended the time in which a change of address could be undone. Goes to the former address.
    UndoEnded,
    /// The mails about log-ins from new devices were switched off.
    NoticesOff,
    /// Invites the recipient to have an account. Has a link to `/invitation`.
    AccountInvitation,
}

/// A mail was not delivered.
///
/// Any other error becomes one by `?`, and the mail is tried again. Its text goes to the log: it should name no address and no
/// token.
pub struct DeliverError {
    why: String,
    is_permanent: bool,
}

impl DeliverError {
    /// Lets the mail be tried again later.
    pub fn later(why: impl fmt::Display) -> Self {
        Self { why: one_line(&why), is_permanent: false }
    }

    /// Ends the mail: another try cannot succeed, as for an address that does not exist.
    pub fn permanent(why: impl fmt::Display) -> Self {
        Self { why: one_line(&why), is_permanent: true }
    }
}

/// Returns the start of `why`, as one line of a log.
fn one_line(why: &dyn fmt::Display) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    why.to_string().chars().map(plain).take(REASON_CHARS_MAX).collect()
}

impl<E: std::error::Error> From<E> for DeliverError {
    fn from(error: E) -> Self {
        Self::later(error)
    }
}

impl fmt::Debug for DeliverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeliverError({self})")
    }
}

impl fmt::Display for DeliverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

type Delivering<'a> = Pin<Box<dyn Future<Output = Result<(), DeliverError>> + Send + 'a>>;

/// [`Deliver`] without its type.
trait AnyDeliver: Send + Sync {
    fn deliver<'a>(&'a self, mail: Mail<'a>) -> Delivering<'a>;
}

impl<D: Deliver> AnyDeliver for D {
    fn deliver<'a>(&'a self, mail: Mail<'a>) -> Delivering<'a> {
        Box::pin(Deliver::deliver(self, mail))
    }
}

/// The way of the embedding program.
#[derive(Clone)]
pub struct OwnDelivery(Arc<dyn AnyDeliver>);

impl OwnDelivery {
    /// Delivers by `deliver`.
    pub fn new(deliver: impl Deliver) -> Self {
        Self(Arc::new(deliver))
    }

    /// Delivers one mail.
    pub(super) async fn deliver(&self, mail: &Outgoing) -> Result<(), DeliveryError> {
        let failed =
            |what: &str, permanent| DeliveryError { what: what.to_owned(), permanent, has_begun: false };
        let Some(Source { kind, token, about, locale }) = &mail.source else {
            return Err(failed("the embedding program delivers no test mails", true));
        };
        let mail = Mail {
            kind: (*kind).into(),
            recipient: &mail.to,
            locale: locale.as_deref(),
            token: token.as_ref().map(|token| token.as_str()),
            link: mail.letter.link.as_deref(),
            about: about.as_deref(),
            subject: &mail.letter.subject,
            text: &mail.letter.text,
            html: Some(&mail.letter.html),
            message_id: &mail.message_id,
        };
        match timeout(DELIVERY_MAX, caught(|| self.0.deliver(mail))).await {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(error))) => Err(failed(&error.why, error.is_permanent)),
            Ok(None) => Err(failed("the embedding program panicked while it delivered the mail", false)),
            Err(_) => Err(failed("the embedding program took too long to deliver the mail", false)),
        }
    }
}

/// Begins and awaits a delivery. Returns `None` if it panics.
async fn caught<'a>(begin: impl FnOnce() -> Delivering<'a>) -> Option<Result<(), DeliverError>> {
    let mut delivering = catch_unwind(AssertUnwindSafe(begin)).ok()?;
    std::future::poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| delivering.as_mut().poll(context)));
        polled.map_or(Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::template::{Draft, write};

    struct Answering(Answer);

    impl Deliver for Answering {
        async fn deliver(&self, mail: Mail<'_>) -> Result<(), DeliverError> {
            assert_eq!(mail.kind, MailKind::Reset);
            assert_eq!(mail.token, Some("pcm_x"));
            assert_eq!(mail.locale, Some("de"));
            assert!(mail.link.unwrap().ends_with("/reset#token=pcm_x"));
            let shown = format!("{mail:?}");
            assert!(!shown.contains("pcm_x") && !shown.contains("ada@"), "{shown}");
            tokio::task::yield_now().await;
            (self.0)()
        }
    }

    fn mail() -> Outgoing {
        let draft = Draft {
            kind: Kind::Reset,
            service: "Tea",
            origin: "https://us.example",
            to: "ada@example.org",
            about: None,
            token: Some("pcm_x"),
        };
        Outgoing {
            message_id: "<1@us.example>".into(),
            from: "us@us.example".into(),
            from_name: None,
            to: "ada@example.org".into(),
            letter: write(draft),
            source: Some(Source {
                kind: Kind::Reset,
                token: Some(String::from("pcm_x").into()),
                about: None,
                locale: Some(String::from("de")),
            }),
        }
    }

    type Answer = fn() -> Result<(), DeliverError>;

    #[tokio::test]
    async fn the_result_of_a_program_decides_whether_a_mail_is_tried_again() {
        let delivered = async |answer| OwnDelivery::new(Answering(answer)).deliver(&mail()).await;
        assert!(delivered(|| Ok(())).await.is_ok());
        let busy = || Err(std::io::Error::other("the mail service\r\nis busy").into());
        let cases: [(Answer, &str, bool); 3] = [
            (busy, "the mail service  is busy", false),
            (|| Err(DeliverError::permanent("no such mailbox")), "no such mailbox", true),
            (|| panic!("planned"), "the embedding program panicked while it delivered the mail", false),
        ];
        for (answer, why, permanent) in cases {
            let error = delivered(answer).await.unwrap_err();
            assert_eq!((error.what.as_str(), error.permanent), (why, permanent));
        }
    }

    struct Endless;

    impl Deliver for Endless {
        async fn deliver(&self, _: Mail<'_>) -> Result<(), DeliverError> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_without_an_end_has_failed() {
        let error = OwnDelivery::new(Endless).deliver(&mail()).await.unwrap_err();
        assert!(error.what.contains("took too long"), "{error}");
        assert!(!error.permanent);
    }
}
