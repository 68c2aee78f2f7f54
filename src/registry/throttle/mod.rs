//! The limiter of client networks.
//!
//! **The attack:** guessing and stuffing from one address, or from the many addresses that one client owns: a home has
//! an IPv6 /64 at least, a rented server often a /48 with 65,536 of them.
//!
//! **The rule:** each client address is cut to the [network] it comes from, and charged to it and to the wider ones
//! around it. Each network has a [cell](gcra::Cell) by the generic cell rate algorithm: a burst at once, then an even
//! rate. A refused request leaves the cell as it was.
//!
//! ```text
//!   absent ──▶ owing(n) ──▶ spent: refused, and never dropped
//!     ▲          │  ▲          │
//!     └── time ──┘  └── time ──┘        a success gives its own charge back, as far as time has not paid it off
//! ```
//!
//! The table has [room](cells) for a fixed number of cells, 16 bytes each. A newcomer takes an idle cell's place, else
//! that of the cell furthest from its limit, never that of one over it. Where only such are left, the newcomer is judged
//! by its wider networks, and where these find no place either, together with others in the same trouble: a full table
//! is no way around the limiter. Finding a place looks at eight, however large the table.
//!
//! Log-ins of a [suspect](suspects) network cost eight times as much. A proxy that is missing from
//! `http.trusted_proxies` makes all its clients one network: [`proxy_watch`] finds it out.
//!
//! Not journalled: what it knows is worth minutes, and a write for each request would be a gift to whoever sends them.
//! Saved every 30 s, with snapshots and at a clean stop, in a [file](mod@file) that no flood makes longer than the table. After a
//! clean stop everybody has what they had; after a crash whoever is not known to owe more begins half spent, and so does
//! everybody when the file is missing or damaged.
//!
//! Source: GCRA, virtual scheduling form, ITU-T I.371.

pub mod actor;
pub mod cells;
pub mod class;
pub mod file;
pub mod gcra;
pub mod proxy_watch;
pub mod refusal_cache;
pub mod saved;
pub mod suspects;
pub mod table;

pub use class::{Class, Rate};
pub use proxy_watch::ProxyWatch;
pub use table::{Charge, Granted, Limits, RateLimitState, Table};
