//! Who asks.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use crate::audit::event::{Event, Note};
use crate::engine::{Engine, Fault};
use crate::password::{Lane, QueueKey};
use crate::registry::throttle::RateLimitState;
use crate::value::network::Network;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Client {
    /// The address, after trusted proxies.
    pub address: IpAddr,
    /// What it calls itself, cut short.
    pub user_agent: Box<str>,
    /// The request, as its answer names it.
    pub request_id: Box<str>,
    /// How its network stands, once it was charged.
    pub standing: Cell<Option<RateLimitState>>,
}

impl Client {
    /// A client of that address.
    pub fn new(address: IpAddr, user_agent: &str) -> Self {
        let user_agent: String = user_agent.chars().filter(|c| !c.is_control()).take(120).collect();
        Self { address, user_agent: user_agent.into(), request_id: "".into(), standing: Cell::new(None) }
    }

    /// With the id of its request.
    #[must_use]
    pub fn with_request_id(mut self, request_id: &str) -> Self {
        self.request_id = request_id.into();
        self
    }

    /// An event of this client.
    pub fn note(&self, event: Event) -> Note {
        Note::new(event).from(self.network(), &self.request_id)
    }

    /// Where its passwords wait: networks of one lane take turns, by the widest net, since who owns a /48 owns 65,536 of
    /// /64.
    pub fn place(&self, lane: Lane) -> QueueKey {
        QueueKey { lane, network: Network::of(self.address).widest().to_net() }
    }

    /// The network it is limited by.
    pub fn network(&self) -> String {
        Network::of(self.address).to_net().to_string()
    }
}

impl Engine {
    /// As [`Engine::on_owner_thread`], for a part of what a client asks for.
    pub(crate) async fn on_owner_thread_for<T: Send + 'static>(
        self: &Arc<Self>,
        client: &Client,
        work: impl AsyncFnOnce(&Self, &Client) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (engine, its_client) = (Arc::clone(self), client.clone());
        let done = self.on_owner_thread(move || async move {
            let done = work(&engine, &its_client).await;
            (done, its_client.standing.get())
        });
        let (done, standing) = done.await?;
        client.standing.set(standing);
        Ok(done)
    }
}
