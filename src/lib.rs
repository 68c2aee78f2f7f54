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
//! page of every endpoint, [`javascript_client`] that of the client for pages and apps, and [`defences`] that of what withstands
//! each attack, with every number. `src/DEPENDENCIES.md` gives the reason for every crate, and for every piece that is written by
//! hand.
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
//! ```
//! use actix_web::{App, test, web};
//! use portcullis::{Config, Engine, NewAccount, SignedIn, actix};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = std::env::temp_dir().join(format!("portcullis-example-{}", std::process::id()));
//! // On a thread of its own, whatever runtime the program has.
//! let auth = Engine::start(Config::builder().data_dir(&dir).build()?).await?;
//!
//! let new = NewAccount::new("ada@example.org").password("correct horse battery staple").verified();
//! auth.accounts().create(new).await?;
//!
//! // The same in an `HttpServer`: the API below /auth, and a handler that only users who have logged in reach.
//! let hello = async |who: SignedIn| format!("hello {}", who.email());
//! let app = App::new().configure(actix::mount("/auth", &auth)).route("/hello", web::get().to(hello));
//! let app = test::init_service(app).await;
//!
//! let log_in = r#"{"email":"ada@example.org","password":"correct horse battery staple"}"#;
//! let log_in = test::TestRequest::post().uri("/auth/v1/login").set_payload(log_in);
//! let log_in = log_in.insert_header(("content-type", "application/json")).to_request();
//! let answer = test::call_and_read_body(&app, log_in).await;
//! let answer = std::str::from_utf8(&answer)?;
//! let access = answer.split("\"access_token\":\"").nth(1).and_then(|rest| rest.split('"').next());
//!
//! let request = test::TestRequest::get().uri("/hello");
//! let nobody = test::call_service(&app, request.to_request()).await;
//! assert_eq!(nobody.status(), 401);
//! let request = test::TestRequest::get().uri("/hello");
//! let request = request.insert_header(("authorization", format!("Bearer {}", access.ok_or("no token")?)));
//! assert_eq!(test::call_and_read_body(&app, request.to_request()).await, "hello ada@example.org");
//!
//! auth.stop().await;
//! # std::fs::remove_dir_all(dir)?;
//! # Ok(())
//! # }
//! ```
//!
//! A program that has no HTTP server yet takes [`Server`], which also has what protects the binary below HTTP:
//!
//! ```no_run
//! # #[tokio::main]
//! # async fn main() -> Result<(), portcullis::StartError> {
//! use actix_web::web;
//! use portcullis::{Config, Server};
//!
//! let config = Config::builder().public_origin("https://example.org/auth").build()?;
//! let hello = async || "hello";
//! Server::builder(config).prefix("/auth").route("/", move || web::get().to(hello)).run().await
//! # }
//! ```
//!
//! | to | take |
//! |---|---|
//! | start an engine, or a whole server | [`Config::builder`], [`Engine::start`], [`Server::builder`] |
//! | have the API in an application of one's own | [`actix::mount`], [`actix::connection_limit`] |
//! | guard a handler, CSRF included | [`SignedIn`], [`MaybeSignedIn`], [`HasRole`], [`Recent`], and [`Identity`] that they lead to |
//! | make accounts, give roles, and say what accounts carry, without HTTP | [`Engine::accounts`], [`Fields`] |
//! | take over the accounts of another system, with the hashes of their passwords | [`Accounts::import`] |
//! | be told of new accounts, ended sessions and the like | [`Engine::events`] |
//! | open a session without a password | [`flow::issue`], [`Mode`], [`Opened::into_response`] |
//! | send mails in one's own words | [`Deliver`] |
//! | judge who signs up and logs in, and add claims | [`Hooks`] |
//! | test without waiting or mail | `portcullis::testing` (feature `testing`) |
//! | check access tokens in another program | [`resource_server`] |
//! | call the API from a page or an app | [`javascript_client`] |
//!
//! Errors of an account's act ([`Error`]) and refusals of extractors ([`Rejection`]) are answered with the problem document of the
//! API. The names below are what an embedding program needs. The other modules are public for the tests and benches of this
//! package, and hidden in its documentation.

#[doc(inline)]
pub use config::{Config, ConfigBuilder, ConfigFault, ConfigFaults};
#[doc(inline)]
pub use engine::hooks::{
    ClaimsAsked, ClaimsReason, ClaimsVerdict, CredentialKind, HookError, Hooks, SignUpAsked, SignUpVerdict,
};
#[doc(inline)]
pub use engine::{Engine, StartError};
#[doc(inline)]
pub use flow::admin::events::{Event, EventCursor, EventGap, Events};
#[doc(inline)]
pub use flow::admin::import::{ImportOptions, ImportReport, ImportedLine};
#[doc(inline)]
pub use flow::admin::{Account, Accounts, Fields, NewAccount};
#[doc(inline)]
pub use flow::authenticate::Identity;
#[doc(inline)]
pub use flow::client::Client;
#[doc(inline)]
pub use flow::grant::Opened;
#[doc(inline)]
pub use flow::log_in::Mode;
#[doc(inline)]
pub use flow::refusal::Error;
#[doc(inline)]
pub use http::embed::{HasRole, MaybeSignedIn, Recent, Role};
#[doc(inline)]
pub use http::{Rejection, SignedIn};
#[doc(inline)]
pub use mail::deliver::{Deliver, DeliverError, Mail, MailKind};
#[doc(inline)]
pub use registry::refresh::Audience;
#[cfg(feature = "testing")]
#[doc(inline)]
pub use server::embed::testing;
#[doc(inline)]
pub use server::embed::{Embedded, EngineBuilder, Server, ServerBuilder};
#[doc(inline)]
pub use system::clock::{Clock, Timestamp};
#[doc(inline)]
pub use system::fail_stop::FailStop;
#[doc(inline)]
pub use value::id::AccountId;

/// The API as a part of an application of actix-web.
pub mod actix {
    #[doc(inline)]
    pub use crate::http::connection_limit;
    #[doc(inline)]
    pub use crate::http::embed::{data, mount};
}

pub mod flow;
#[doc(hidden)]
pub mod http;
pub mod resource_server;
#[doc(hidden)]
pub mod server;

#[doc = include_str!("API.md")]
pub mod api_reference {}

#[doc = include_str!("DEFENCES.md")]
pub mod defences {}

#[doc = include_str!("http/reference/sdk/README.md")]
pub mod javascript_client {
    #[doc = include_str!("http/reference/sdk/plain_fetch.md")]
    pub mod plain_fetch {}

    #[doc = include_str!("http/reference/sdk/react.md")]
    pub mod react {}

    #[doc = include_str!("http/reference/sdk/mobile.md")]
    pub mod mobile {}
}

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub mod readme {}

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
