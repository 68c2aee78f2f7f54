//! The gate: every path that issues or honours a credential passes it.

use crate::engine::Engine;
use crate::flow::refusal::Refusal;
use crate::registry::account::{AccountV4, Status};

impl Engine {
    /// Checks that a credential of `account` may be issued or honoured: the account is active, and the epochs that the
    /// credential was issued under are current.
    ///
    /// Errors: [`Refusal::AccountDisabled`], or [`Refusal::SessionExpired`] for an outdated epoch.
    pub(crate) fn gate(
        &self,
        account: &AccountV4,
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
