//! Admission to a flow: the throttle charges the client's network first, and the outcome reports its rate limit.

use std::net::IpAddr;

use super::client::Client;
use super::refusal::{FlowError, Refusal};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::registry::throttle::actor::{Refund, Take};
use crate::registry::throttle::class::Class;
use crate::registry::throttle::gcra::Throttled;
use crate::registry::throttle::refusal_cache::Payer;
use crate::registry::throttle::{Charge, RateLimitState};
use crate::value::id::AccountId;
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
        self.admit_for(class, address, None).await
    }

    /// Does what [`Engine::admit`] does, but charges `device` in place of the network, if there is one: a device, or an
    /// account.
    pub(crate) async fn admit_for(
        &self,
        class: Class,
        address: IpAddr,
        device: Option<u64>,
    ) -> Outcome<Charge> {
        let payer = device.map_or(Payer::Network(Network::of(address)), Payer::Device);
        let now = self.clock.now();
        let cache = &self.services.refusal_cache;
        if let Some((throttled, rate_limit)) = cache.find(class, payer, now) {
            return self.throttled(class, Some(Network::of(address)), throttled, rate_limit);
        }
        let eased = cache.eased();
        match self.ask_unsealed(&self.services.throttle, Take { class, address, device }).await {
            Ok(Ok(granted)) => Outcome { result: Ok(granted.charge), rate_limit: Some(granted.standing) },
            Ok(Err(refused)) => {
                cache.keep(class, payer, refused, eased, now);
                self.throttled(class, Some(Network::of(address)), refused.0, refused.1)
            }
            Err(fault) => Outcome::failed(fault),
        }
    }

    /// Charges a change by the holder of `account` to the account: from however many networks it comes, it is written to the
    /// journal.
    pub(crate) async fn admit_change(&self, client: &Client, account: AccountId) -> Outcome<Charge> {
        self.admit_for(Class::Change, client.address, Some(device_like(account))).await
    }

    /// Returns the refusal of a payer that the throttle refused a moment ago and would refuse again. Sends no message.
    pub(crate) fn refused_from_cache<T>(&self, class: Class, payer: impl Into<Payer>) -> Option<Outcome<T>> {
        let payer = payer.into();
        let (throttled, rate_limit) = self.services.refusal_cache.find(class, payer, self.clock.now())?;
        let network = match payer {
            Payer::Network(network) => Some(network),
            Payer::Device(_) => None,
        };
        Some(self.throttled(class, network, throttled, rate_limit))
    }

    /// Lets the cache refuse `payer` for as long as it refuses `network`: for a cookie that is no longer that of a known
    /// device, so that a flood with it costs no look-up of the account for each request.
    pub(crate) fn refuse_like(&self, class: Class, payer: Payer, network: Payer) {
        let now = self.clock.now();
        let cache = &self.services.refusal_cache;
        let eased = cache.eased();
        if let Some(refused) = cache.find(class, network, now) {
            cache.keep(class, payer, refused, eased, now);
        }
    }

    fn throttled<T>(
        &self,
        class: Class,
        network: Option<Network>,
        throttled: Throttled,
        rate_limit: RateLimitState,
    ) -> Outcome<T> {
        self.services.audit.count(Event::Throttled, network);
        let refusal = Refusal::Throttled { class, wait: throttled.wait };
        Outcome { result: Err(refusal.into()), rate_limit: Some(rate_limit) }
    }

    /// Gives back the charge of a request that succeeded, a few times a minute for the account `of`.
    pub(crate) async fn refund(&self, charge: Charge, of: [u8; 16]) {
        // If the throttle is gone, the engine is ending and the charge goes with it.
        let _ = self.ask_unsealed(&self.services.throttle, Refund { charge, of }).await;
    }
}

/// Returns the number under which an account is charged, where a device would be.
pub(super) const fn device_like(account: AccountId) -> u64 {
    let [_, _, _, _, _, _, _, _, id @ ..] = account.to_bytes();
    u64::from_be_bytes(id)
}

impl From<&Client> for Payer {
    fn from(client: &Client) -> Self {
        Self::Network(Network::of(client.address))
    }
}
