//! The mailbox around [`Lockouts`].

use super::record::{CountV2, DeviceV2};
use super::state::{Attempt, AttemptOutcome, LockState, Lockouts, Refused, Settled, UsedDevice};
pub use super::state::{Begin, Finish};
use crate::registry::{handles, reads, registry};
use crate::value::account_name::NameKey;

registry!(Lockouts, CountV2, "lockout");

/// Lifts the lock of a name and clears its count.
#[derive(Clone, Copy, Debug)]
pub struct Clear {
    /// The name.
    pub name: NameKey,
}

/// Finds out of many names those with failures or a lock.
#[derive(Clone, Debug)]
pub struct Failing {
    /// The names.
    pub names: Vec<NameKey>,
}

/// Lists a device of a name, whose owner has just proved to be it in another way than by logging in.
#[derive(Clone, Debug)]
pub struct ListDevice {
    /// The name.
    pub name: NameKey,
    /// The device.
    pub device: UsedDevice,
}

/// Reads the known devices of an account.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    /// The name of the account.
    pub name: NameKey,
    /// The account.
    pub account: [u8; 16],
    /// Its device epoch.
    pub epoch: u32,
}

/// Reads how a name stands.
#[derive(Clone, Copy, Debug)]
pub struct StateOf {
    /// The name.
    pub name: NameKey,
}

handles!(Lockouts {
    Begin => Result<Attempt, Refused>, Lockout, |lockouts, begin, now| lockouts.begin(&begin, now);
    Finish => Settled, Essential, |lockouts, finish, now| lockouts.finish(&finish, now),
        tell |finish, settled| settled.lock_began.then(|| finish.told(settled)),
        after |lockouts, finish, _, now| {
            if matches!(finish.outcome, AttemptOutcome::Failed { .. }) {
                lockouts.note_failure(&finish.attempt, now);
            }
        };
    Clear => (), Essential, |lockouts, clear, now| lockouts.clear(clear.name, now);
    ListDevice => (), Essential, |lockouts, list, now| lockouts.list(list.name, &list.device, now);
});

reads!(Lockouts {
    Failing => Vec<NameKey>, |lockouts, failing, now| {
        let mut names = failing.names;
        names.retain(|name| lockouts.state_of(*name, now).failures > 0);
        names
    };
    StateOf, of |state_of| state_of.name.0 => LockState, |lockouts, state_of, now| {
        lockouts.state_of(state_of.name, now)
    };
    Devices, of |devices| devices.name.0 => Vec<DeviceV2>, |lockouts, devices, now| {
        lockouts.devices(devices.name, devices.account, devices.epoch, now)
    };
});
