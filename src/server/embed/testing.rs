//! An engine for the tests of a program: a directory that is removed afterwards, a clock that the test moves, cheap hashes, mails
//! in memory, and log-ins without a password.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use actix_web::{App, test, web};
//! use portcullis::{SignedIn, actix, testing::TestEngine};
//!
//! let auth = TestEngine::start().await?;
//! let hello = async |who: SignedIn| format!("hello {}", who.email());
//! let app = test::init_service(
//!     App::new().configure(actix::mount("/auth", &auth)).route("/hello", web::get().to(hello)),
//! )
//! .await;
//!
//! let ada = auth.account("ada@example.org").await?;
//! let request = auth.log_in_as(ada.id()).await?.on(test::TestRequest::get().uri("/hello"));
//! let answer = test::call_and_read_body(&app, request.to_request()).await;
//! assert_eq!(answer, "hello ada@example.org");
//!
//! auth.advance(Duration::from_secs(3600));
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::test::TestRequest;

use super::embedded::Embedded;
use crate::config::{Config, ConfigBuilder};
use crate::engine::Engine;
use crate::engine::partition::StartError;
use crate::flow::admin::{Account, NewAccount};
use crate::flow::client::Client;
use crate::flow::grant::Grant;
use crate::flow::issue;
use crate::flow::log_in::Mode;
use crate::flow::refusal::Error;
use crate::http::csrf;
use crate::http::session_cookie_name;
use crate::mail::deliver::{Deliver, DeliverError, Mail, MailKind};
use crate::registry::throttle::class::Class;
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::system::lock::Mutex;
use crate::system::random::Random;
use crate::value::id::{AccountId, hex};

/// The time at which the clock begins, in seconds since 1970.
const START_SECS: u64 = 1_800_000_000;
/// The program that log-ins of the tests come from.
const USER_AGENT: &str = "portcullis-testing";
/// How long a test waits for a mail that is on its way.
const MAIL_WAIT: Duration = Duration::from_secs(10);

/// An engine for tests. When it is dropped, it stops, and its directory is removed.
pub struct TestEngine {
    /// Dropped before the directory.
    embedded: Embedded,
    clock: Clock,
    mails: Arc<Mutex<Vec<SentMail>>>,
    dir: TemporaryDirectory,
}

/// A mail that an engine has sent.
#[derive(Clone)]
#[non_exhaustive]
pub struct SentMail {
    /// Why it was sent.
    pub kind: MailKind,
    /// The address that it went to.
    pub recipient: String,
    /// The language of the account that it is for.
    pub locale: Option<String>,
    /// The token of its link.
    pub token: Option<String>,
    /// Its link.
    pub link: Option<String>,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub text: String,
}

impl fmt::Debug for SentMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentMail").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Keeps mails in memory.
struct Kept(Arc<Mutex<Vec<SentMail>>>);

impl Deliver for Kept {
    async fn deliver(&self, mail: Mail<'_>) -> Result<(), DeliverError> {
        self.0.lock().push(SentMail {
            kind: mail.kind,
            recipient: mail.recipient.to_owned(),
            locale: mail.locale.map(ToOwned::to_owned),
            token: mail.token.map(ToOwned::to_owned),
            link: mail.link.map(ToOwned::to_owned),
            subject: mail.subject.to_owned(),
            text: mail.text.to_owned(),
        });
        Ok(())
    }
}

/// The headers by which requests of a test are those of a user who has logged in.
#[derive(Clone)]
pub struct Credentials(Vec<(&'static str, String)>);

impl Credentials {
    /// Adds the headers to a request.
    #[must_use]
    pub fn on(&self, request: TestRequest) -> TestRequest {
        self.iter().fold(request, TestRequest::insert_header)
    }

    /// Returns names and values of the headers.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl TestEngine {
    /// Starts an engine whose public origin is `http://localhost`.
    pub async fn start() -> Result<Self, StartError> {
        Self::start_with(|config| config).await
    }

    /// Starts an engine with what `set` sets on top.
    pub async fn start_with(set: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Result<Self, StartError> {
        let dir = TemporaryDirectory::create()?;
        let config = set(cheap(&dir.0)).build()?;
        let clock = Clock::manual_at_secs(START_SECS);
        let mails = Arc::new(Mutex::new(Vec::new()));
        let embedded = Engine::builder(config)
            .clock(clock.clone())
            .deliver(Kept(Arc::clone(&mails)))
            .fail_stop(FailStop::new(|why| tracing::error!("the engine of a test ended: {why}")))
            .start()
            .await?;
        Ok(Self { embedded, clock, mails, dir })
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Creates an account whose address is proved, without a password.
    pub async fn account(&self, email: &str) -> Result<Account, Error> {
        self.accounts().create(NewAccount::new(email).verified()).await
    }

    /// Logs in as `account`, and returns the header with an access token.
    pub async fn log_in_as(&self, account: AccountId) -> Result<Credentials, Error> {
        self.log_in(account, Mode::tokens()).await
    }

    /// Logs in as `account` as a browser does, and returns the headers with its cookie, origin and CSRF token.
    pub async fn log_in_with_cookie(&self, account: AccountId) -> Result<Credentials, Error> {
        self.log_in(account, Mode::cookie()).await
    }

    async fn log_in(&self, account: AccountId, mode: Mode<'_>) -> Result<Credentials, Error> {
        let client = Client::new(IpAddr::V4(Ipv4Addr::LOCALHOST), USER_AGENT);
        let opened = issue(self, account, &client, mode, "a test").await?;
        let services = &self.services;
        let headers = match &opened.grant {
            Grant::Tokens { access, .. } => vec![("authorization", format!("Bearer {access}"))],
            Grant::Cookie { token, session } => vec![
                ("cookie", format!("{}={}", session_cookie_name(self), token.as_str())),
                ("origin", services.config.http.public_origin.origin().to_string()),
                ("x-csrf-token", services.keys.csrf.with_newest(|_, key| csrf::issue(key, session.id))),
                // A cookie is good in the browser that it was given to.
                ("user-agent", USER_AGENT.to_owned()),
            ],
        };
        Ok(Credentials(headers))
    }

    /// Returns the mails that have left, the oldest first.
    pub fn mails(&self) -> Vec<SentMail> {
        self.mails.lock().clone()
    }

    /// Waits for a mail of this kind to `recipient`, and returns the newest one; `None` after ten seconds.
    pub async fn mail(&self, recipient: &str, kind: MailKind) -> Option<SentMail> {
        let is_wanted = |mail: &&SentMail| mail.recipient == recipient && mail.kind == kind;
        let find = || self.mails.lock().iter().rev().find(is_wanted).cloned();
        let wait = async {
            loop {
                if let Some(mail) = find() {
                    return mail;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(MAIL_WAIT, wait).await.ok()
    }

    /// Returns the directory of its data.
    pub fn data_dir(&self) -> &Path {
        &self.dir.0
    }
}

impl Deref for TestEngine {
    type Target = Arc<Engine>;

    fn deref(&self) -> &Arc<Engine> {
        &self.embedded
    }
}

impl fmt::Debug for TestEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestEngine(..)")
    }
}

/// Returns a configuration with cheap hashes and without limits that a test would meet.
fn cheap(dir: &Path) -> ConfigBuilder {
    let config = Config::builder()
        .data_dir(dir)
        .public_origin("http://localhost")
        .password(|password| password.memory_kib(64).passes(1).threads(1).wait_budget_ms(600_000))
        .throttle(|throttle| throttle.cells(10_000))
        .reset(|reset| reset.mails_per_network(100_000))
        .mail(|mail| mail.console(false));
    Class::ALL.into_iter().fold(config, |config, class| {
        let key = |rate: &str| format!("throttle.{}.{rate}", class.name());
        config.set(&key("burst"), "100000").set(&key("per_minute"), "100000")
    })
}

/// A directory that is removed when this is dropped.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn create() -> std::io::Result<Self> {
        let name: [u8; 12] = Random::system().bytes().map_err(std::io::Error::other)?;
        let dir = std::env::temp_dir().join(format!("portcullis-test-{}", hex(&name)));
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
