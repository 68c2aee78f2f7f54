//! What an operator sees: figures, alerts, the checklist, and the mail server that the operator runs.

mod accounts;
mod alerts;
mod audit_tail;
mod bytes;
mod carried;
mod checklist;
mod command_line;
mod data_tools;
mod figures;
mod health;
mod imports;
mod log_lines;
mod mail_delivery;
mod mail_server;
mod operators;
mod receivers;
mod signals;
mod storm;
mod webhooks;
mod who_did_what;
