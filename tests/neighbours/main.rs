//! Real neighbours: mail servers, proxies, a monitor, a browser, the printed client, libraries that check
//! tokens, a fuzzer, and odd machines.
//! Each test writes the configuration of a real program to a temporary folder, starts it beside the real binary, speaks
//! through it, and stops it.
//!
//! A test whose neighbour is not installed says so on standard error and passes. With `PORTCULLIS_NEIGHBOURS=all` it fails
//! instead: `.ci/run` installs all of them and sets that. With `PORTCULLIS_NEIGHBOURS=none` every test passes at once.
//!
//! ```sh
//! PORTCULLIS_NEIGHBOURS=all cargo test --test neighbours -- --test-threads 6
//! ```
//!
//! Most of the time they wait, for a greylist or an idle connection, so more threads than cores pay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod authority;
mod browser;
mod client;
mod install;
mod mail;
mod openapi;
mod program;
mod prometheus;
mod proxies;
mod reply;
mod server;
#[allow(dead_code, unused_imports, reason = "shared with the other tests")]
#[path = "../support/mod.rs"]
mod support;
mod system;
mod tokens;
