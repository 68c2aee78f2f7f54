//! All accounts as lines that an import takes.
//!
//! **The attack:** whoever gets the lines has all addresses, and with the hashes can guess at the passwords without a limit.
//!
//! **The rule:** hashes are in the lines only if that was asked for, and the log of security events says who has asked before
//! the first line leaves. What other systems have hashed leaves in the form in which it came, or in one that an import takes.
//! The key of Firebase is in none of them.

use serde_json::{Map, Value, value::RawValue};

use super::Admin;
use crate::audit::event::Event;
use crate::engine::{Engine, MayChange};
use crate::flow::refusal::FlowError;
use crate::journal::format::buckets::BUCKETS;
use crate::password::foreign::Stored;
use crate::registry::account::actor::ReadAccounts;
use crate::registry::account::{AccountV4, Status};
use crate::system::clock::Timestamp;

/// An export that is at work.
pub struct Export {
    has_hashes: bool,
    next: usize,
    /// How many hashes were made with a pepper, without which they match nothing.
    peppered: u64,
    exported: u64,
}

impl Export {
    /// Begins an export, with the hashes of the passwords or without.
    ///
    /// Errors: no line of the log of security events could say so.
    pub async fn begin(engine: &Engine, admin: &Admin, has_hashes: bool) -> Result<Self, FlowError> {
        let what = if has_hashes { "with hashes of passwords" } else { "without hashes of passwords" };
        engine.may_go_on().await?;
        let event = Event::UsersExported;
        admin.record_what(engine, MayChange::LINE_ALONE, event, &"accounts", what).await?;
        Ok(Self { has_hashes, next: 0, peppered: 0, exported: 0 })
    }

    /// Returns the next lines, each with its end; `None` after the last ones. An account that changes meanwhile is in them as it
    /// was before or as it is after.
    pub async fn next(&mut self, engine: &Engine) -> Result<Option<String>, FlowError> {
        if self.next >= BUCKETS {
            return Ok(None);
        }
        let (accounts, next) = engine.accounts.ask(ReadAccounts { from: self.next }).await?;
        self.next = next;
        let mut lines = String::new();
        for account in accounts {
            self.exported += 1;
            if self.has_hashes && has_pepper(&account) {
                self.peppered += 1;
            }
            lines.push_str(&exported_line(&account, self.has_hashes));
            lines.push('\n');
        }
        Ok(Some(lines))
    }

    /// Returns how many accounts were exported.
    pub const fn exported(&self) -> u64 {
        self.exported
    }

    /// Returns how many of the hashes were made with a pepper.
    pub const fn peppered(&self) -> u64 {
        self.peppered
    }
}

fn has_pepper(account: &AccountV4) -> bool {
    let stored = account.phc.as_deref().and_then(|phc| Stored::parse(phc).ok());
    stored.is_some_and(|stored| stored.pepper().is_some())
}

/// Returns an account as a line that begins with its id, without a line end.
pub fn exported_line(account: &AccountV4, has_hash: bool) -> String {
    let mut line = Map::new();
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            line.insert(name.to_owned(), value);
        }
    };
    let text = |text: Option<&str>| text.map(Value::from);
    add("external_id", text(account.external_id()));
    add("email", text(Some(&account.email)));
    add("email_verified", Some(account.email_verified.into()));
    add("password_hash", text(account.phc.as_deref().filter(|_| has_hash)));
    add("name", text(account.name.as_deref()));
    let roles: Vec<Value> = account.roles.iter().map(|role| Value::from(&**role)).collect();
    add("roles", (!roles.is_empty()).then(|| roles.into()));
    add("locale", text(account.locale()));
    add("status", (account.status == Status::Disabled).then(|| "disabled".into()));
    add("created_at", Some(Timestamp(account.created_ms).rfc3339_millis().into()));
    let line = Value::from(line).to_string();
    // The objects as they are stored: a reader of numbers might change them.
    let objects = [("user_metadata", account.user_metadata()), ("app_metadata", account.app_metadata())];
    let objects = objects.into_iter().filter_map(|(name, text)| {
        let object = RawValue::from_string(text?.to_owned()).ok()?;
        Some(format!(",\"{name}\":{}", object.get()))
    });
    let rest = line.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
    format!("{{\"id\":\"{}\",{rest}{}}}", account.account_id(), objects.collect::<String>())
}
