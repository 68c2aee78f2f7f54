//! What a program that embeds the server uses of HTTP: the API as a part of its own application, and extractors and limits for
//! its own routes.
//!
//! ```text
//!  App ─┬─ scope of mount ─▶ middleware ─▶ api/          mount.rs
//!       └─ own routes ─▶ SignedIn, HasRole, Recent …      extract.rs
//!                         on a listener of ours: serve.rs, beside.rs
//! ```

mod beside;
mod extract;
mod mount;
mod serve;

pub use beside::BesideRoutes;
pub use extract::{HasRole, MaybeSignedIn, Recent, Role};
pub use mount::{data, mount};
pub(crate) use serve::serve_request;
