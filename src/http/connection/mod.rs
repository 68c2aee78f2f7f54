//! Connections, below HTTP: how many one network holds (`table.rs`), how long each may go on (`lifetime.rs`), what is read
//! ahead of the HTTP library (`stream.rs`, `ahead.rs`), and what a client is told of which the library can make no request
//! (`bare_answer.rs`). And which `Host` is refused (`host.rs`).
//! For a listener of the embedding program there is the bound of one network alone (`limit.rs`).
//!
//! ```text
//!   socket ──▶ GuardedStream ──▶ HTTP library ──▶ middleware
//!                │ bytes, writes                    │ Serving: a request began, was read, was answered
//!                └─────────────▶ Connection ◀───────┘
//!                                    ▲ every second; gives its place to another
//!                                Connections
//! ```

mod ahead;
mod bare_answer;
mod host;
mod lifetime;
mod limit;
mod stream;
mod table;

pub(super) use host::is_valid as has_valid_host;
pub(super) use lifetime::{Connection, Serving};
pub use limit::connection_limit;
pub use stream::GuardedStream;
pub use table::Connections;
