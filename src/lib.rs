//! Portcullis: a hardened authentication server, and the engine that other programs embed.
//!
//! # The map
//!
//! ```text
//! http  →  flow  →  actor  →  state          journal  ←  actor
//! (thin)   (story)  (mailbox)  (pure rule)    (one total order, group commit)
//! ```
//!
//! - [`app`]: a whole server: recover, actors, bind last; stopped in reverse. [`engine`]: one partition, as a value.
//! - [`admin_socket`]: the operator's door to a running server. [`descriptors`]: how many connections there may be.
//! - [`http`]: parses, calls one flow, answers. [`flow`]: one file for each thing a user does.
//! - The registries, each with `state` (the rule), `record` (what goes to disk) and `actor` (the mailbox): [`account`],
//!   [`lockout`], [`throttle`], [`refresh`], [`session`], [`reset`], [`mail`]. [`registry`] is what their mailboxes share.
//! - [`stuffing`]: many names from one network, one name from many. [`password`]: the one expensive thing. [`token`]: access tokens and keys. [`csrf`]: requests of other sites.
//! - [`verify`]: checks access tokens in other programs, and knows of ended ones by the feed.
//! - [`journal`]: what is written down. [`config`]: what can be set. [`audit`]: events and figures.
//! - [`clock`], [`secret`], [`id`], [`fail_stop`]: time, chance, names, and the one way down. [`changes`], [`verified`]: how
//!   long a verdict that was given once may be given again.
//!
//! Invariant: arrows go one way; `tests/tidy.rs` proves it from the source.
//! Invariant: a `state` knows no actor, file, clock or chance; it decides, and what it decided is applied, live and in
//! recovery by the same function.
//! Invariant: no file but `clock.rs` reads a clock of the operating system; a lint refuses it.
//! Invariant: no verdict leaves an actor but sealed, and only the journal opens it, once it is durable.
//! Absent on purpose: statics, a database, a `stopped` handler that saves anything.
//!
//! # One log-in
//!
//! [`flow::log_in::log_in`]: the network is charged ([`throttle`]); the name is charged as if it had failed ([`lockout`]);
//! the account is looked up, or a decoy taken ([`account`]); the password is checked in its turn ([`password`]); the
//! attempt is settled; status and address are asked for; a family or a session is opened ([`refresh`], [`session`]); the
//! access token is signed ([`token`]). Each step's answer is opened only when its entry is on disk.
//!
//! # One recovery
//!
//! [`journal::recover::recover`]: lock the directory; read `IDENTITY`; the newest snapshot that verifies; the segments
//! behind it in order, each frame judged by [`journal::verdict`]; the end must reach what `IDENTITY` and the snapshots
//! demand; a new segment carries over the one frame of which it is not known whether it was acknowledged; then actors,
//! then [`app::build`] binds.
//!
//! # Embedding
//!
//! ```no_run
//! use actix_web::{App, HttpServer, middleware, web};
//! use portcullis::{clock::Clock, config::Config, engine::Engine, fail_stop::FailStop, http};
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let config = Config::for_data_dir("auth-data".as_ref()).map_err(|faults| format!("{faults:?}"))?;
//!     let fail_stop = FailStop::new(|why| {
//!         eprintln!("authentication ended: {why}");
//!         std::process::exit(70);
//!     });
//!     // Without a transport mails wait in the journal.
//!     let (engine, running) = server::start(config, Clock::system(), false, None, &fail_stop)?;
//!     let data = web::Data::from(engine);
//!     HttpServer::new(move || {
//!         App::new()
//!             .route("/", web::get().to(async || "our own page"))
//!             .service(
//!                 web::scope("/auth")
//!                     .app_data(data.clone())
//!                     .wrap(middleware::from_fn(http::middleware::surround))
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

pub mod audit;
pub mod config;
pub mod engine;
pub mod flow;
pub mod http;
pub mod journal;
pub mod mail;
pub mod password;
pub mod registry;
pub mod resource_server;
pub mod server;
#[cfg(test)]
pub(crate) mod simulation;
pub mod storage;
pub mod system;
pub mod token;
pub mod value;
