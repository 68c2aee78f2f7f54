//! The server inside another program: an engine, or a whole server, on a thread of its own.
//!
//! ```text
//!  program (any runtime)                 thread "portcullis": an actix system of its own
//!  Engine::start / Server::build ──────▶ recover, start, bind          system_thread.rs
//!           Embedded / Server    ◀────── engine
//!  stop(), or the drop of it     ──────▶ drain, last snapshot, close
//! ```
//!
//! Actors need an actix system, which `#[tokio::main]` and `#[tokio::test]` do not run. On a thread of its own there is always
//! one, and it lives as long as the engine.

mod embedded;
mod options;
mod server_builder;
mod system_thread;
#[cfg(feature = "testing")]
pub mod testing;

pub use embedded::{Embedded, EngineBuilder};
pub use server_builder::{Server, ServerBuilder};
