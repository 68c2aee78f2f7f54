//! The events of families: sessions that are opened and ended, and spent tokens that come back.

use super::Families;
use crate::registry::event::{Credential, EndReason, Told, What};
use crate::registry::record::Write;
use crate::registry::refresh::record::{Cause, FamilyV3};

impl Families {
    /// Returns the events that the writes of one decision make true.
    pub(in crate::registry::refresh) fn events_of(&self, writes: &[Write<FamilyV3>]) -> Vec<Told> {
        let mut told = Vec::new();
        for write in writes {
            let before = self.by_id.get(&write.key());
            let is_open = before.is_some_and(|before| before.ended.is_none());
            let credential = Credential::Tokens;
            let session = write.key();
            match write {
                Write::Put(family) => {
                    let mut tell = |what| told.push(Told::new(family.account.to_bytes(), what));
                    match family.ended {
                        None if before.is_none() => tell(What::SessionOpened { session, credential }),
                        Some(cause) if is_open => {
                            if cause == Cause::Reuse {
                                tell(What::RefreshReused { session });
                            }
                            tell(What::SessionEnded { session, credential, reason: Some(reason(cause)) });
                        }
                        None | Some(_) => {}
                    }
                }
                Write::Remove(_) => {
                    let account = before.filter(|_| is_open).map(|before| before.account.to_bytes());
                    let what = What::SessionEnded { session, credential, reason: None };
                    told.extend(account.map(|account| Told::new(account, what)));
                }
            }
        }
        told
    }
}

const fn reason(cause: Cause) -> EndReason {
    match cause {
        Cause::LogOut => EndReason::LogOut,
        Cause::Reuse => EndReason::Reuse,
        Cause::Revoked => EndReason::Revoked,
        Cause::GaveWay => EndReason::GaveWay,
    }
}
