//! The mailbox around the [`Outbox`].

use super::record::MailV1;
use super::state::{Outbox, Tried};
pub use super::state::{Post, Settle};
use crate::journal::append::handle::Class;
use crate::registry::{handles, reads, registry};

registry!(Outbox, MailV1, "mail");

/// Mails to be tried now.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// How many at most.
    pub limit: usize,
}

/// Writes an entry that changes nothing, so that the next snapshot has an end of its own.
#[derive(Clone, Copy, Debug)]
pub struct Blank;

/// How many wait.
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

/// Returns the class of space for what came of a try. That a mail is gone must be written down, or it is sent again;
/// when to try again may be forgotten.
fn class_of(settle: &Settle) -> Class {
    if settle.tried == Tried::Failed { Class::Ordinary } else { Class::Essential }
}
