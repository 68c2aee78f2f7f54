//! The one list of tables: the number and name of each, how it is restored and dumped, and which of its records may
//! have expired.
//!
//! A start, a snapshot, `data dump`, the proof of a snapshot, the simulator and the golden files all use this list. To
//! add a table, add a line to [`States`] here and a mailbox to the engine.

pub mod dump;
pub mod expiry;
pub mod future;

use std::borrow::Cow;

use serde_json::Value;

use crate::journal::format::codec::{CodecError, Stored, encode};
use crate::journal::snapshot::proof::Form;
use crate::registry::account::Accounts;
use crate::registry::api_key::ApiKeys;
use crate::registry::file_check::FileChecks;
use crate::registry::lockout::Lockouts;
use crate::registry::outbox::Outbox;
use crate::registry::record::{ReadError, Record};
use crate::registry::refresh::Families;
use crate::registry::reset::MailedTokens;
use crate::registry::session::Sessions;
use crate::registry::sign_up::SignUps;
use crate::registry::sign_up::invitation::Invitations;
use crate::registry::{Registry, account, lockout, refresh, reset, session, sign_up};
use crate::system::clock::Timestamp;

/// One table of the journal.
pub struct Table {
    /// Its number in entries and snapshots.
    pub number: u16,
    /// Its name, as `data dump` prints it.
    pub name: &'static str,
    /// The schema of its records that this version writes.
    pub schema: u16,
    /// Shows a record without anything that would let an attacker in.
    redacted: fn(&[u8]) -> Result<Value, CodecError>,
    /// Brings a record of an earlier schema to today's.
    upcast: fn(u16, &[u8]) -> Result<Vec<u8>, ReadError>,
    /// Says whether a sweep at or before a time may have removed a record.
    may_be_gone: fn(&[u8], Timestamp) -> bool,
}

/// The settings of all rules.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The settings of the rule of accounts.
    pub account: account::Limits,
    /// The settings of the lockout.
    pub lockout: lockout::Limits,
    /// The lifetimes of refresh-token families.
    pub refresh: refresh::Limits,
    /// The lifetimes of browser sessions.
    pub session: session::Limits,
    /// The lifetimes and quotas of mailed tokens.
    pub reset: reset::Limits,
    /// The lifetime of sign-ups.
    pub sign_up: sign_up::Limits,
}

macro_rules! tables {
    ($($field:ident: $state:ty = $build:expr, $name:literal, $redacted:path, $may_be_gone:path;)*) => {
        /// The state of every table of one engine.
        pub struct States {
            $(#[doc = concat!("The table `", $name, "`.")] pub $field: $state,)*
        }

        impl States {
            /// Creates empty states with these limits.
            pub fn new(limits: &Limits) -> Self {
                $(let $field = { let build: fn(&Limits) -> $state = $build; build(limits) };)*
                Self { $($field,)* }
            }

            /// Applies a write of the journal, or a record of a snapshot, to the state of its table.
            ///
            /// Errors: a table, schema, key or value that this version does not know.
            pub fn restore(
                &mut self,
                table: u16,
                schema: u16,
                key: &[u8],
                value: Option<&[u8]>,
            ) -> Result<(), String> {
                match table {
                    $(<<$state as Registry>::Record as Stored>::TABLE => {
                        self.$field.restore(schema, key, value)
                    })*
                    other => Err(format!("table {other} is not known to this version")),
                }
            }
        }

        /// Every table, in the order in which snapshots hold them.
        pub const TABLES: &[Table] = &[
            $(Table {
                number: <<$state as Registry>::Record as Stored>::TABLE,
                name: $name,
                schema: <<$state as Registry>::Record as Stored>::SCHEMA,
                redacted: $redacted,
                upcast: upcast::<<$state as Registry>::Record>,
                may_be_gone: $may_be_gone,
            },)*
        ];
    };
}

tables! {
    accounts: Accounts = |limits| Accounts::new(limits.account), "account", dump::account, expiry::never;
    lockout: Lockouts = |limits| Lockouts::new(limits.lockout), "lockout", dump::count, expiry::count;
    sessions: Sessions = |limits| Sessions::new(limits.session), "session", dump::session, expiry::session;
    refresh: Families = |limits| Families::new(limits.refresh), "family", dump::family, expiry::family;
    mailed: MailedTokens = |limits| MailedTokens::new(limits.reset), "mailed", dump::mailed, expiry::mailed;
    outbox: Outbox = |_| Outbox::default(), "mail", dump::mail, expiry::mail;
    api_keys: ApiKeys = |_| ApiKeys::default(), "api_key", dump::api_key, expiry::api_key;
    sign_ups: SignUps = |limits| SignUps::new(limits.sign_up), "sign_up", dump::sign_up, expiry::sign_up;
    invitations: Invitations = |limits| Invitations::new(limits.reset.invitation), "invitation", dump::invitation, expiry::invitation;
    file_checks: FileChecks = |_| FileChecks::default(), "file_check", dump::file_check, expiry::never;
}

/// The number of the table of accounts.
pub const ACCOUNTS: u16 = <<Accounts as Registry>::Record as Stored>::TABLE;

/// The number of the table of waiting mails, which a restore from a backup leaves empty.
pub const OUTBOX: u16 = <<Outbox as Registry>::Record as Stored>::TABLE;

/// The number of the table of remembered files.
pub const FILE_CHECKS: u16 = <<FileChecks as Registry>::Record as Stored>::TABLE;

/// Returns the table of a number.
pub fn table(number: u16) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.number == number)
}

/// Says whether only a later version writes records of this table and schema.
pub fn is_newer(number: u16, schema: u16) -> bool {
    match table(number) {
        Some(table) => schema > table.schema,
        None => TABLES.iter().all(|table| number > table.number),
    }
}

/// Returns the name of a table, or its number if this version does not know it.
pub fn name(number: u16) -> String {
    table(number).map_or_else(|| number.to_string(), |table| table.name.to_owned())
}

/// Shows a record. `Null` if this version does not know its table or schema.
///
/// Errors: bytes that are not such a record.
pub fn redacted(number: u16, schema: u16, value: &[u8]) -> Result<Value, CodecError> {
    let Some(table) = table(number) else { return Ok(Value::Null) };
    match table.todays(schema, value) {
        Ok(value) => (table.redacted)(&value),
        Err(ReadError::Schema(_)) => Ok(Value::Null),
        Err(ReadError::Codec(error)) => Err(error),
    }
}

/// Returns the value of a record as this version writes it, or `None` if a sweep at or before `at_ms` may have removed
/// the record, under any settings. A value that does not decode was removed by no sweep, and is returned as it is.
pub fn kept(form: Form, value: &[u8], at_ms: u64) -> Option<Cow<'_, [u8]>> {
    let Some(table) = table(form.table) else { return Some(Cow::Borrowed(value)) };
    let Ok(value) = table.todays(form.schema, value) else { return Some(Cow::Borrowed(value)) };
    (!(table.may_be_gone)(&value, Timestamp(at_ms))).then_some(value)
}

impl Table {
    /// Returns the value of a record as this version writes it.
    ///
    /// Errors: a schema that this version does not know; an earlier schema and bytes that are no such record.
    fn todays<'v>(&self, schema: u16, value: &'v [u8]) -> Result<Cow<'v, [u8]>, ReadError> {
        if schema == self.schema {
            Ok(Cow::Borrowed(value))
        } else {
            (self.upcast)(schema, value).map(Cow::Owned)
        }
    }
}

fn upcast<R: Record>(schema: u16, value: &[u8]) -> Result<Vec<u8>, ReadError> {
    Ok(encode(&R::read(schema, value)?)?)
}

impl States {
    /// Prepares for many records at once: [`States::end_recovery`] builds the indexes.
    pub fn begin_recovery(&mut self) {
        self.accounts.recover();
        self.sessions.recover();
        self.refresh.recover();
    }

    /// Builds the indexes once every record is restored.
    pub fn end_recovery(&mut self) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.accounts.recovered());
            self.sessions.recovered();
            self.refresh.recovered();
        });
    }
}
