//! The mailbox around the [`Outbox`].

use super::record::MailV2;
use super::state::{DeliveryOutcome, Fate, LastMail, Outbox};
pub use super::state::{Due, Post, Settle};
use crate::journal::append::handle::Class;
use crate::registry::{handles, reads, registry};

registry!(Outbox, MailV2, "mail");

/// Writes an entry that changes nothing, so that the next snapshot has an end of its own.
#[derive(Clone, Copy, Debug)]
pub struct Blank;

/// Reads how many mails wait.
#[derive(Clone, Copy, Debug)]
pub struct Waiting;

/// Reads what has become of a mail.
#[derive(Clone, Copy, Debug)]
pub struct FateOf {
    /// The mail.
    pub id: [u8; 16],
}

/// Reads why a mail has not left that was tried in vain a moment ago.
#[derive(Clone, Copy, Debug)]
pub struct AnswerOf {
    /// The mail.
    pub id: [u8; 16],
}

/// Reads the last mail to an address.
#[derive(Clone, Debug)]
pub struct LastTo {
    /// The address in its canonical form.
    pub address: Box<str>,
}

handles!(Outbox {
    Post => (), by(|post| post.class), |outbox, post, _| outbox.post(post);
    Settle => (), by(class_of), |outbox, settle, now| outbox.settle(&settle, now), after |outbox, settle, (), now| {
        outbox.note(settle, now);
    };
    Blank => (), Essential, |_, _, _| Outbox::blank();
});

reads!(Outbox {
    Due => Vec<MailV2>, |outbox, due, now| outbox.due(&due, now);
    Waiting => usize, |outbox, _, _| outbox.len();
    LastTo => Option<LastMail>, |outbox, last_to, _| outbox.last_to(&last_to.address);
    AnswerOf => Option<Box<str>>, |outbox, answer_of, _| outbox.answer(answer_of.id);
    FateOf => Fate, |outbox, fate_of, _| outbox.fate(fate_of.id);
});

/// Returns the class of journal space for the outcome of a delivery. The removal of a mail must be written, or the mail
/// is sent again; the time of the next try may be lost.
fn class_of(settle: &Settle) -> Class {
    if settle.outcome == DeliveryOutcome::Failed { Class::Ordinary } else { Class::Essential }
}
