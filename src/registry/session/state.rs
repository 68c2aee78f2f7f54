//! The whole rule of browser sessions. Knows no actor, file, clock or randomness.

use std::time::Duration;

use super::record::SessionV2;
use crate::registry::Revocation;
use crate::registry::buckets::Buckets;
use crate::registry::event::{Credential, EndReason, Told, What};
use crate::registry::index::ByAccount;
use crate::registry::record::{self, AAL1, ENDED_AT_ONCE, EXAMINED_AT_ONCE, LastUse, Write};
use crate::system::clock::Timestamp;
use crate::token::opaque::SecretDigest;
use crate::value::id::{AccountId, SessionId};

/// A decision about sessions with verdict `V`.
pub type Decision<V> = record::Decision<SessionV2, V>;

/// The lifetimes of sessions.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a session lives without use.
    pub idle: Duration,
    /// How long a session lives at most.
    pub absolute: Duration,
    /// How long a remembered session lives without use.
    pub remember_idle: Duration,
    /// How long a remembered session lives at most.
    pub remember_absolute: Duration,
}

/// Opens a session at a log-in.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// The id of the new session, minted in the account's slot.
    pub id: SessionId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// The account's epoch, as the gate has just read it.
    pub auth_epoch: u64,
    /// The global epoch.
    pub global_epoch: u64,
    /// SHA-256 of the cookie's secret.
    pub digest: SecretDigest,
    /// Whether the browser keeps the cookie after it is closed.
    pub remember: bool,
    /// The network of the log-in.
    pub network: Box<str>,
    /// The browser's `User-Agent`, truncated.
    pub user_agent: Box<str>,
    /// The root of the session that it replaces in the browser; `None` if it replaces none of this account.
    pub root: Option<[u8; 16]>,
    /// When the user proved who they are; `None` if they have just done it.
    pub proved: Option<Timestamp>,
    /// The methods by which they did, as bits.
    pub methods: u16,
}

/// Opens a session in place of another one, which ends. Of several at once one alone succeeds.
#[derive(Clone, Debug)]
pub struct Replace {
    /// The session that ends.
    pub old: SessionId,
    /// The one that is opened.
    pub open: OpenSession,
}

/// A session that was opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenedSession {
    /// The session.
    pub session: SessionV2,
    /// The number of sessions that the account has open, with this one.
    pub open: usize,
}

/// Uses the session of a cookie.
#[derive(Clone, Copy, Debug)]
pub struct Touch {
    /// The session that the cookie names.
    pub id: SessionId,
    /// SHA-256 of its secret.
    pub digest: SecretDigest,
}

/// Ends a session.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The session.
    pub id: SessionId,
}

/// Ends the sessions of an account but one, as many of them as one entry holds. The answer says where to go on.
#[derive(Clone, Copy, Debug)]
pub struct EndOthers {
    /// The account.
    pub account: AccountId,
    /// The id of the session that stays; `None` ends all of them.
    pub except: Option<[u8; 16]>,
    /// Where the message before has stopped; `None` for the first one.
    pub after: Option<[u8; 16]>,
}

/// Ends some sessions of an account, which give way to a new one.
#[derive(Clone, Debug)]
pub struct EndThese {
    /// Their ids, at most [`ENDED_AT_ONCE`].
    pub ids: Vec<[u8; 16]>,
}

/// Reads a page of the sessions that are open for an account, in the order of their ids.
#[derive(Clone, Copy, Debug)]
pub struct PageOf {
    /// The account.
    pub account: AccountId,
    /// The epoch of the account that they must have.
    pub auth_epoch: u64,
    /// The global epoch. What was opened under another one is dead.
    pub global_epoch: u64,
    /// The last session of the page before; `None` for the first page.
    pub after: Option<[u8; 16]>,
    /// How many sessions at most.
    pub limit: usize,
}

/// All browser sessions of one engine.
pub struct Sessions {
    by_id: Buckets<[u8; 16], SessionV2>,
    by_account: ByAccount,
    limits: Limits,
}

impl Sessions {
    /// Creates an empty set of sessions.
    pub fn new(limits: Limits) -> Self {
        Self { by_id: Buckets::new(), by_account: ByAccount::new(), limits }
    }

    /// Returns all records in their buckets.
    pub const fn buckets(&self) -> &Buckets<[u8; 16], SessionV2> {
        &self.by_id
    }

    /// Decides the opening of a session at `now`.
    pub fn open(&self, open: OpenSession, now: Timestamp) -> Decision<OpenedSession> {
        let (idle, absolute) = if open.remember {
            (self.limits.remember_idle, self.limits.remember_absolute)
        } else {
            (self.limits.idle, self.limits.absolute)
        };
        let session = SessionV2 {
            id: open.id.to_bytes(),
            account: open.account.to_bytes(),
            auth_epoch: open.auth_epoch,
            global_epoch: open.global_epoch,
            digest: open.digest.0,
            opened_ms: now.as_millis(),
            used_ms: now.as_millis(),
            idle_ms: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
            absolute_end_ms: (now + absolute).as_millis(),
            remember: open.remember,
            network: open.network,
            user_agent: open.user_agent,
            methods: open.methods,
            level: AAL1,
            proved_ms: open.proved.unwrap_or(now).as_millis(),
            device: [0; 8],
            root: open.root.unwrap_or(open.id.to_bytes()),
        };
        let others = self.open_count(open.account, now);
        Decision::put(session.clone(), OpenedSession { session, open: others + 1 })
    }

    /// Decides that a session takes the place of another one. `None` if that is not alive at `now`.
    pub fn replace(&self, replace: Replace, now: Timestamp) -> Decision<Option<SessionV2>> {
        if self.alive(replace.old, now).is_none() {
            return Decision::unchanged(None);
        }
        let Decision { mut writes, verdict } = self.open(replace.open, now);
        writes.push(Write::Remove(replace.old.to_bytes()));
        Decision { writes, verdict: Some(verdict.session) }
    }

    /// Returns the session of a cookie, if it is alive at `now`. Writes the use, at most once a minute.
    pub fn touch(&self, touch: Touch, now: Timestamp) -> Decision<Option<SessionV2>> {
        let session =
            self.alive(touch.id, now).filter(|session| SecretDigest(session.digest) == touch.digest);
        match session {
            None => Decision::unchanged(None),
            Some(session) if now < session.use_written_until() => Decision::unchanged(Some(session.clone())),
            Some(session) => {
                let used = SessionV2 { used_ms: now.as_millis(), ..session.clone() };
                Decision::put(used.clone(), Some(used))
            }
        }
    }

    /// Returns the session of `id`, if it is alive at `now`.
    pub fn alive(&self, id: SessionId, now: Timestamp) -> Option<&SessionV2> {
        self.by_id.get(&id.to_bytes()).filter(|session| now < session.end())
    }

    /// Decides the end of a session. Idempotent.
    pub fn end(&self, id: SessionId) -> Decision<()> {
        match self.by_id.get(&id.to_bytes()) {
            Some(_) => Decision::remove(id.to_bytes(), ()),
            None => Decision::unchanged(()),
        }
    }

    /// Decides the end of some sessions, at most [`ENDED_AT_ONCE`].
    pub fn end_these(&self, these: &EndThese) -> Decision<()> {
        let known = these.ids.iter().take(ENDED_AT_ONCE).filter(|id| self.by_id.get(id).is_some());
        Decision { writes: known.map(|id| Write::Remove(*id)).collect(), verdict: () }
    }

    /// Decides the end of the sessions of an account but one, at most [`ENDED_AT_ONCE`] of them. The verdict says where
    /// to go on, if there may be more.
    pub fn end_others(&self, end_others: EndOthers, now: Timestamp) -> Decision<Option<[u8; 16]>> {
        let mut ids = self.by_account.after(end_others.account.to_bytes(), end_others.after).peekable();
        let mut writes = Vec::new();
        let mut last = None;
        for id in ids.by_ref().take(EXAMINED_AT_ONCE) {
            last = Some(*id);
            let is_alive = self.by_id.get(id).is_some_and(|session| now < session.end());
            if is_alive && Some(*id) != end_others.except {
                writes.push(Write::Remove(*id));
            }
            if writes.len() == ENDED_AT_ONCE {
                break;
            }
        }
        let more = last.filter(|_| ids.peek().is_some());
        Decision { writes, verdict: more }
    }

    /// Returns the sessions of `account` that are alive at `now`, in the order of their ids, those after `after`.
    fn open_of(
        &self,
        account: AccountId,
        after: Option<[u8; 16]>,
        now: Timestamp,
    ) -> impl Iterator<Item = &SessionV2> {
        let sessions = self.by_account.after(account.to_bytes(), after).filter_map(|id| self.by_id.get(id));
        sessions.filter(move |session| now < session.end())
    }

    /// Returns the number of sessions that are open for an account.
    pub fn open_count(&self, account: AccountId, now: Timestamp) -> usize {
        self.open_of(account, None, now).count()
    }

    /// Returns a page of the sessions that are open for an account.
    pub fn page(&self, page: PageOf, now: Timestamp) -> Vec<SessionV2> {
        let sessions = self.open_of(page.account, page.after, now);
        let current = sessions.filter(|session| {
            session.auth_epoch == page.auth_epoch && session.global_epoch == page.global_epoch
        });
        current.take(page.limit).cloned().collect()
    }

    /// Returns when each open session of an account was used last.
    pub fn last_uses(&self, account: AccountId, now: Timestamp) -> Vec<LastUse> {
        let last_use = |session: &SessionV2| LastUse { ms: session.used_ms, id: session.id };
        self.open_of(account, None, now).map(last_use).collect()
    }

    /// Begins recovery. The sessions of an account cannot be found until [`Sessions::recovered`].
    pub fn recover(&mut self) {
        self.by_account.suspend();
    }

    /// Ends recovery and builds the index.
    pub fn recovered(&mut self) {
        let all = self.by_id.iter();
        self.by_account.build(all.map(|(id, session)| (session.account, *id)));
    }

    /// Applies `write`. Cannot fail: the write was just decided, or it was read back.
    pub fn apply(&mut self, write: Write<SessionV2>) {
        match write {
            Write::Put(session) => {
                let id = session.id;
                let account = session.account;
                if self.by_id.insert(id, session).is_none() {
                    self.by_account.insert(account, id);
                }
            }
            Write::Remove(id) => self.forget(id),
        }
    }

    /// Removes the expired sessions of one bucket and returns how many there were. Writes nothing to the journal: the
    /// end is in the record.
    pub fn sweep(&mut self, bucket: usize, now: Timestamp) -> usize {
        let expired = self.by_id.bucket(bucket).filter(|(_, session)| now >= session.end());
        let ids: Vec<_> = expired.map(|(id, _)| *id).collect();
        for id in &ids {
            self.forget(*id);
        }
        ids.len()
    }

    fn forget(&mut self, id: [u8; 16]) {
        let Some(session) = self.by_id.remove(&id) else { return };
        self.by_account.remove(session.account, id);
    }
}

impl Sessions {
    /// Returns the events that the writes of one decision make true. A session that ends with the opening of another one was
    /// replaced; for any other end the state has no reason.
    pub(super) fn events_of(&self, writes: &[Write<SessionV2>]) -> Vec<Told> {
        let credential = Credential::Cookie;
        let opens = |write: &Write<SessionV2>| match write {
            Write::Put(session) => self.by_id.get(&session.id).is_none(),
            Write::Remove(_) => false,
        };
        let reason = writes.iter().any(opens).then_some(EndReason::Replaced);
        let event = |write: &Write<SessionV2>| match write {
            Write::Put(session) => opens(write)
                .then(|| Told::new(session.account, What::SessionOpened { session: session.id, credential })),
            Write::Remove(id) => {
                let account = self.by_id.get(id)?.account;
                Some(Told::new(account, What::SessionEnded { session: *id, credential, reason }))
            }
        };
        writes.iter().filter_map(event).collect()
    }

    /// Returns the session that a write ends, if it ends one.
    pub(super) fn revoked_by(&self, write: &Write<SessionV2>) -> Option<Revocation> {
        match write {
            Write::Put(_) => None,
            Write::Remove(id) => {
                let session = self.by_id.get(id)?;
                Some(Revocation::Session { id: *id, account: session.account })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::record::BY_PASSWORD;
    use crate::value::id::Slot;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);
    const MINUTE: Duration = Duration::from_mins(1);

    fn opened(sessions: &mut Sessions, remember: bool) -> SessionV2 {
        let decision = sessions.open(
            OpenSession {
                id: SessionId::mint(Slot::FIRST, [remember.into(); 14]),
                account: AccountId::mint(Slot::FIRST, [9; 14]),
                auth_epoch: 0,
                global_epoch: 0,
                digest: SecretDigest([5; 32]),
                remember,
                network: "192.0.2.1/32".into(),
                user_agent: "test".into(),
                root: None,
                proved: None,
                methods: BY_PASSWORD,
            },
            START,
        );
        decision.writes.into_iter().for_each(|write| sessions.apply(write));
        decision.verdict.session
    }

    fn sessions() -> Sessions {
        Sessions::new(Limits {
            idle: MINUTE * 30,
            absolute: MINUTE * 720,
            remember_idle: MINUTE * 20_160,
            remember_absolute: MINUTE * 43_200,
        })
    }

    #[test]
    fn use_extends_a_session_to_its_end_and_is_written_once_a_minute() {
        let mut sessions = sessions();
        let id = SessionId::from_bytes(opened(&mut sessions, false).id).unwrap();
        let mut now = START;
        let mut writes = 0;
        while sessions.alive(id, now).is_some() {
            now = now + MINUTE / 2;
            let touched = sessions.touch(Touch { id, digest: SecretDigest([5; 32]) }, now);
            writes += touched.writes.len();
            touched.writes.into_iter().for_each(|write| sessions.apply(write));
        }
        assert_eq!(now, START + MINUTE * 720);
        assert!((710..=720).contains(&writes), "{writes}");
    }

    #[test]
    fn an_idle_or_ended_session_and_a_wrong_secret_get_nothing() {
        let mut sessions = sessions();
        let short = SessionId::from_bytes(opened(&mut sessions, false).id).unwrap();
        let long = SessionId::from_bytes(opened(&mut sessions, true).id).unwrap();
        assert!(sessions.touch(Touch { id: short, digest: SecretDigest([6; 32]) }, START).verdict.is_none());
        let later = START + MINUTE * 30;
        assert!(sessions.touch(Touch { id: short, digest: SecretDigest([5; 32]) }, later).verdict.is_none());
        assert!(sessions.touch(Touch { id: long, digest: SecretDigest([5; 32]) }, later).verdict.is_some());
        let ended = sessions.end(long);
        ended.writes.into_iter().for_each(|write| sessions.apply(write));
        assert!(sessions.touch(Touch { id: long, digest: SecretDigest([5; 32]) }, START).verdict.is_none());
        let swept: usize =
            (0..crate::journal::format::buckets::BUCKETS).map(|at| sessions.sweep(at, later)).sum();
        assert_eq!(swept, 1);
        assert_eq!(sessions.by_account.len(), 0);
    }

    #[test]
    fn a_session_of_few_seconds_does_not_end_while_it_is_used() {
        let limits = Limits {
            idle: Duration::from_secs(20),
            absolute: MINUTE * 10,
            remember_idle: MINUTE,
            remember_absolute: MINUTE * 10,
        };
        let mut sessions = Sessions::new(limits);
        let id = SessionId::from_bytes(opened(&mut sessions, false).id).unwrap();
        let mut now = START;
        while sessions.alive(id, now).is_some() {
            let touched = sessions.touch(Touch { id, digest: SecretDigest([5; 32]) }, now);
            touched.writes.into_iter().for_each(|write| sessions.apply(write));
            now = now + Duration::from_secs(2);
        }
        assert_eq!(now, START + MINUTE * 10);
    }
}
