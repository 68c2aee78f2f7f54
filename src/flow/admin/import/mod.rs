//! Accounts of another system, a line each.
//!
//! **The attack:** a file asks for hashes that take minutes, one or all together, fills memory, or keeps everybody from logging in while it is
//! read; a process that is killed in the middle leaves half of an account; an address that is there already gets another
//! password.
//!
//! **The rule:** a line becomes an account as a whole, in one entry of the journal, or is refused by its number, its field and
//! the reason. An account that is there is never changed. So a stream that was cut is simply sent again: the lines that were
//! taken are duplicates that are the same. One import is at work at a time. It is judged on a thread of its own, in batches
//! between which the actor of the accounts serves others, and never holds more than a group of lines.
//!
//! ```text
//!   bytes ─▶ lines ─▶ judge: fields, address, bounds of the hash ─▶ batch ─▶ registry: taken, or created in one entry
//!            64 KiB   a blocking thread                   └ {SSHA} ─▶ argon2id, in the slowest lane of the hash queue
//! ```

mod embedded;
mod id;
mod line;
pub mod lines;
pub mod patience;
pub mod report;
mod seen;

use std::sync::Arc;
use std::time::Duration;

pub use embedded::{ImportOptions, ImportReport, ImportedLine};
#[doc(hidden)]
pub use line::parse;

use tokio::sync::OwnedMutexGuard;

use self::line::{Judged, LineError, judge, named};
use self::lines::Line;
use self::report::{Counts, Grown, Outcome, Refused, Report};
use self::seen::{Earlier, Seen};
use super::Admin;
use super::accounts::tell_of_admin;
use super::difference::first_fields;
use crate::audit::event::{Event, Note};
use crate::engine::{Engine, Fault};
use crate::flow::refusal::{FlowError, Refusal};
use crate::journal::append::handle::NoRoom;
use crate::journal::format::entry::ENTRY_BYTES_MAX;
use crate::password::foreign::{FastDigest, LogInCost, StoredCost, TooDear};
use crate::password::{Cost, QueueKey};
use crate::registry::account::actor::{Import as ImportBatch, JudgeImport, ReadLogInCost};
use crate::registry::account::import::{Batch, Imported, ToImport};
use crate::registry::account::{AccountV4, is_admin};
use crate::registry::lockout::actor::{Clear, Failing};
use crate::registry::sign_up::actor::{EndSignUps, NamesWaiting};
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;

/// The pause after a batch, in which the actors serve others.
const PAUSE: Duration = Duration::from_millis(1);
/// The pause after which a batch is tried again for which the journal, or a digest for which the hash queue, had no room.
const RETRY: Duration = Duration::from_millis(20);
/// How often a batch or a digest is tried again: for a minute.
const RETRIES: u32 = 3_000;
/// Administrators of one import that have lines of their own in the log of security events, and of whom the others are told by
/// mail. That there are more, the last line says.
const ADMINS_MAX: usize = 16;

/// How an import judges its lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Whether it judges everything and changes nothing.
    pub is_dry: bool,
    /// Whether addresses count as proved where a line does not say.
    pub is_verified: bool,
}

/// An import that is at work.
pub struct Import {
    engine: Arc<Engine>,
    admin: Admin,
    how: How,
    counts: Counts,
    seen: Seen,
    /// What a log-in cost before, and what the lines of a dry run would make it cost.
    cost_before: LogInCost,
    cost_of_lines: LogInCost,
    /// Administrators that were created, of whom [`ADMINS_MAX`] have lines of their own.
    admins: usize,
    is_over: bool,
    _turn: OwnedMutexGuard<()>,
}

impl Import {
    /// Begins an import.
    ///
    /// Errors: another one is at work; no line of the log of security events could say what it does.
    pub async fn begin(engine: &Engine, admin: &Admin, how: How) -> Result<Self, FlowError> {
        let is_dry = how.is_dry;
        let engine = engine.itself()?;
        let turn = Arc::clone(&engine.import).try_lock_owned().map_err(|_| Refusal::ImportRunning)?;
        if !is_dry {
            let may_change = engine.may_change_rights().await?;
            admin.record_what(&engine, may_change, Event::UsersImported, &"accounts", "begins").await?;
        }
        let cost_before = engine.accounts.ask_of_memory(ReadLogInCost).await?;
        let admin = admin.clone();
        Ok(Self {
            engine,
            admin,
            how,
            counts: Counts::default(),
            seen: Seen::default(),
            cost_before,
            cost_of_lines: LogInCost::default(),
            admins: 0,
            is_over: is_dry,
            _turn: turn,
        })
    }

    /// Returns how many lines became what so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a group of lines, and returns what became of those that gave no account.
    ///
    /// Errors: the journal takes nothing, or the engine ends. Lines of this call may have been taken or not: the stream is to
    /// be sent again.
    pub async fn take(&mut self, lines: Vec<Line>) -> Result<Vec<Report>, FlowError> {
        let now = self.engine.clock.now();
        let mut reports = Vec::new();
        let mut batch = self.empty();
        for (number, external_id, judged) in self.judge(lines, now).await? {
            let mut judged = match judged {
                Ok(judged) => judged,
                Err(refused) => {
                    self.note(&mut reports, number, external_id, Outcome::Refused(refused));
                    continue;
                }
            };
            let earlier = self.seen.note(number, &judged.account, judged.has_given_id);
            if self.how.is_dry {
                if let Some(Earlier { what, line, is_same }) = earlier {
                    let outcome = Outcome::Duplicate { what, by: None, earlier: Some(line), is_same };
                    self.note(&mut reports, number, external_id, outcome);
                    continue;
                }
            } else if let Some(digest) = judged.digest.take() {
                judged.account.phc = Some(self.wrap(&digest).await?);
            }
            let name = judged.name();
            let Judged { account, has_given_id, .. } = judged;
            let line = FromLine { number, external_id, earlier, name };
            if let Some((line, item)) = batch.push(line, ToImport { account, has_given_id })? {
                self.send(batch, &mut reports).await?;
                batch = self.empty();
                batch.push(line, item)?;
            }
        }
        self.send(batch, &mut reports).await?;
        reports.sort_by_key(|report| report.line);
        Ok(reports)
    }

    /// Ends the import, which the log of security events counts.
    pub async fn finish(mut self) -> Result<Counts, FlowError> {
        if !self.is_over {
            self.is_over = true;
            let what = self.summary("ends");
            let may_change = self.engine.may_go_on().await?;
            let event = Event::UsersImported;
            self.admin.record_what(&self.engine, may_change, event, &"accounts", &what).await?;
        }
        self.counts.log_in = self.grown().await?;
        Ok(self.counts)
    }

    fn own_cost(&self) -> Cost {
        self.engine.services.config.password.cost
    }

    fn empty(&self) -> Numbered {
        Numbered { batch: Batch::new(self.own_cost(), self.cost_of_lines.clone()), lines: Vec::new() }
    }

    /// Returns what a log-in costs before and afterwards, if it costs more.
    async fn grown(&self) -> Result<Option<Grown>, FlowError> {
        let mut after = self.engine.accounts.ask_of_memory(ReadLogInCost).await?;
        after.note_all(&self.cost_of_lines);
        let [before_kib, after_kib] = [&self.cost_before, &after].map(|cost| cost.kib(self.own_cost()));
        let pool = &self.engine.services.pool;
        let times = after_kib as f64 / (self.own_cost().work() as f64).max(1.0);
        let time = pool.stats().hash_time.mul_f64(times);
        let after = (!time.is_zero()).then(|| (time, pool.threads() as f64 / time.as_secs_f64()));
        Ok((after_kib > before_kib).then_some(Grown { before_kib, after_kib, after }))
    }

    fn summary(&self, how: &str) -> String {
        let Counts { created, same, taken, moved, refused, .. } = self.counts;
        let taken = taken + moved;
        let admins =
            if self.admins > 0 { format!(", administrators {}", self.admins) } else { String::new() };
        format!("{how}: created {created}{admins}, there before {same}, taken {taken}, refused {refused}")
    }

    fn note(
        &mut self,
        reports: &mut Vec<Report>,
        line: u64,
        external_id: Option<Box<str>>,
        outcome: Outcome,
    ) {
        self.counts.note(&outcome);
        reports.push(Report { line, external_id, outcome });
    }

    /// Judges lines on a blocking thread, so that no event loop waits.
    async fn judge(
        &self,
        lines: Vec<Line>,
        now: Timestamp,
    ) -> Result<Vec<(u64, Option<Box<str>>, Result<Judged, Refused>)>, FlowError> {
        let (engine, is_verified) = (Arc::clone(&self.engine), self.how.is_verified);
        let judged = tokio::task::spawn_blocking(move || {
            let judge = |line: Line| {
                let judged = match &line.bytes {
                    Ok(bytes) => judge(&engine, bytes, is_verified, now),
                    Err(fault) => Err(Refused::at("", fault.code(), fault.to_string()).into()),
                };
                match judged {
                    Ok(judged) => Ok((line.number, judged.external_id(), Ok(judged))),
                    Err(LineError::Refused(refused)) => {
                        let external_id = line.bytes.ok().and_then(|bytes| named(&bytes));
                        Ok((line.number, external_id, Err(refused)))
                    }
                    Err(LineError::NoRandomness(error)) => Err(error),
                }
            };
            lines.into_iter().map(judge).collect::<Result<Vec<_>, _>>()
        });
        Ok(judged.await.map_err(|_| Fault::Ending)??)
    }

    /// Hashes a digest in the lane that has the fewest turns. While log-ins fill the queue, it waits.
    async fn wrap(&self, digest: &FastDigest) -> Result<Box<str>, FlowError> {
        let key = QueueKey::in_background();
        let mut tries = 0;
        loop {
            match self.engine.services.pool.wrap(key, digest.clone()).await {
                Ok(text) => return Ok(text.into()),
                Err(shed) if tries >= RETRIES => return Err(shed.into()),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
            tries += 1;
        }
    }

    /// Creates the accounts of a batch, and notes what became of each of its lines.
    async fn send(&mut self, numbered: Numbered, reports: &mut Vec<Report>) -> Result<(), FlowError> {
        let Numbered { batch, lines } = numbered;
        if batch.is_empty() {
            return Ok(());
        }
        self.admin.require_standing(&self.engine).await?;
        let imported = if self.how.is_dry {
            self.engine.accounts.ask(JudgeImport { batch }).await?
        } else {
            self.engine.may_go_on().await?;
            self.import(batch).await?
        };
        let mut names = Vec::new();
        for (sent, imported) in lines.into_iter().zip(imported) {
            let line = sent.line;
            match imported {
                Imported::Created => {
                    self.counts.created += 1;
                    names.push(line.name);
                    if let Some(cost) = sent.cost.filter(|_| self.how.is_dry) {
                        self.cost_of_lines.note(cost);
                    }
                    if let Some(account) = sent.admin.filter(|_| !self.how.is_dry) {
                        self.tell(&account).await?;
                    }
                }
                Imported::Taken { what, by, is_same } => {
                    let earlier = line.earlier.filter(|earlier| earlier.what == what);
                    let earlier = earlier.map(|earlier| earlier.line);
                    let outcome = Outcome::Duplicate { what, by: Some(by), earlier, is_same };
                    self.note(reports, line.number, line.external_id, outcome);
                }
                Imported::TooDear(too_dear) => {
                    let refused = Refused::at("/password_hash", TooDear::CODE, too_dear.to_string());
                    self.note(reports, line.number, line.external_id, Outcome::Refused(refused));
                }
            }
        }
        if !self.how.is_dry {
            self.end_what_strangers_began(names).await?;
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    async fn import(&self, batch: Batch) -> Result<Vec<Imported>, FlowError> {
        let mut tries = 0;
        loop {
            // Requests must find room behind it, also while a segment is being prepared.
            if self.engine.journal.has_ample_room(ENTRY_BYTES_MAX) || tries >= RETRIES {
                match self.engine.accounts.ask(ImportBatch { batch: batch.clone() }).await {
                    Err(Fault::NoRoom(NoRoom::Busy)) if tries < RETRIES => {}
                    imported => return Ok(imported?),
                }
            }
            tokio::time::sleep(RETRY).await;
            tries += 1;
        }
    }

    /// Ends sign-ups for addresses that have an account now, and lifts locks that strangers began while they had none.
    async fn end_what_strangers_began(&self, names: Vec<NameKey>) -> Result<(), FlowError> {
        for name in self.engine.sign_ups.ask(NamesWaiting { names: names.clone() }).await? {
            self.engine.sign_ups.ask(EndSignUps { name }).await?;
        }
        for name in self.engine.lockout.ask(Failing { names }).await? {
            self.engine.lockout.ask(Clear { name }).await?;
        }
        Ok(())
    }

    /// Tells of an administrator that was created.
    async fn tell(&mut self, account: &AccountV4) -> Result<(), FlowError> {
        self.admins += 1;
        if self.admins > ADMINS_MAX {
            return Ok(());
        }
        tell_of_admin(&self.engine, account).await?;
        let may_change = self.engine.may_go_on().await?;
        let (id, fields) = (account.account_id(), first_fields(account));
        Ok(self.admin.record_what(&self.engine, may_change, Event::AdminCreated, &id, &fields).await?)
    }
}

impl Drop for Import {
    /// An import that was cut has its line all the same.
    fn drop(&mut self) {
        if !self.is_over {
            let what = self.summary("is cut");
            let note = Note::new(Event::UsersImported).about(&"accounts");
            self.engine.record(note.by_operator(self.admin.name(), &what));
        }
    }
}

/// A batch, with the lines that it comes from.
struct Numbered {
    batch: Batch,
    lines: Vec<Sent>,
}

/// The line that an account of a batch comes from.
struct FromLine {
    number: u64,
    external_id: Option<Box<str>>,
    earlier: Option<Earlier>,
    name: NameKey,
}

/// What is known of an account of a batch.
struct Sent {
    line: FromLine,
    /// The cost of its hash.
    cost: Option<StoredCost>,
    /// The account, if it is that of an administrator.
    admin: Option<AccountV4>,
}

impl Numbered {
    /// Adds the account of a line, or returns both if there is no room for it.
    fn push(&mut self, line: FromLine, item: ToImport) -> Result<Option<(FromLine, ToImport)>, FlowError> {
        let admin = is_admin(&item.account).then(|| item.account.clone());
        let cost = item.account.phc.as_deref().and_then(StoredCost::of);
        // Every part of it was bounded when it was judged.
        let pushed = self.batch.push(item).map_err(|_| Fault::Ending)?;
        if let Some(item) = pushed {
            return Ok(Some((line, item)));
        }
        self.lines.push(Sent { line, cost, admin });
        Ok(None)
    }
}
