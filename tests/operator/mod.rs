//! What an operator sees: alerts, the checklist, and the mail server that the operator runs.

mod bytes;
mod mail_delivery;
mod mail_server;
mod operators;
mod signals;
