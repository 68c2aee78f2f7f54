//! The client of a request: its address, its user agent and the id of the request.

use std::net::IpAddr;
use std::sync::Arc;

use crate::audit::event::{Event, Note};
use crate::engine::{Engine, Fault};
use crate::password::{Lane, QueueKey};
use crate::registry::refresh::record::SpentByV1;
use crate::registry::session::agent;
use crate::value::network::Network;

/// The longest user agent that is kept, in characters.
const USER_AGENT_CHARS_MAX: usize = 120;

/// The client of a request.
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address, taken from the trusted proxies' header if there are any.
    pub address: IpAddr,
    /// The start of the `User-Agent` header, without control characters.
    pub user_agent: Box<str>,
    /// The id of the request, as the answer and the log show it.
    pub request_id: Arc<str>,
}

impl Client {
    /// Describes a client at `address` that calls itself `user_agent`.
    pub fn new(address: IpAddr, user_agent: &str) -> Self {
        let mut kept = String::with_capacity(user_agent.len().min(USER_AGENT_CHARS_MAX));
        kept.extend(user_agent.chars().filter(|c| !c.is_control()).take(USER_AGENT_CHARS_MAX));
        Self { address, user_agent: kept.into(), request_id: Arc::default() }
    }

    /// Sets the id of the request.
    #[must_use]
    pub fn with_request_id(mut self, request_id: Arc<str>) -> Self {
        self.request_id = request_id;
        self
    }

    /// Starts the record of an event that this client caused.
    #[doc(hidden)]
    pub fn note(&self, event: Event) -> Note {
        Note::new(event).from(Network::of(self.address), &self.request_id)
    }

    /// Returns the queue in which this client's passwords wait. Networks of one lane take turns, by the widest prefix
    /// we limit by: the owner of a /48 owns 65,536 networks of /64.
    #[doc(hidden)]
    pub fn place(&self, lane: Lane) -> QueueKey {
        QueueKey::new(lane, Network::of(self.address).widest().to_net())
    }

    /// Returns what is remembered of this client when it spends a token or logs out.
    #[doc(hidden)]
    pub fn spender(&self) -> SpentByV1 {
        SpentByV1::new(Network::of(self.address), agent::family(&self.user_agent))
    }

    /// Returns the network that this client is limited by, as text.
    pub fn network(&self) -> String {
        Network::of(self.address).to_net().to_string()
    }
}

impl Engine {
    /// Runs a part of a client's request on the actors' thread: [`Engine::on_owner_thread`] with its own handles.
    pub(crate) async fn on_owner_thread_for<T: Send + 'static>(
        self: &Arc<Self>,
        client: &Client,
        work: impl AsyncFnOnce(&Self, &Client) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let engine = Arc::clone(self);
        let client = client.clone();
        self.on_owner_thread(async move || work(&engine, &client).await).await
    }
}
