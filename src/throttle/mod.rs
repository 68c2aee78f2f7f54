//! The limiter of client networks.
//!
//! **The attack:** guessing and stuffing from one address, or from the many addresses that one client owns: a home has
//! an IPv6 /64 at least, a rented server often a /48 with 65,536 of them.
//!
//! **The rule:** each client address is cut to the [network] it comes from, and charged to it and to the wider ones
//! around it. Each network has a [cell](gcra::Cell) by the generic cell rate algorithm: a burst at once, then an even
//! rate. A refused request leaves the cell as it was.
//!
//! So far the rule of one cell and the cutting of addresses; the bounded table comes with the actor that owns it.
//!
//! Source: GCRA, virtual scheduling form, ITU-T I.371.

pub mod gcra;
pub mod network;
