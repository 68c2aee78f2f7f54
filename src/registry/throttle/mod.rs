//! The rate limit of client networks.
//!
//! **The attack:** passwords are guessed, or stuffed, from one address or from the many addresses that one client owns:
//! a home has at least an IPv6 /64, a rented server often a /48, which holds 65,536 of them.
//!
//! **The rule:** each client address is cut to the [network](crate::value::network) it comes from. A request is charged
//! to that network and to the wider networks around it. Each network has a [cell](gcra::Cell) of the generic cell rate
//! algorithm, which allows a burst at once and an even rate after it. A refused request leaves its cells unchanged.
//!
//! ```text
//!   absent ──▶ owing(n) ──▶ spent: refused, and never dropped
//!     ▲          │  ▲          │
//!     └── time ──┘  └── time ──┘        a success gives its own charge back, as far as time has not paid it off
//! ```
//!
//! The table has [room](cells) for a fixed number of cells of 16 bytes each. A new network takes the place of an idle
//! cell, or else of the cell furthest from its limit, and never that of a cell over its limit. If only such cells are
//! left, the new network is judged by its wider networks; if these find no place either, it shares a cell with other
//! networks in the same position. So a full table is no way around the rate limit. Finding a place looks at eight
//! places, however large the table is.
//!
//! A log-in with a cookie of a known device of the name is charged to that device, in a cell of its own, and neither to
//! its network nor eightfold: whatever others do behind the same router, it does not shut the owner out. A success gives
//! its charge back, [five times a minute](refunds) for each account.
//!
//! A change of settings by the holder of an account is charged to the account, in a cell like that of a device: whoever has
//! addresses in many networks has one account all the same. So is a refresh, if its token is one of a live family: garbage
//! from behind the same router does not refuse it.
//!
//! A log-in of a [suspect](suspects) network costs eight times as much. A proxy that is missing from
//! `http.trusted_proxies` makes one network of all its clients; [`proxy_watch`] detects it.
//!
//! The table is not journalled: its contents are worth minutes, and a journal write for each request would help an
//! attacker who floods the server. It is saved every 30 s, with each snapshot and at a clean stop, in a
//! [file](mod@file) that no flood can make longer than the table. After a clean stop every network has exactly what it
//! had. After a crash every network begins with half of its burst spent, unless it is known to owe more; the same holds
//! if the file is missing or damaged.
//!
//! Source: GCRA, virtual scheduling form, ITU-T I.371.

pub mod actor;
pub mod cells;
pub mod class;
pub mod file;
pub mod gcra;
pub mod proxy_watch;
pub mod refunds;
pub mod refusal_cache;
pub mod saved;
pub mod suspects;
pub mod table;

pub use class::{Class, Rate};
pub use proxy_watch::ProxyWatch;
pub use table::{Charge, Granted, Limits, RateLimitState, Table};
