//! The server from the outside: flows over HTTP, attacks as the attacker would run them, crashes of the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod attacks;
mod bad_input;
mod crash;
mod equal_work;
mod faults;
mod flows;
mod golden;
mod mail_server;
mod operators;
mod pairs;
mod places;
mod restore;
mod secrets;
mod support;
mod tidy;
mod two_engines;
