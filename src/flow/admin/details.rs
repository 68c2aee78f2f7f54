//! What an operator is asked about one account: why its owner cannot log in, and where their mail is.

use serde_json::{Value, json};

use super::{Admin, account_json};
use crate::engine::Engine;
use crate::flow::account::open_sessions;
use crate::flow::authenticate::Held;
use crate::flow::devices::{self, DeviceFamily};
use crate::flow::refusal::FlowError;
use crate::password::foreign::Stored;
use crate::registry::account::AccountV4;
use crate::registry::lockout::LockState;
use crate::registry::lockout::actor::StateOf;
use crate::registry::outbox::actor::LastTo;
use crate::registry::outbox::{Fate, LastMail};
use crate::registry::reset::Purpose;
use crate::registry::reset::actor::LinksOf;
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;

/// More sessions than an account may have open.
const SESSIONS_MAX: usize = 1000;

/// How an account stands.
#[derive(Clone, Debug)]
pub struct Details {
    /// The account.
    pub account: AccountV4,
    /// Its lockout.
    pub lock: LockState,
    /// How many browser sessions are open.
    pub sessions: usize,
    /// How many families of refresh tokens are open.
    pub families: usize,
    /// The devices that are known, by family of browser.
    pub devices: Vec<DeviceFamily>,
    /// When somebody last logged in, as far as an open session or a known device shows it.
    pub last_log_in: Option<Timestamp>,
    /// The mailed links that are good, each with its end.
    pub links: Vec<(Purpose, Timestamp)>,
    /// The last mail to its address, as far as memory has it.
    pub mail: Option<LastMail>,
    /// When the hash of another system counts no longer, or counted, from its import on; `None` if it stays.
    pub foreign_end: Option<Timestamp>,
}

impl Details {
    fn imported_at(&self) -> Option<Timestamp> {
        imported_at(&self.account)
    }

    /// Describes the account for an administrator.
    pub fn json(&self) -> Value {
        let devices = self.devices.iter();
        let devices =
            devices.map(|of| json!({"family": of.family, "count": of.count, "newest": of.newest.rfc3339()}));
        let links = self.links.iter();
        let links =
            links.map(|(purpose, end)| json!({"purpose": purpose.name(), "expires_at": end.rfc3339()}));
        let mail = self.mail.as_ref().map(|mail| {
            let (state, tries) = match mail.fate {
                Fate::Waits { tries } => ("waits", Some(tries)),
                Fate::Sent => ("sent", None),
                Fate::Refused => ("refused", None),
                Fate::Dropped => ("dropped", None),
            };
            json!({
                "kind": mail.kind.name(),
                "state": state,
                "failed_tries": tries,
                "at": mail.at.rfc3339(),
                "next_try_at": mail.next.map(Timestamp::rfc3339),
                "reason": mail.why,
            })
        });
        let shown = json!({
            "has_password": self.account.phc.is_some(),
            "imported_at": self.imported_at().map(Timestamp::rfc3339),
            "foreign_hash": foreign_hash(&self.account),
            "foreign_hash_ends_at": self.foreign_end.map(Timestamp::rfc3339),
            "lock": {
                "failures": self.lock.failures,
                "locked_until": self.lock.locked_until.map(Timestamp::rfc3339),
                "guesses_left": self.lock.guesses_left,
                "device_guesses_left": self.lock.device_guesses_left,
            },
            "sessions": {"cookie": self.sessions, "token": self.families},
            "devices": devices.collect::<Vec<_>>(),
            "last_log_in_at": self.last_log_in.map(Timestamp::rfc3339),
            "links": links.collect::<Vec<_>>(),
            "last_mail": mail,
        });
        let mut body = account_json(&self.account);
        if let (Some(fields), Value::Object(shown)) = (body.as_object_mut(), shown) {
            fields.extend(shown);
        }
        body
    }
}

/// Returns when an account was imported.
fn imported_at(account: &AccountV4) -> Option<Timestamp> {
    account.extra.as_ref().map(|extra| Timestamp(extra.imported_ms)).filter(|at| *at > Timestamp::ZERO)
}

/// Describes the hash of an account if another system has made it: the scheme and its cost.
fn foreign_hash(account: &AccountV4) -> Option<String> {
    let stored = Stored::parse(account.phc.as_deref()?).ok()?;
    (!matches!(stored, Stored::Native(_))).then(|| stored.to_string())
}

/// Returns how `account` stands.
pub async fn details(engine: &Engine, _: &Admin, account: AccountV4) -> Result<Details, FlowError> {
    let lock = engine.lockout.ask(StateOf { name: NameKey(account.name_key) }).await?;
    let open = open_sessions(engine, &account, None, SESSIONS_MAX).await?.items;
    let opened = open.iter().map(|held| match held {
        Held::Family(family) => Timestamp(family.opened_ms),
        Held::Session(session) => Timestamp(session.opened_ms),
    });
    let devices = devices::list(engine, &account).await?;
    let last_log_in = opened.chain(devices.iter().map(|family| family.newest)).max();
    let families = open.iter().filter(|held| matches!(held, Held::Family(_))).count();
    let links = LinksOf {
        account: account.account_id(),
        auth_epoch: account.auth_epoch,
        global_epoch: engine.global_epoch,
    };
    let mut links = engine.mailed.ask(links).await?;
    // A link that proves an address is kept when it is used, so that the same answer can be given again. It opens nothing then.
    links.retain(|(purpose, _)| *purpose != Purpose::Verify || !account.email_verified);
    let mail = engine.outbox.ask(LastTo { address: account.email.clone() }).await?;
    let sessions = open.len() - families;
    // Once it has a password of here, nothing ends.
    let is_of_here = account.phc.is_some() && foreign_hash(&account).is_none();
    let foreign_for = engine.services.config.password.foreign_for.filter(|_| !is_of_here);
    let foreign_end = imported_at(&account).zip(foreign_for).map(|(at, days)| at + days);
    let foreign_end = foreign_end.filter(|end| account.phc.is_some() || *end <= engine.clock.now());
    Ok(Details { account, lock, sessions, families, devices, last_log_in, links, mail, foreign_end })
}
