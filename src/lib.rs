//! Portcullis: a hardened authentication server, and the engine that other programs embed.
//!
//! # The map
//!
//! ```text
//! http  →  flow  →  actor  →  state          journal  ←  actor
//! (thin)   (story)  (mailbox)  (pure rule)    (one total order, group commit)
//! ```
//!
//! The parts of `src/` from the top down. A part names only parts below it; `tests/tidy.rs` proves that from the source.
//!
//! | part | what it does |
//! |---|---|
//! | `cli` | The command line: one file for each subcommand. |
//! | [`server`] | One process: recovers, starts, binds last, stops in reverse; background threads; the operator's socket. |
//! | [`http`] | Parses a request, calls one flow, answers. |
//! | [`flow`] | One file for each thing that a user does, read as the list of its defences. |
//! | [`engine`] | One partition: the mailboxes of its actors and its journal. `Services`: what engines of a process share. |
//! | [`config`] | What can be set, one file for each section, and the security checklist. |
//! | [`audit`] | Security events and the chained files they are written to. |
//! | [`mail`] | The text of mails, and how they leave. |
//! | [`registry`] | The facts, one actor each: accounts, lockout, throttle, stuffing, sessions, refresh families, mailed tokens, outbox. |
//! | [`resource_server`] | Verifies access tokens in other programs. |
//! | [`token`] | Opaque tokens, access tokens, signing keys, the feed of revocations. |
//! | [`journal`] | The write-ahead log, snapshots, recovery, backups. |
//! | [`storage`] | The door to files: a local disk, or a simulated one. |
//! | [`password`] | The argon2id pool, PHC strings, the policy for new passwords. |
//! | [`value`], [`system`] | Plain values that registries share; the doors to clock, randomness, threads and memory. |
//!
//! Each folder has a `README.md`: what it is for, how data flows through it, its invariants. [`api_reference`] is the
//! page of every endpoint, and [`defences`] that of what withstands each attack, with every number. `src/DEPENDENCIES.md` gives the reason for every crate, and for every
//! piece that is written by hand.
//!
//! # Invariants
//!
//! - A `state` knows no actor, file, clock or randomness. It decides, and what it decided is applied by the same function,
//!   live and in recovery.
//! - No verdict leaves an actor unsealed, and only the journal opens it, once everything it rests on is durable.
//! - Only `system/clock.rs` reads a clock of the operating system; a lint refuses it elsewhere.
//! - No statics: an [`Engine`] is a value, and several run in one process.
//! - Absent on purpose: a database, and anything that is saved when an actor stops. Recovery is the only way up.
//!
//! # One log-in
//!
//! [`flow::log_in::log_in`]: the throttle charges the network; the lockout charges the name as if the password were wrong;
//! the account is looked up, or a decoy taken; the password waits for its turn in the pool and is verified; the attempt is
//! settled; status and epochs are checked at the gate; a refresh family or a session is opened; the access token is signed.
//! Each answer is opened only once its entry is on disk.
//!
//! # One recovery
//!
//! [`journal::recovery::recover`]: lock the directory; read `IDENTITY`, the newest snapshot that verifies, and the segments
//! after it in order, each frame judged by the table of [`journal::recovery::verdict`]; refuse an end that does not reach what
//! `IDENTITY` and the snapshots demand; begin a new segment, which carries over the one frame of which it is not known whether
//! it was acknowledged. Then the actors start, and [`server::build`] binds.
//!
//! # Embedding
//!
//! ```no_run
//! use actix_web::{App, HttpServer, middleware, web};
//! use portcullis::{Clock, Config, FailStop, http, server};
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let config = Config::for_data_dir("auth-data".as_ref()).map_err(|faults| format!("{faults:?}"))?;
//!     let fail_stop = FailStop::new(|why| {
//!         eprintln!("authentication ended: {why}");
//!         std::process::exit(70);
//!     });
//!     // Without a transport, mails wait in the journal.
//!     let (engine, running) = server::start(config, Clock::system(), false, None, &fail_stop)?;
//!     let data = web::Data::from(engine);
//!     HttpServer::new(move || {
//!         App::new()
//!             .route("/", web::get().to(async || "our own page"))
//!             .service(
//!                 web::scope("/auth")
//!                     .app_data(data.clone())
//!                     .wrap(middleware::from_fn(http::middleware::wrap_request))
//!                     .configure(http::configure),
//!             )
//!     })
//!     .bind("127.0.0.1:3000")?
//!     .run()
//!     .await?;
//!     running.stop();
//!     Ok(())
//! }
//! ```
//!
//! An embedding program needs the names below, [`http`], [`flow`], [`server`] and [`resource_server`]. The other modules are
//! public for the tests and benches of this package, and hidden in its documentation.

pub use config::Config;
pub use engine::Engine;
pub use system::clock::Clock;
pub use system::fail_stop::FailStop;

pub mod flow;
pub mod http;
pub mod resource_server;
pub mod server;

#[doc = include_str!("API.md")]
pub mod api_reference {}

#[doc = include_str!("DEFENCES.md")]
pub mod defences {}

#[doc(hidden)]
pub mod audit;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod engine;
#[doc(hidden)]
pub mod journal;
#[doc(hidden)]
pub mod mail;
#[doc(hidden)]
pub mod password;
#[doc(hidden)]
pub mod registry;
#[cfg(test)]
mod simulation;
#[doc(hidden)]
pub mod storage;
#[doc(hidden)]
pub mod system;
#[doc(hidden)]
pub mod token;
#[doc(hidden)]
pub mod value;
