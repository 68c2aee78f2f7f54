//! The judgement of a presented token, which a rotation and a log-out share.

use std::time::Duration;

use super::{Decision, Families, Refusal, alive};
use crate::registry::record::Write;
use crate::registry::refresh::record::{Cause, FamilyV3, SpentByV1, SpentV2};
use crate::system::clock::Timestamp;
use crate::token::opaque::SecretDigest;
use crate::value::id::FamilyId;

/// A token that a client presents. Its check tag was right, so it was minted here.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    /// The family it names.
    pub id: FamilyId,
    /// The generation it names.
    pub generation: u32,
    /// SHA-256 of its secret.
    pub digest: SecretDigest,
    /// Who presents it.
    pub by: SpentByV1,
}

/// Ends the family of a token by a log-out.
#[derive(Clone, Copy, Debug)]
pub struct LogOut(pub Presented);

/// The result of a log-out by a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoggedOut {
    /// The token was good for nothing, so nothing has ended.
    Nothing,
    /// The family has ended.
    Ended,
    /// The token was reused: the family has ended for that, or had ended by a log-out of somebody else.
    Reused,
}

/// What a presented token is.
pub(super) enum Judged<'f> {
    /// The live token.
    Live(&'f FamilyV3),
    /// Spent, and due its successor again. Answers could leave for `served` since it was spent.
    Again { family: &'f FamilyV3, spent: &'f SpentV2, served: Duration },
    /// Spent, and used again by somebody who is not due the successor.
    Reused(&'f FamilyV3),
    /// Good for nothing, without suspicion.
    Refused(Refusal),
}

impl Families {
    /// Judges a presented token at `now`.
    ///
    /// A family that a log-out has ended may have been ended by a thief, who had rotated first. So a spent token that comes
    /// back from elsewhere is a reuse then, too.
    pub(super) fn judge(&self, presented: &Presented, now: Timestamp) -> Judged<'_> {
        let &Presented { id, generation, digest, by } = presented;
        let Some(family) = self.get(id).filter(|family| generation <= family.generation) else {
            return Judged::Refused(Refusal::Unknown);
        };
        let is_live = generation == family.generation;
        let is_last_spent = generation.checked_add(1) == Some(family.generation);
        let served = self.pauses.served(Timestamp(family.rotated_ms), now);
        // The answer of who spent it may have been lost.
        let is_due = |spent_by: Option<SpentByV1>| {
            is_last_spent
                && served < self.limits.grace
                && spent_by.is_none_or(|spent_by| spent_by.is_like(by))
        };
        if let Some(log_out) = &family.log_out
            && !is_live
            && !log_out.by.is_like(by)
            && !is_due(log_out.spent_by)
        {
            return Judged::Reused(family);
        }
        // The secrets of the live token and of the one spent last can be checked; of an older one, and of every token of an
        // ended family, it is only known that it was minted here.
        let last = family.spent.as_deref().filter(|_| is_last_spent);
        let known = if is_live { Some(family.digest) } else { last.map(|spent| spent.digest) };
        if family.ended.is_none() && known.is_some_and(|known| SecretDigest(known) != digest) {
            return Judged::Refused(Refusal::Unknown);
        }
        if let Err(refusal) = alive(family, now) {
            return Judged::Refused(refusal);
        }
        match last {
            _ if is_live => Judged::Live(family),
            Some(spent) if is_due(spent.by) => Judged::Again { family, spent, served },
            _ => Judged::Reused(family),
        }
    }

    /// Returns the writes that end a family because a token of it was reused. One that had ended by a log-out says from now
    /// on that it was reused, so that its owner is told once.
    pub(super) fn reused(&self, family: &FamilyV3, now: Timestamp) -> Vec<Write<FamilyV3>> {
        if family.ended.is_some() {
            let reused = FamilyV3 { ended: Some(Cause::Reuse), log_out: None, ..family.clone() };
            return vec![Write::Put(reused)];
        }
        self.ended([family], Cause::Reuse, None, now)
    }

    /// Decides the log-out by a token.
    pub fn log_out(&self, log_out: LogOut, now: Timestamp) -> Decision<LoggedOut> {
        let LogOut(presented) = log_out;
        match self.judge(&presented, now) {
            Judged::Live(family) | Judged::Again { family, .. } => {
                let writes = self.ended([family], Cause::LogOut, Some(presented.by), now);
                Decision { writes, verdict: LoggedOut::Ended }
            }
            Judged::Reused(family) => {
                Decision { writes: self.reused(family, now), verdict: LoggedOut::Reused }
            }
            Judged::Refused(_) => Decision::unchanged(LoggedOut::Nothing),
        }
    }
}
