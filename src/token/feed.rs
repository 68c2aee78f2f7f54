//! The revocation feed. A resource server that checks access tokens offline learns from it within a second that a
//! session or a key has ended before its tokens expire.
//!
//! The actors of sessions and families add an ending in the same step in which they end a record, whatever the cause,
//! and the actor of accounts in the step in which it takes away a role. The feed is bounded and in memory, and keeps an
//! ending for the lifetime of an access token. Endings of families and the age of an account's tokens are also in the
//! journal, from which the feed is rebuilt at each start. Browser sessions have no access tokens, so their endings are not
//! rebuilt. Many endings of one account become one entry about the account, so that they push no others out. Sequence numbers grow over restarts: each run of the server has a range of its own.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::system::clock::Timestamp;
use crate::system::lock::Mutex;
use crate::value::id::hex;

/// Maximum number of endings. Beyond it the oldest are dropped, and a reader that had not read them gets
/// `complete: false`.
const ENDINGS_MAX: usize = 100_000;
/// Maximum number of endings of one account, more than it can have sessions. At the next one they are replaced by a
/// single entry, which ends all tokens of the account that were issued before: its live sessions refresh once.
const ENDINGS_OF_ACCOUNT_MAX: usize = 200;
/// Bits of the sequence numbers of one run. After two million runs a number is still exact in JavaScript (53 bits).
const LIFE_BITS: u32 = 32;
/// Clock difference that verifiers allow.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// What has ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(into = "EndedFields", try_from = "EndedFields")]
pub enum Ended {
    /// The session of this `sid`.
    Sid(String),
    /// The key of this `kid`, and with it all tokens that it has signed.
    Kid(String),
    /// The tokens of the account `sub` that were issued before a time.
    TokensOf {
        /// The account.
        sub: String,
        /// The time, in seconds since 1970.
        issued_before: u64,
    },
}

/// What has ended: a session (`sid`), a key (`kid`), or the tokens of an account (`sub`) from before a time.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[schema(as = Ended)]
struct EndedFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sub: Option<String>,
    /// In seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    issued_before: Option<u64>,
}

impl From<Ended> for EndedFields {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Sid(sid) => Self { sid: Some(sid), ..Self::default() },
            Ended::Kid(kid) => Self { kid: Some(kid), ..Self::default() },
            Ended::TokensOf { sub, issued_before } => {
                Self { sub: Some(sub), issued_before: Some(issued_before), ..Self::default() }
            }
        }
    }
}

impl TryFrom<EndedFields> for Ended {
    type Error = &'static str;

    fn try_from(fields: EndedFields) -> Result<Self, &'static str> {
        match fields {
            EndedFields { sid: Some(sid), .. } => Ok(Self::Sid(sid)),
            EndedFields { kid: Some(kid), .. } => Ok(Self::Kid(kid)),
            EndedFields { sub: Some(sub), issued_before: Some(issued_before), .. } => {
                Ok(Self::TokensOf { sub, issued_before })
            }
            _ => Err("an entry names a sid, a kid, or a sub and a time"),
        }
    }
}

/// One entry of the feed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Ending {
    /// Sequence number of the entry.
    pub seq: u64,
    /// The session, key or account.
    #[serde(flatten)]
    #[schema(value_type = EndedFields)]
    pub ended: Ended,
    /// When the last token of it has expired, in seconds since 1970. The entry can be dropped then.
    pub until: u64,
}

/// The entries after a position in the feed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = Revocations)]
pub struct Page {
    /// False if entries after that position were dropped. Then older tokens must be introspected.
    pub complete: bool,
    /// The position to ask from next.
    pub next: u64,
    /// The entries, in order.
    pub items: Vec<Ending>,
}

/// The revocation feed of one engine.
#[derive(Debug)]
pub struct Feed {
    state: Mutex<State>,
    last: watch::Sender<u64>,
    /// Lifetime of an access token, plus [`LEEWAY`].
    token_life: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of their sequences, each with the account that it belongs to, if it is about one.
    endings: VecDeque<(Ending, Option<[u8; 16]>)>,
    /// The number of endings of each account.
    of_account: HashMap<[u8; 16], usize>,
    /// The last sequence that was dropped before its tokens had expired.
    dropped_to: u64,
    /// The last sequence.
    seq: u64,
}

impl Feed {
    /// Builds the empty feed of the run number `epoch`. `token_life` is the lifetime of an access token.
    pub fn new(epoch: u64, token_life: Duration) -> Self {
        let seq = epoch << LIFE_BITS;
        Self {
            state: Mutex::new(State { seq, ..State::default() }),
            last: watch::Sender::new(seq),
            token_life: token_life + LEEWAY,
        }
    }

    /// Adds the end of a key. All tokens that it revokes were issued before `now`.
    pub fn push(&self, ended: Ended, now: Timestamp) {
        self.add(ended, None, now);
    }

    /// Adds the end of the session `sid` of an account. All tokens that it revokes were issued before `now`.
    pub fn push_session(&self, sid: String, account: [u8; 16], now: Timestamp) {
        self.add(Ended::Sid(sid), Some(account), now);
    }

    /// Adds the end of an account's tokens that were issued before the second `issued_before`.
    pub fn push_account(&self, account: [u8; 16], issued_before: u64, now: Timestamp) {
        self.add(Ended::TokensOf { sub: hex(&account), issued_before }, Some(account), now);
    }

    fn add(&self, ended: Ended, account: Option<[u8; 16]>, now: Timestamp) {
        let mut state = self.state.lock();
        let until = (now + self.token_life).as_secs() + 1;
        state.add(ended, account, until);
        if let Some(account) = account
            && state.of_account.get(&account).is_some_and(|count| *count > ENDINGS_OF_ACCOUNT_MAX)
        {
            state.replace_by_one(account, self.token_life);
        }
        state.drop_old(now);
        let seq = state.seq;
        drop(state);
        self.last.send_replace(seq);
    }

    /// Returns the entries after position `since`.
    pub fn page(&self, since: u64) -> Page {
        let state = self.state.lock();
        let from = state.endings.partition_point(|(ending, _)| ending.seq <= since);
        let items = state.endings.range(from..).map(|(ending, _)| ending.clone()).collect();
        // A position that was never reached belongs to another history of the data, so nothing is known about it.
        let complete = since >= state.dropped_to && since <= state.seq;
        Page { complete, next: state.seq, items }
    }

    /// Returns a receiver that is notified of each new entry.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}

impl State {
    fn add(&mut self, ended: Ended, account: Option<[u8; 16]>, until: u64) {
        self.seq += 1;
        self.endings.push_back((Ending { seq: self.seq, ended, until }, account));
        if let Some(account) = account {
            *self.of_account.entry(account).or_default() += 1;
        }
    }

    /// Replaces all endings of an account by one that ends every token which they end.
    fn replace_by_one(&mut self, account: [u8; 16], token_life: Duration) {
        let mut until = 0;
        let mut issued_before = 0;
        self.endings.retain(|(ending, of)| {
            if *of != Some(account) {
                return true;
            }
            until = until.max(ending.until);
            if let Ended::TokensOf { issued_before: before, .. } = ending.ended {
                issued_before = issued_before.max(before);
            }
            false
        });
        self.of_account.remove(&account);
        // `until` is a second after the end of the last token, so this is the second after its issue. A session that
        // refreshed since a role was taken away may have a token that is issued at `issued_before`.
        let last_issued = until.saturating_sub(1 + token_life.as_secs());
        let issued_before = issued_before.max(last_issued) + 1;
        self.add(Ended::TokensOf { sub: hex(&account), issued_before }, Some(account), until);
    }

    /// Drops endings whose tokens have expired, and the oldest ones beyond [`ENDINGS_MAX`].
    fn drop_old(&mut self, now: Timestamp) {
        while let Some((first, _)) = self.endings.front() {
            let is_expired = first.until < now.as_secs();
            if !is_expired && self.endings.len() <= ENDINGS_MAX {
                break;
            }
            let Some((first, account)) = self.endings.pop_front() else { break };
            if !is_expired {
                self.dropped_to = first.seq;
            }
            if let Some(Entry::Occupied(mut count)) = account.map(|account| self.of_account.entry(account)) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::id::{FamilyId, Slot};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn endings_are_kept_until_their_tokens_expire_and_gaps_are_reported() {
        let old = FamilyId::mint(Slot::FIRST, [1; 14]);
        let feed = Feed::new(7, Duration::from_mins(15));
        feed.push(Ended::Sid(old.to_string()), NOW);
        let begin = feed.page(0).next;
        feed.push(Ended::Sid("a".into()), NOW);
        let page = feed.page(begin);
        assert!(page.complete);
        assert_eq!(page.next, begin + 1);
        assert_eq!(page.items.len(), 1);
        assert!(!feed.page(begin + 500).complete);
        let next_run = Feed::new(8, Duration::from_mins(15));
        next_run.push(Ended::Sid(old.to_string()), NOW);
        let page = next_run.page(page.next);
        assert!(page.complete);
        assert_eq!(page.items.len(), 1);
        let later = NOW + Duration::from_secs(1000);
        feed.push(Ended::Kid("k".into()), later);
        assert_eq!(feed.page(0).items.len(), 1);
        assert!(feed.page(0).complete);
        for _ in 0..=ENDINGS_MAX {
            feed.push(Ended::Sid("b".into()), later);
        }
        assert!(!feed.page(begin + 1).complete);
        assert!(feed.page(feed.page(0).next).complete);
        assert_eq!(feed.page(0).items.len(), ENDINGS_MAX);
    }

    #[test]
    fn many_endings_of_one_account_become_one_and_push_no_others_out() {
        let feed = Feed::new(7, Duration::from_mins(15));
        let begin = feed.page(0).next;
        feed.push_session("other".into(), [1; 16], NOW);
        feed.push_account([2; 16], NOW.as_secs() + 1, NOW);
        for number in 0..ENDINGS_MAX {
            feed.push_session(number.to_string(), [2; 16], NOW + Duration::from_millis(1));
        }
        let page = feed.page(begin);
        assert!(page.complete);
        assert_eq!(page.items[0].ended, Ended::Sid("other".into()));
        assert!(page.items.len() <= 2 + ENDINGS_OF_ACCOUNT_MAX);
        let issued_before = |ending: &Ending| match &ending.ended {
            Ended::TokensOf { sub, issued_before } if *sub == hex(&[2; 16]) => Some(*issued_before),
            _ => None,
        };
        let ended: Vec<u64> = page.items.iter().filter_map(issued_before).collect();
        assert_eq!(ended.len(), 1);
        assert!(ended[0] > NOW.as_secs() + 1);
        // Afterwards both accounts are forgotten with their last tokens.
        feed.push(Ended::Kid("k".into()), NOW + Duration::from_hours(1));
        assert_eq!(feed.page(begin).items.len(), 1);
        assert!(feed.state.lock().of_account.is_empty());
    }

    #[test]
    fn an_entry_is_flat_json() {
        let ended = Ended::TokensOf { sub: "a".into(), issued_before: 7 };
        for (ended, json) in [
            (Ended::Sid("s".into()), r#"{"seq":1,"sid":"s","until":2}"#),
            (Ended::Kid("k".into()), r#"{"seq":1,"kid":"k","until":2}"#),
            (ended, r#"{"seq":1,"sub":"a","issued_before":7,"until":2}"#),
        ] {
            let ending = Ending { seq: 1, ended, until: 2 };
            assert_eq!(serde_json::to_string(&ending).unwrap(), json);
            assert_eq!(serde_json::from_str::<Ending>(json).unwrap(), ending);
        }
    }
}
