//! Requests that are rejected for what they carry: an access token that is not valid, or the marks of another site.
//!
//! **The attack:** such a request costs its sender nothing. It may cost the server the check of a signature and a line
//! in its logs.
//!
//! **The rule:** a network is charged for each rejected request, and for no other. Over its limit, what would be
//! rejected is refused with 429, and a token without the mark of this server is refused before its signature is
//! checked. Valid credentials of the same network are served as ever.

use super::client::Client;
use super::refusal::{FlowError, Refusal};
use crate::audit::event::{Event, Note};
use crate::engine::Engine;
use crate::registry::throttle::actor::Reject;
use crate::registry::throttle::class::Class;
use crate::token::{Claims, Rejected};
use crate::value::network::Network;

impl Engine {
    /// Rejects a request of `client`: records the event of `note`, charges the network, and returns `refusal`. A network
    /// over its limit is throttled instead.
    pub(crate) fn reject(&self, client: &Client, note: Note, refusal: Refusal) -> Refusal {
        if let Some(throttled) = self.over_rejections(client) {
            self.services.audit.count(Event::Throttled, Some(Network::of(client.address)));
            return throttled;
        }
        self.record(note);
        // If the throttle has too much to do, this request is not charged.
        let _ = self.services.throttle.try_send(Reject { address: client.address });
        refusal
    }

    /// Checks the form, signature and time of an access token.
    ///
    /// Errors: [`Refusal::Unauthenticated`]; [`Refusal::Throttled`] if the network of `sent_by` is over its limit and
    /// the token was not made here. Without `sent_by` nobody is charged: a resource server asks about the token.
    pub(super) fn check_token(&self, token: &str, sent_by: Option<&Client>) -> Result<Claims, FlowError> {
        let now = self.clock.system_now();
        // Only over the limit is the mark read first: it costs less than a signature, but not nothing.
        let throttled = sent_by.and_then(|client| self.over_rejections(client));
        let network = sent_by.map(|client| Network::of(client.address));
        let own_expiry = throttled.as_ref().and_then(|_| self.services.token_marks.expiry(token));
        match (throttled, own_expiry) {
            (Some(throttled), None) => {
                self.services.audit.count(Event::Throttled, network);
                return Err(throttled.into());
            }
            (Some(_), Some(exp)) if now.as_secs() >= exp => {
                // An honest client refreshes its token after this answer.
                self.services.audit.count(Event::TokenRejected, network);
                return Err(Refusal::Unauthenticated.into());
            }
            _ => {}
        }
        let verified = self.services.signer.read().verify(token, now, self.clock.ahead());
        verified.map_err(|rejected| self.reject_token(token, rejected, sent_by).into())
    }

    fn reject_token(&self, token: &str, rejected: Rejected, sent_by: Option<&Client>) -> Refusal {
        let note = |note: Note| note.about(&rejected);
        let Some(client) = sent_by else {
            self.record(note(Note::new(Event::TokenRejected)).with_reason("introspection"));
            return Refusal::Unauthenticated;
        };
        let note = note(client.note(Event::TokenRejected));
        if rejected == Rejected::Expired && self.services.token_marks.expiry(token).is_some() {
            // Every client comes with an expired token now and then. That is no reason to charge its network.
            self.record(note);
            return Refusal::Unauthenticated;
        }
        self.reject(client, note, Refusal::Unauthenticated)
    }

    /// Returns the refusal for a network that is over its limit of rejected requests.
    fn over_rejections(&self, client: &Client) -> Option<Refusal> {
        let refused = self.services.refusal_cache.find(Class::Rejected, client.into(), self.clock.now());
        refused.map(|(throttled, _)| Refusal::Throttled { class: Class::Rejected, wait: throttled.wait })
    }
}
