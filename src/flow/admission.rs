//! Admission to a flow: the throttle charges the client's network first, and the outcome reports its rate limit.

use std::net::IpAddr;

use super::client::Client;
use super::refusal::{FlowError, Refusal};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::registry::throttle::actor::{Refund, Take};
use crate::registry::throttle::class::Class;
use crate::registry::throttle::gcra::Throttled;
use crate::registry::throttle::{Charge, RateLimitState};
use crate::value::network::Network;

/// The end of a flow whose client is rate limited.
#[must_use]
#[derive(Debug)]
pub struct Outcome<T> {
    /// The value or the error of the flow.
    pub result: Result<T, FlowError>,
    /// The rate limit of the client's network after this request, for the `RateLimit` headers of the answer. `None` if
    /// the flow ended before the throttle was asked.
    pub rate_limit: Option<RateLimitState>,
}

impl<T> Outcome<T> {
    /// Ends a flow that failed before the throttle was asked.
    pub(crate) fn failed(error: impl Into<FlowError>) -> Self {
        Self { result: Err(error.into()), rate_limit: None }
    }

    /// Runs the next step with the value of a success. The rate limit stays as it is.
    pub(crate) async fn then<U>(self, step: impl AsyncFnOnce(T) -> Result<U, FlowError>) -> Outcome<U> {
        let result = match self.result {
            Ok(value) => step(value).await,
            Err(error) => Err(error),
        };
        Outcome { result, rate_limit: self.rate_limit }
    }
}

impl Engine {
    /// Charges a request of `class` to the network of `client`, then runs `work` with the charge.
    pub(crate) async fn admitted<T>(
        &self,
        class: Class,
        client: &Client,
        work: impl AsyncFnOnce(Charge) -> Result<T, FlowError>,
    ) -> Outcome<T> {
        self.admit(class, client.address).await.then(work).await
    }

    /// Charges a request of `class` to the network of `address`. A network that was refused a moment ago is refused
    /// from the cache, without a message to the throttle.
    pub(crate) async fn admit(&self, class: Class, address: IpAddr) -> Outcome<Charge> {
        let network = Network::of(address);
        let now = self.clock.now();
        let cache = &self.services.refusal_cache;
        if let Some((throttled, rate_limit)) = cache.find(class, network, now) {
            return self.throttled(throttled, rate_limit);
        }
        let eased = cache.eased();
        match self.ask_unsealed(&self.services.throttle, Take { class, address }).await {
            Ok(Ok(granted)) => Outcome { result: Ok(granted.charge), rate_limit: Some(granted.standing) },
            Ok(Err(refused)) => {
                cache.keep(class, network, refused, eased, now);
                self.throttled(refused.0, refused.1)
            }
            Err(fault) => Outcome::failed(fault),
        }
    }

    /// Returns the refusal of a network that the throttle refused a moment ago and would refuse again. Sends no
    /// message.
    pub(crate) fn refused_from_cache<T>(&self, class: Class, client: &Client) -> Option<Outcome<T>> {
        let network = Network::of(client.address);
        let (throttled, rate_limit) = self.services.refusal_cache.find(class, network, self.clock.now())?;
        Some(self.throttled(throttled, rate_limit))
    }

    fn throttled<T>(&self, throttled: Throttled, rate_limit: RateLimitState) -> Outcome<T> {
        self.services.audit.count(Event::Throttled);
        let refusal = Refusal::Throttled { wait: throttled.wait };
        Outcome { result: Err(refusal.into()), rate_limit: Some(rate_limit) }
    }

    /// Gives back the charge of a request that succeeded.
    pub(crate) async fn refund(&self, charge: Charge) {
        // If the throttle is gone, the engine is ending and the charge goes with it.
        let _ = self.ask_unsealed(&self.services.throttle, Refund { charge }).await;
    }
}
