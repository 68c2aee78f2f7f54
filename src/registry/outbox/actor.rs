//! The mailbox around the [`Outbox`].

use super::record::MailV1;
use super::state::{DeliveryOutcome, Outbox};
pub use super::state::{Post, Settle};
use crate::journal::append::handle::Class;
use crate::registry::{handles, reads, registry};

registry!(Outbox, MailV1, "mail");

/// Reads the mails that are due.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// How many mails at most.
    pub limit: usize,
}

/// Writes an entry that changes nothing, so that the next snapshot has an end of its own.
#[derive(Clone, Copy, Debug)]
pub struct Blank;

/// Reads how many mails wait.
#[derive(Clone, Copy, Debug)]
pub struct Waiting;

handles!(Outbox {
    Post => (), Ordinary, |outbox, post, _| outbox.post(post);
    Settle => (), by(class_of), |outbox, settle, now| outbox.settle(settle, now);
    Blank => (), Essential, |_, _, _| Outbox::blank();
});

reads!(Outbox {
    Due => Vec<MailV1>, |outbox, due, now| outbox.due(due.limit, now);
    Waiting => usize, |outbox, _, _| outbox.len();
});

/// Returns the class of journal space for the outcome of a delivery. The removal of a mail must be written, or the mail
/// is sent again; the time of the next try may be lost.
fn class_of(settle: &Settle) -> Class {
    if settle.outcome == DeliveryOutcome::Failed { Class::Ordinary } else { Class::Essential }
}
