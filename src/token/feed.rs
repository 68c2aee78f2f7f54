//! The feed of what was ended: from which a resource server that checks access tokens by itself learns within a second
//! that one is dead before its time.
//!
//! Told by the owners of sessions and families in the breath in which they end one, whatever request or crash it was that
//! did it. Kept for as long as an access token lives, bounded, in memory: what is ended is journalled with its family, and
//! the feed is drawn from there at each start. Of browser sessions there is no access token, so those that ended before a
//! start are not told again. Numbers rise over restarts: each life of the server has a range of its own.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::system::clock::Timestamp;
use crate::system::lock::Mutex;

/// Endings that are remembered. Beyond it the oldest give way, and whoever had not read them is told so.
const ENDINGS_MAX: usize = 100_000;
/// Endings of one life, in bits. With two million lives before it a number is still exact in JavaScript.
const LIFE_BITS: u32 = 32;
/// What verifiers allow their clocks to be wrong by.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// One thing that ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The session of this `sid`.
    Sid(String),
    /// Everything that the key of this `kid` has signed.
    Kid(String),
}

/// One line of the feed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ending {
    /// Its place in the feed.
    pub seq: u64,
    /// What ended.
    #[serde(flatten)]
    pub ended: Ended,
    /// No token of it outlives this, in seconds since 1970: it can be forgotten then.
    pub until: u64,
}

/// What is behind a place of the feed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Page {
    /// False when something behind that place is no longer known: then tokens from before are to be asked about.
    pub complete: bool,
    /// Where to go on from.
    pub next: u64,
    /// In their order.
    pub items: Vec<Ending>,
}

/// The feed.
#[derive(Debug)]
pub struct Feed {
    state: Mutex<State>,
    last: watch::Sender<u64>,
    life: Duration,
}

#[derive(Debug, Default)]
struct State {
    endings: VecDeque<Ending>,
    /// The last sequence that is not remembered any more although somebody might need it.
    lost_to: u64,
    seq: u64,
}

impl Feed {
    /// Builds the empty feed of the run with that epoch. `life` is that of an access token.
    pub fn new(epoch: u64, life: Duration) -> Self {
        let seq = epoch << LIFE_BITS;
        Self {
            state: Mutex::new(State { seq, ..State::default() }),
            last: watch::Sender::new(seq),
            life: life + LEEWAY,
        }
    }

    /// Adds an ending of tokens that were all made before `now`.
    pub fn push(&self, ended: Ended, now: Timestamp) {
        let mut state = self.state.lock();
        state.seq += 1;
        let seq = state.seq;
        state.endings.push_back(Ending { seq, ended, until: (now + self.life).as_secs() + 1 });
        while let Some(first) = state.endings.front() {
            let is_over = first.until < now.as_secs();
            if !is_over && state.endings.len() <= ENDINGS_MAX {
                break;
            }
            if let Some(first) = state.endings.pop_front().filter(|_| !is_over) {
                state.lost_to = first.seq;
            }
        }
        drop(state);
        self.last.send_replace(seq);
    }

    /// What is behind `since`.
    pub fn page(&self, since: u64) -> Page {
        let state = self.state.lock();
        let items: Vec<Ending> = state.endings.iter().filter(|ending| ending.seq > since).cloned().collect();
        // A place that was never reached is of another life of the data: all of it must be asked about.
        let complete = since >= state.lost_to && since <= state.seq;
        Page { complete, next: state.seq, items }
    }

    /// Wakes whoever waits each time something is added.
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
    fn what_ended_is_there_until_no_token_of_it_lives_and_what_gave_way_is_told() {
        let old = FamilyId::mint(Slot::FIRST, [1; 14]);
        let feed = Feed::new(7, Duration::from_mins(15));
        feed.push(Ended::Sid(old.to_string()), NOW);
        let begin = feed.page(0).next;
        feed.push(Ended::Sid("a".into()), NOW);
        let page = feed.page(begin);
        assert_eq!((page.complete, page.next, page.items.len()), (true, begin + 1, 1));
        assert!(!feed.page(begin + 500).complete);
        let next_life = Feed::new(8, Duration::from_mins(15));
        next_life.push(Ended::Sid(old.to_string()), NOW);
        let page = next_life.page(page.next);
        assert_eq!((page.complete, page.items.len()), (true, 1));
        let later = NOW + Duration::from_secs(1000);
        feed.push(Ended::Kid("k".into()), later);
        assert_eq!(feed.page(0).items.len(), 1);
        assert!(feed.page(0).complete);
        for _ in 0..=ENDINGS_MAX {
            feed.push(Ended::Sid("b".into()), later);
        }
        assert!(!feed.page(begin + 1).complete && feed.page(feed.page(0).next).complete);
        assert_eq!(feed.page(0).items.len(), ENDINGS_MAX);
    }
}
