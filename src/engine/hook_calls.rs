//! Evaluates the answers of hooks: lets a request go on or refuses it, counts it, and logs failures.

use std::sync::atomic::Ordering;

use super::hooks::{
    AddedClaims, ClaimsAsked, ClaimsVerdict, HookDoor, HookError, SignUpAsked, SignUpVerdict, cut,
};
use super::services::Services;
use crate::audit::event::Event;
use crate::config::OnHookError;

/// Says why a hook has refused a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NotLetIn {
    /// For a reason that the client is told.
    Refused(String),
    /// The hook has failed, and `hook.on_error` refuses then.
    Failed,
}

impl Services {
    /// Says whether hooks judge sign-ups.
    pub(crate) fn has_sign_up_hook(&self) -> bool {
        self.hooks.get().is_some_and(HookDoor::judges_sign_ups)
    }

    /// Says whether hooks give claims.
    pub(crate) fn has_claims_hook(&self) -> bool {
        self.hooks.get().is_some_and(HookDoor::gives_claims)
    }

    /// Asks the hook, if there is one, whether somebody may sign up.
    pub(crate) async fn judge_sign_up(&self, asked: SignUpAsked) -> Result<(), NotLetIn> {
        let Some(door) = self.hooks.get().filter(|door| door.judges_sign_ups()) else { return Ok(()) };
        let said = door.judge_sign_up(asked).await;
        match said {
            Ok(SignUpVerdict::Allow) => {
                self.count_allowed();
                Ok(())
            }
            Ok(SignUpVerdict::Refuse(why)) => {
                Err(self.count_refused(&why, "The operator does not let this sign-up in."))
            }
            Err(error) => self.failed("sign_up", &error),
        }
    }

    /// Asks the hook, if there is one, whether an account may have a credential, and for its claims.
    pub(crate) async fn claims_of(&self, asked: ClaimsAsked) -> Result<AddedClaims, NotLetIn> {
        let none = AddedClaims::default();
        let Some(door) = self.hooks.get().filter(|door| door.gives_claims()) else { return Ok(none) };
        let account = asked.account.clone();
        let said = door.claims_of(asked).await;
        match said {
            Ok(ClaimsVerdict::Allow) => {
                self.count_allowed();
                Ok(none)
            }
            Ok(ClaimsVerdict::Refuse(why)) => {
                Err(self.count_refused(&why, "The operator does not let this account in."))
            }
            Ok(ClaimsVerdict::Add(text)) => match AddedClaims::read(&text) {
                Ok((added, reserved)) => {
                    self.note_reserved(&account, &reserved);
                    self.count_allowed();
                    Ok(added)
                }
                Err(error) => self.failed("claims", &error),
            },
            Err(error) => self.failed("claims", &error),
        }
    }

    fn count_allowed(&self) {
        self.hook_figures.allowed.fetch_add(1, Ordering::Relaxed);
    }

    fn count_refused(&self, why: &str, otherwise: &str) -> NotLetIn {
        self.hook_figures.refused.fetch_add(1, Ordering::Relaxed);
        let why = cut(why.trim());
        NotLetIn::Refused(if why.is_empty() { otherwise.to_owned() } else { why })
    }

    /// Counts a failure, which raises an alert, tells the log of it at most once a minute, and does what `hook.on_error` says.
    fn failed<T: Default>(&self, hook: &str, error: &HookError) -> Result<T, NotLetIn> {
        self.hook_figures.failed.fetch_add(1, Ordering::Relaxed);
        self.audit.count(Event::HookFailed, None);
        let on_error = self.config.hook.on_error;
        if self.hook_figures.told.note(self.clock.now()) {
            tracing::error!(
                "the hook {hook} has failed: {error}; what it was asked is {}, as hook.on_error says",
                on_error.done()
            );
        }
        match on_error {
            OnHookError::Allow => Ok(T::default()),
            OnHookError::Refuse => Err(NotLetIn::Failed),
        }
    }

    fn note_reserved(&self, account: &str, reserved: &[String]) {
        if !reserved.is_empty() && self.hook_figures.told.note(self.clock.now()) {
            let names: Vec<String> = reserved.iter().take(8).map(|name| cut(name)).collect();
            tracing::warn!(
                account.id = account,
                "the hook claims gives claims of the server's own, which are left out: {}",
                names.join(", ")
            );
        }
    }
}
