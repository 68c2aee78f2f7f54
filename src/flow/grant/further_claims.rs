//! The claims that access tokens have beside the server's own: fields of the account that `token.claims` names.
//!
//! **The attack:** the owner of an account makes its metadata so large that no server takes its tokens any more, or puts
//! there what another program takes for a word of the server.
//!
//! **The rule:** only fields that the operator has named are in a token, each below the name of its object, which is none of
//! the server's own claims. Together they take 1 KiB at most. What does not fit is left out whole, which the log and a
//! figure say; the log-in succeeds all the same.

use serde_json::Value;

use crate::engine::Engine;
use crate::registry::account::AccountV4;
use crate::token::further_claims::{FurtherClaims, Source};

impl Engine {
    /// Returns the further claims of a token of `account`: members of a JSON object, without its braces. Without any in the
    /// configuration that costs nothing.
    pub(super) fn further_claims(&self, account: &AccountV4) -> String {
        let paths = &self.services.config.token.claims;
        if paths.is_empty() {
            return String::new();
        }
        let object = |text: Option<&str>| text.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let mut app = None;
        let mut user = None;
        let mut claims = FurtherClaims::default();
        for path in paths {
            let value = match path.source {
                Source::Name => account.name.as_deref().map(Value::from),
                Source::Locale => account.locale().map(Value::from),
                Source::Email => Some(Value::from(&*account.email)),
                Source::EmailVerified => Some(Value::from(account.email_verified)),
                Source::ExternalId => account.external_id().map(Value::from),
                Source::AppMetadata => {
                    path.member_of(app.get_or_insert_with(|| object(account.app_metadata())).as_ref())
                }
                Source::UserMetadata => {
                    path.member_of(user.get_or_insert_with(|| object(account.user_metadata())).as_ref())
                }
            };
            if let Some(value) = value
                && !claims.add(path, value)
            {
                self.note_left_out(account, path);
            }
        }
        claims.into_members()
    }

    fn note_left_out(&self, account: &AccountV4, path: &impl std::fmt::Display) {
        if self.services.claims_left_out.note(self.clock.now()) {
            tracing::warn!(
                account.id = %account.account_id(),
                claim = %path,
                "a claim does not fit into access tokens and is left out; portcullis_claims_left_out counts them all"
            );
        }
    }
}
