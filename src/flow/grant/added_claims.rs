//! The claims that a hook adds to access tokens, and its no.
//!
//! It is asked when a password was right, before a session is opened; at a refresh, before the token is spent, so that a no ends
//! that refresh and not the session. After a change that ends every session, as that of the password, a no leaves the change as it
//! is, and nothing takes the place of the session: else whoever is not let in could renew a session by changes.

use crate::audit::event::Event;
use crate::engine::hook_calls::NotLetIn;
use crate::engine::hooks::{AddedClaims, ClaimsAsked, ClaimsReason, CredentialKind};
use crate::engine::{Engine, Fault};
use crate::flow::client::Client;
use crate::flow::refusal::{FlowError, Refusal};
use crate::registry::account::AccountV4;

impl Engine {
    /// Returns the claims that the hook adds to access tokens of `account`. Without a hook that costs nothing.
    ///
    /// Errors: [`Refusal::LoginRefused`] if it says no; [`Fault::Hook`] if it has failed and `hook.on_error` refuses then.
    pub(in crate::flow) async fn added_claims(
        &self,
        account: &AccountV4,
        client: &Client,
        reason: ClaimsReason,
        kind: CredentialKind,
    ) -> Result<AddedClaims, FlowError> {
        if !self.services.has_claims_hook() {
            return Ok(AddedClaims::default());
        }
        // Boxed, so that requests without a hook need no room for it.
        Box::pin(self.ask_for_claims(account, client, reason, kind)).await
    }

    async fn ask_for_claims(
        &self,
        account: &AccountV4,
        client: &Client,
        reason: ClaimsReason,
        kind: CredentialKind,
    ) -> Result<AddedClaims, FlowError> {
        let asked = ClaimsAsked {
            account: account.account_id().to_string(),
            email: account.email.to_string(),
            roles: account.roles.iter().map(ToString::to_string).collect(),
            app_metadata: account.app_metadata().map(ToOwned::to_owned),
            reason,
            kind,
        };
        match self.services.claims_of(asked).await {
            Ok(added) => Ok(added),
            Err(NotLetIn::Refused(why)) => {
                let note = client.note(Event::HookRefused).for_account(Some(account));
                self.record(note.with_reason(reason.name()));
                Err(Refusal::LoginRefused { why }.into())
            }
            Err(NotLetIn::Failed) => Err(Fault::Hook.into()),
        }
    }
}
