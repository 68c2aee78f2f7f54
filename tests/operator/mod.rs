//! What an operator sees: alerts, the checklist, and the mail server that the operator runs.

mod audit_tail;
mod checklist;
mod data_tools;
mod mail_delivery;
mod mail_server;
mod operators;
