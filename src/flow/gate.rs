//! The throttle before, and the one gate that every path passes which issues or honours a credential.

use std::net::IpAddr;

use crate::audit::event::Event;
use crate::engine::{Engine, Fault};
use crate::flow::client::Client;
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::account::{AccountV1, Status};
use crate::registry::throttle::actor::{Refund, Take};
use crate::registry::throttle::class::Class;
use crate::registry::throttle::gcra::Throttled;
use crate::registry::throttle::{Charge, RateLimitState};
use crate::value::network::Network;
impl Engine {
    /// The throttle: charges a request to its network before any work.
    pub(crate) async fn admit(&self, class: Class, client: &Client) -> Result<Charge, FlowError> {
        let (charge, standing) = self.charge(class, client.address).await?;
        client.standing.set(Some(standing));
        Ok(charge?)
    }

    /// Whether the throttle has refused the network of a client a moment ago, and would again: without a way to its owner.
    pub(crate) fn unless_refused(&self, class: Class, client: &Client) -> Result<(), Refusal> {
        let refused = self.services.refusal_cache.find(class, Network::of(client.address), self.clock.now());
        let Some((throttled, standing)) = refused else { return Ok(()) };
        client.standing.set(Some(standing));
        Err(self.throttled(throttled))
    }

    fn throttled(&self, throttled: Throttled) -> Refusal {
        self.services.audit.count(Event::Throttled);
        Refusal::Throttled { wait: throttled.wait }
    }

    /// As [`Engine::admit`], for work that does not run where the client is.
    pub(crate) async fn charge(
        &self,
        class: Class,
        address: IpAddr,
    ) -> Result<(Result<Charge, Refusal>, RateLimitState), Fault> {
        let (network, now) = (Network::of(address), self.clock.now());
        let taken = match self.services.refusal_cache.find(class, network, now) {
            Some(refused) => Err(refused),
            None => {
                let eased = self.services.refusal_cache.eased();
                let taken = self.ask_unsealed(&self.services.throttle, Take { class, address }).await?;
                taken.inspect_err(|refused| {
                    self.services.refusal_cache.keep(class, network, *refused, eased, now)
                })
            }
        };
        Ok(match taken {
            Ok(granted) => (Ok(granted.charge), granted.standing),
            Err((throttled, standing)) => (Err(self.throttled(throttled)), standing),
        })
    }

    /// Gives back what a success was charged, and nothing else.
    pub(crate) async fn refund(&self, charge: Charge) {
        // If the limiter is gone the engine is ending, and the charge with it.
        let _ = self.ask_unsealed(&self.services.throttle, Refund { charge }).await;
    }

    /// The one gate that every path passes which issues or honours a credential: status and epochs.
    pub(crate) fn gate(
        &self,
        account: &AccountV1,
        auth_epoch: u64,
        global_epoch: u64,
    ) -> Result<(), Refusal> {
        if account.status == Status::Disabled {
            return Err(Refusal::AccountDisabled);
        }
        if account.auth_epoch != auth_epoch || global_epoch != self.global_epoch {
            return Err(Refusal::SessionExpired);
        }
        Ok(())
    }
}
