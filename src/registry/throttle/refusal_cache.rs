//! A cache of refusals that still hold, so that a flood from one network costs no message to the limiter's actor for
//! each request.
//!
//! Further requests leave a cell over its limit unchanged, so a refusal holds until its wait is over, unless a success
//! gives a charge back. In that case the whole cache is invalidated and the actor is asked again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::class::Class;
use super::gcra::Throttled;
use super::table::RateLimitState;
use crate::registry::sharded_map::Shards;
use crate::system::clock::Timestamp;
use crate::value::network::Network;

const SHARDS: usize = 32;
const PER_SHARD: usize = 512;

/// What a request is charged to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Payer {
    /// The network of its client, and the wider ones around it.
    Network(Network),
    /// A known device of an account, by its id, or an account, or a token family.
    Device(u64),
}

impl Payer {
    /// Returns a number by which payers are spread over shards.
    fn spread(self) -> usize {
        match self {
            Self::Network(network) => network.spread(),
            Self::Device(id) => id as usize,
        }
    }
}

#[derive(Clone, Copy)]
struct KeptRefusal {
    until: Timestamp,
    state: RateLimitState,
    eased: u64,
}

/// The refusals of one engine.
#[derive(Default)]
pub struct RefusalCache {
    kept: Shards<(Class, Payer), KeptRefusal, SHARDS, PER_SHARD>,
    /// Counts the refunds, each of which may let a refused client in again.
    eased: AtomicU64,
}

impl RefusalCache {
    /// Returns the refusal of a request that would certainly be refused at `now`.
    pub fn find(&self, class: Class, payer: Payer, now: Timestamp) -> Option<(Throttled, RateLimitState)> {
        let refusal = self.kept.find(payer.spread(), &(class, payer), |refusal| Some(*refusal))?;
        let holds = now < refusal.until && refusal.eased == self.eased();
        holds.then(|| (Throttled { wait: refusal.until.since(now) }, refusal.state))
    }

    /// Returns the count of refunds. Read it before asking the actor, and hand it to [`Self::keep`].
    pub fn eased(&self) -> u64 {
        self.eased.load(Ordering::SeqCst)
    }

    /// Keeps a refusal of the actor. `eased` is the count of refunds before the actor was asked.
    pub fn keep(
        &self,
        class: Class,
        payer: Payer,
        (throttled, state): (Throttled, RateLimitState),
        eased: u64,
        now: Timestamp,
    ) {
        // A wait of less than a millisecond would be cut to nothing, and is not worth a place.
        let until = now + throttled.wait.saturating_sub(Duration::from_millis(1));
        let refusal = KeptRefusal { until, state, eased };
        self.kept.keep(payer.spread(), (class, payer), refusal, |refusal| now >= refusal.until);
    }

    /// Invalidates all refusals, because a charge was given back.
    pub fn ease(&self) {
        self.eased.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::throttle::{Limits, Rate, Table};

    #[test]
    fn a_kept_refusal_agrees_with_the_table() {
        let now = Timestamp::from_secs(1_800_000_000);
        let rates = vec![(Class::Login, Rate { burst: 3, per_minute: 20 })];
        let limits = Limits { rates, cells: 1000, exempt: Vec::new(), half_spent: false };
        let mut table = Table::new(limits, now);
        let cache = RefusalCache::default();
        let address = "192.0.2.1".parse().unwrap();
        let network = Payer::Network(Network::of(address));
        let granted: Vec<_> = (0..3).map(|_| table.take(Class::Login, address, now).unwrap()).collect();
        let eased = cache.eased();
        cache.keep(Class::Login, network, table.take(Class::Login, address, now).unwrap_err(), eased, now);
        for millis in [0, 1000, 2500, 2998] {
            let at = now + Duration::from_millis(millis);
            let (kept, kept_state) = cache.find(Class::Login, network, at).unwrap();
            let (refused, state) = table.take(Class::Login, address, at).unwrap_err();
            assert!(refused.wait <= kept.wait + Duration::from_millis(1));
            assert_eq!(kept_state, state);
        }
        assert!(cache.find(Class::Signup, network, now).is_none());
        let over = now + Duration::from_secs(3);
        assert!(cache.find(Class::Login, network, over).is_none());
        table.refund(granted[0].charge, now);
        cache.ease();
        assert!(cache.find(Class::Login, network, now).is_none());
        assert!(table.take(Class::Login, address, now).is_ok());
    }
}
