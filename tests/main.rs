//! Integration tests: the server over HTTP, attacks as an attacker would run them, crashes of the real binary, and the
//! command line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod api;
mod attacks;
mod defences;
mod durability;
mod embed;
mod operator;
mod readme;
mod support;
mod tidy;
