//! Portcullis: a hardened authentication server, and the engine that other programs embed.
//!
//! What stands so far are the parts at the bottom, on which everything else rests:
//!
//! - [`clock`]: the one door through which time comes in;
//! - [`id`]: names of things, each of which carries the slot it lives in;
//! - [`journal`]: what is written down: the codec of frozen records, the entry, the frame, the header block, the
//!   table by which recovery judges, and tables in 4096 buckets. So far without storage and writer: nothing is durable yet;
//! - [`refresh`]: refresh-token families: rotation, the grace window, reuse detection. So far the rule alone;
//! - [`secret`]: opaque tokens and what is kept of them; the one door through which chance comes in;
//! - [`throttle`]: the limiter of client networks: the rule of one cell, and the cutting of addresses.
//!
//! Arrows go one way: `http → flow → actor → state`. Nothing here knows of what is above it.
//!
//! Invariant: no file but `clock.rs` reads a clock of the operating system; a lint refuses it.

pub mod account;
pub mod app;
pub mod audit;
pub mod clock;
pub mod config;
pub mod csrf;
pub mod engine;
pub mod fail_stop;
pub mod flow;
pub mod http;
pub mod id;
pub mod journal;
pub mod lockout;
pub mod mail;
pub mod password;
pub mod refresh;
pub mod registry;
pub mod reset;
pub mod secret;
pub mod session;
pub mod throttle;
pub mod token;
mod workers;
