//! The mailbox around [`Stuffing`]. Answers depend on memory alone, so they are not sealed.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, MessageResult};

use super::reputation_cache::ReputationCache;
use super::state::{Noticed, Reputation, Stuffing, Tried};
use crate::system::clock::Clock;
use crate::system::fail_stop::FailStop;
use crate::value::network::Network;

/// The actor around [`Stuffing`].
pub struct StuffingActor {
    state: Stuffing,
    reputation_cache: Arc<ReputationCache>,
    clock: Clock,
    fail_stop: FailStop,
}

impl StuffingActor {
    /// Creates the actor with an empty state. It updates `reputation_cache` with every log-in that ends.
    pub fn new(reputation_cache: Arc<ReputationCache>, clock: Clock, fail_stop: FailStop) -> Self {
        Self { state: Stuffing::default(), reputation_cache, clock, fail_stop }
    }
}

impl Actor for StuffingActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(crate::registry::MAILBOX);
    }
}

/// Reads the reputation of a network.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Reputation")]
pub struct Look {
    /// The network.
    pub network: Network,
}

/// Notes how a log-in ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Noticed")]
pub struct Observe {
    /// The log-in that ended.
    pub tried: Tried,
}

/// Reads figures of the state.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "WatchStats")]
pub struct ReadStats;

/// The answer to [`ReadStats`].
#[derive(Clone, Copy, Debug, Default, actix::MessageResponse)]
pub struct WatchStats {
    /// Whether the alarm rings.
    pub rings: bool,
    /// The moving mean of the share of log-ins that fail.
    pub mean: f64,
    /// Bytes that the state takes.
    pub bytes: usize,
}

impl Handler<Look> for StuffingActor {
    type Result = MessageResult<Look>;

    fn handle(&mut self, look: Look, _: &mut Context<Self>) -> Self::Result {
        let now = self.clock.now();
        MessageResult(self.fail_stop.guard("stuffing", || self.state.look(look.network, now)))
    }
}

impl Handler<Observe> for StuffingActor {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, Observe { tried }: Observe, _: &mut Context<Self>) -> Self::Result {
        let now = self.clock.now();
        let noticed = self.fail_stop.guard("stuffing", || self.state.note(tried, now));
        self.reputation_cache.note(tried.network, tried.outcome, self.state.rings(), now);
        MessageResult(noticed)
    }
}

impl Handler<ReadStats> for StuffingActor {
    type Result = WatchStats;

    fn handle(&mut self, _: ReadStats, _: &mut Context<Self>) -> WatchStats {
        WatchStats { rings: self.state.rings(), mean: self.state.mean(), bytes: self.state.bytes() }
    }
}
