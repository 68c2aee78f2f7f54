//! The limiter of client networks.
//!
//! **The attack:** guessing and stuffing from one address, or from the many addresses that one client owns: a home has
//! an IPv6 /64 at least, a rented server often a /48 with 65,536 of them.
//!
//! **The rule:** each client address is cut to the [network] it comes from, and charged to it and to the wider ones
//! around it. Each network has a [cell](gcra::Cell) by the generic cell rate algorithm: a burst at once, then an even
//! rate. A refused request leaves the cell as it was.
//!
//! The table has room for a fixed number of cells. A newcomer takes an idle cell's place, never that of one that is over
//! its limit; where only such are left, it is judged by its wider networks.
//!
//! Not journalled: what it knows is worth minutes, and a write for each request would be a gift to whoever sends them.
//! After a restart everybody begins half spent.
//!
//! Source: GCRA, virtual scheduling form, ITU-T I.371.

pub mod actor;
pub mod gcra;
pub mod network;
pub mod table;

pub use table::{Charge, Class, Granted, Limits, Rate, Standing, Table};
