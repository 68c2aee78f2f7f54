//! Refusals that still hold: a flood from one network costs no way to the limiter's owner and back for each request.
//!
//! A cell over its limit is left as it was by every further request, so a refusal holds until its wait is over, unless a
//! success gives a charge back: then all are forgotten, and the owner is asked again.

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

#[derive(Clone, Copy)]
struct Refusal {
    until: Timestamp,
    standing: RateLimitState,
    eased: u64,
}

/// Those of one engine.
#[derive(Default)]
pub struct RefusalCache {
    kept: Shards<(Class, Network), Refusal, SHARDS, PER_SHARD>,
    /// Counts what may have let somebody in again.
    eased: AtomicU64,
}

impl RefusalCache {
    /// Whether a request would surely be refused now.
    pub fn find(
        &self,
        class: Class,
        network: Network,
        now: Timestamp,
    ) -> Option<(Throttled, RateLimitState)> {
        let refusal = self.kept.find(network.spread(), &(class, network), |refusal| Some(*refusal))?;
        let holds = now < refusal.until && refusal.eased == self.eased();
        holds.then(|| (Throttled { wait: refusal.until.since(now) }, refusal.standing))
    }

    /// To be read before the owner is asked.
    pub fn eased(&self) -> u64 {
        self.eased.load(Ordering::SeqCst)
    }

    /// The owner has refused; `eased` was read before.
    pub fn keep(
        &self,
        class: Class,
        network: Network,
        (throttled, standing): (Throttled, RateLimitState),
        eased: u64,
        now: Timestamp,
    ) {
        // Waits in less than a millisecond would be cut to nothing, and are not worth it.
        let until = now + throttled.wait.saturating_sub(Duration::from_millis(1));
        let refusal = Refusal { until, standing, eased };
        self.kept.keep(network.spread(), (class, network), refusal, |refusal| now >= refusal.until);
    }

    /// A charge was given back.
    pub fn ease(&self) {
        self.eased.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::throttle::{Limits, Rate, Table};

    #[test]
    fn a_kept_refusal_is_what_the_table_would_say() {
        let now = Timestamp::from_secs(1_800_000_000);
        let rates = vec![(Class::Login, Rate { burst: 3, per_minute: 20 })];
        let limits = Limits { rates, cells: 1000, exempt: Vec::new(), half_spent: false };
        let (mut table, refused) = (Table::new(limits, now), RefusalCache::default());
        let address = "192.0.2.1".parse().unwrap();
        let network = Network::of(address);
        let granted: Vec<_> = (0..3).map(|_| table.take(Class::Login, address, now).unwrap()).collect();
        let eased = refused.eased();
        refused.keep(Class::Login, network, table.take(Class::Login, address, now).unwrap_err(), eased, now);
        for millis in [0, 1000, 2500, 2998] {
            let at = now + Duration::from_millis(millis);
            let (kept, standing) = refused.find(Class::Login, network, at).unwrap();
            let (said, also) = table.take(Class::Login, address, at).unwrap_err();
            assert!(said.wait <= kept.wait + Duration::from_millis(1) && standing == also);
        }
        assert!(refused.find(Class::Signup, network, now).is_none());
        let over = now + Duration::from_secs(3);
        assert!(refused.find(Class::Login, network, over).is_none());
        table.refund(granted[0].charge, now);
        refused.ease();
        assert!(refused.find(Class::Login, network, now).is_none());
        assert!(table.take(Class::Login, address, now).is_ok());
    }
}
