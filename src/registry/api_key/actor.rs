//! The mailbox around [`ApiKeys`].

use actix::{Context, Handler, Message, MessageResult};

pub use super::state::{DeleteApiKey, MakeApiKey, TooMany, UseApiKey};
use super::{ApiKeyV1, ApiKeys};
use crate::journal::append::handle::{Class, NoRoom};
use crate::registry::{Answer, Owner, handles, reads, registry};

registry!(ApiKeys, ApiKeyV1, "api key");

/// Reads every key that is alive.
#[derive(Clone, Copy, Debug)]
pub struct ListApiKeys {
    /// The global epoch.
    pub global_epoch: u64,
}

handles!(ApiKeys {
    MakeApiKey => Result<ApiKeyV1, TooMany>, Ordinary, |keys, make, now| keys.make(make, now);
    DeleteApiKey => bool, Essential, |keys, delete, now| keys.delete(delete, now);
});

impl Message for UseApiKey {
    type Result = Answer<Option<ApiKeyV1>>;
}

/// Without journal space for the use, the key is valid all the same.
impl Handler<UseApiKey> for Owner<ApiKeys> {
    type Result = MessageResult<UseApiKey>;

    fn handle(&mut self, used: UseApiKey, _: &mut Context<Self>) -> Self::Result {
        let decided = self.decide(Class::Ordinary, |keys, now| keys.use_key(used, now));
        MessageResult(match decided {
            Err(NoRoom::StorageFull | NoRoom::Busy) => self.read(|keys, now| keys.use_key(used, now).verdict),
            decided => decided,
        })
    }
}

reads!(ApiKeys {
    ListApiKeys => Vec<ApiKeyV1>, |keys, list, now| keys.list(list.global_epoch, now);
});
