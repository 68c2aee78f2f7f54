//! The mailbox around the [`Outbox`].

use super::record::MailV1;
use super::state::{Outbox, Post, Tried};
use crate::registry::{handles, reads, registry};

registry!(Outbox, MailV1, "mail");

/// Tells how a try ended.
#[derive(Clone, Copy, Debug)]
pub struct Settle(pub [u8; 16], pub Tried);

/// Mails to be tried now.
#[derive(Clone, Copy, Debug)]
pub struct Due(pub usize);

/// How many wait.
#[derive(Clone, Copy, Debug)]
pub struct Waiting;

handles!(Outbox {
    Post => (), Ordinary, |outbox, command, _| outbox.post(command);
    Settle => (), Essential, |outbox, command, now| outbox.tried(command.0, command.1, now);
});

reads!(Outbox {
    Due => Vec<MailV1>, |outbox, command, now| outbox.due(command.0, now);
    Waiting => usize, |outbox, _, _| outbox.len();
});
