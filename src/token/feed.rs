//! The revocation feed. A resource server that checks access tokens offline learns from it within a second that a
//! session or a key has ended before its tokens expire.
//!
//! The actors of sessions and families add an ending in the same step in which they end a record, whatever the cause.
//! The feed is bounded and in memory, and keeps an ending for the lifetime of an access token. Endings of families are
//! also in the journal, from which the feed is rebuilt at each start. Browser sessions have no access tokens, so their
//! endings are not rebuilt. Sequence numbers grow over restarts: each run of the server has a range of its own.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::system::clock::Timestamp;
use crate::system::lock::Mutex;

/// Maximum number of endings. Beyond it the oldest are dropped, and a reader that had not read them gets
/// `complete: false`.
const ENDINGS_MAX: usize = 100_000;
/// Bits of the sequence numbers of one run. After two million runs a number is still exact in JavaScript (53 bits).
const LIFE_BITS: u32 = 32;
/// Clock difference that verifiers allow.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// A session or a key that has ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The session of this `sid`.
    Sid(String),
    /// The key of this `kid`, and with it all tokens that it has signed.
    Kid(String),
}

/// One entry of the feed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ending {
    /// Sequence number of the entry.
    pub seq: u64,
    /// The session or key.
    #[serde(flatten)]
    pub ended: Ended,
    /// When the last token of it has expired, in seconds since 1970. The entry can be dropped then.
    pub until: u64,
}

/// The entries after a position in the feed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
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
    endings: VecDeque<Ending>,
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

    /// Adds an ending. All tokens that it revokes were issued before `now`.
    pub fn push(&self, ended: Ended, now: Timestamp) {
        let mut state = self.state.lock();
        state.seq += 1;
        let seq = state.seq;
        state.endings.push_back(Ending { seq, ended, until: (now + self.token_life).as_secs() + 1 });
        while let Some(first) = state.endings.front() {
            let is_expired = first.until < now.as_secs();
            if !is_expired && state.endings.len() <= ENDINGS_MAX {
                break;
            }
            if let Some(first) = state.endings.pop_front().filter(|_| !is_expired) {
                state.dropped_to = first.seq;
            }
        }
        drop(state);
        self.last.send_replace(seq);
    }

    /// Returns the entries after position `since`.
    pub fn page(&self, since: u64) -> Page {
        let state = self.state.lock();
        let items: Vec<Ending> = state.endings.iter().filter(|ending| ending.seq > since).cloned().collect();
        // A position that was never reached belongs to another history of the data, so nothing is known about it.
        let complete = since >= state.dropped_to && since <= state.seq;
        Page { complete, next: state.seq, items }
    }

    /// Returns a receiver that is notified of each new entry.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
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
}
