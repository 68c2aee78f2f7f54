//! The devices of an account: the cookies by which they are known, their list, their end, and the mail about a new one.
//!
//! **The attack:** a stolen device cookie outlives the password it was issued for, and nobody can see or end it.
//!
//! **The rule:** a cookie is good for the account and the device epoch that it names, for a year, and while the device
//! is on the list of the account. A new password, a log-out everywhere, the owner's word and a restore from a backup raise
//! the epoch. The owner is told of a log-in from a new device, at most once a day for each family of browsers, unless they
//! have switched that off. The first device of an account is new as well, but for one that was made within the day and has
//! not changed since: else whoever has the password would log in unnoticed once an administrator has changed the address.

use std::time::Duration;

use super::authenticate::Identity;
use super::client::Client;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::registry::account::actor::Alter;
use crate::registry::account::{AccountV4, Change};
use crate::registry::lockout::actor::{Devices, ListDevice};
use crate::registry::lockout::{Device, DeviceCookie, UsedDevice};
use crate::registry::outbox::Kind;
use crate::registry::session::agent;
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;

/// The time after the making of an account within which its first device is taken for that of whoever made it.
const FIRST_IS_OWN_FOR: Duration = Duration::from_hours(24);

/// The known devices of one family of browsers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceFamily {
    /// The family.
    pub family: Box<str>,
    /// How many there are.
    pub count: usize,
    /// When one of them last logged in.
    pub newest: Timestamp,
}

/// Returns the known devices of an account by family, the last used first.
pub async fn list(engine: &Engine, account: &AccountV4) -> Result<Vec<DeviceFamily>, FlowError> {
    let mut families: Vec<DeviceFamily> = Vec::new();
    for device in engine.lockout.ask(devices_of(engine, account)).await? {
        let used = Timestamp::from_secs(device.used_secs.into());
        match families.iter_mut().find(|of| of.family == device.family) {
            Some(of) => {
                of.count += 1;
                of.newest = of.newest.max(used);
            }
            None => families.push(DeviceFamily { family: device.family, count: 1, newest: used }),
        }
    }
    families.sort_by_key(|of| std::cmp::Reverse(of.newest));
    Ok(families)
}

/// Makes every known device of an account a stranger. Sessions stay. Needs a fresh proof: who holds a stolen session must
/// not be able to make a stranger of the owner, whom strangers could then lock out.
pub async fn end(engine: &Engine, client: &Client, identity: &Identity) -> Result<(), FlowError> {
    identity.is_fresh(engine.clock.now())?;
    // No device could be known by an epoch that nothing is listed under. So a holder who asks again and again writes nothing.
    if engine.lockout.ask(devices_of(engine, &identity.account)).await?.is_empty() {
        return Ok(());
    }
    let ended = Change { end_devices: true, ..Change::default() };
    let id = identity.account.account_id();
    let changed = engine.accounts.ask(Alter { id, change: ended }).await?;
    let account = changed.map_err(|_| Refusal::Unauthenticated)?;
    engine.record_durably(client.note(Event::DevicesEnded).for_account(Some(&account))).await;
    Ok(())
}

/// Says whether `cookie` is that of a known device of `account`. Ask before a change that raises the device epoch.
pub async fn is_known(engine: &Engine, account: &AccountV4, cookie: &str) -> Result<bool, FlowError> {
    let keys = &engine.services.keys;
    let now = engine.clock.now();
    let read = |key: &[u8; 32]| DeviceCookie::read(key, NameKey(account.name_key), cookie, now);
    let Some(read) = keys.device.find_map(read) else {
        return Ok(false);
    };
    if read.account != account.account_id().to_bytes() || read.epoch != epoch(engine, account) {
        return Ok(false);
    }
    let id = read.id(&keys.counts);
    Ok(engine.lockout.ask(devices_of(engine, account)).await?.iter().any(|device| device.id == id))
}

/// Lists the device of `client` as known to `account`, under its present name and epoch, and returns its cookie. For a
/// client that has just proved that it owns the account, in another way than by a log-in.
pub async fn give(engine: &Engine, client: &Client, account: &AccountV4) -> Result<String, FlowError> {
    give_as(engine, client, account, engine.services.random.bytes()?).await
}

/// Does what [`give`] does, with a nonce that the caller keeps to write the same cookie again.
pub(super) async fn give_as(
    engine: &Engine,
    client: &Client,
    account: &AccountV4,
    nonce: [u8; 16],
) -> Result<String, FlowError> {
    let name = NameKey(account.name_key);
    let device = used(engine, client, account, nonce);
    engine.lockout.ask(ListDevice { name, device }).await?;
    Ok(cookie(engine, name, account, nonce))
}

/// Describes the device of `client`, whose cookie has `nonce`.
pub(super) fn used(engine: &Engine, client: &Client, account: &AccountV4, nonce: [u8; 16]) -> UsedDevice {
    let read = made(engine, account, nonce);
    let device =
        Device { id: read.id(&engine.services.keys.counts), account: read.account, epoch: read.epoch };
    let family = agent::family(&client.user_agent);
    let is_just_made =
        account.auth_epoch == 0 && engine.clock.now().since(Timestamp(account.created_ms)) < FIRST_IS_OWN_FOR;
    UsedDevice { tell_if_first: !is_just_made, ..UsedDevice::new(device, family, !account.mutes_new_device) }
}

/// Returns the text of a device cookie.
pub(super) fn cookie(engine: &Engine, name: NameKey, account: &AccountV4, nonce: [u8; 16]) -> String {
    let made = made(engine, account, nonce);
    engine.services.keys.device.with_newest(|_, key| made.write(key, name))
}

/// Records a log-in from a new device, and tells the owner of it if `is_told`.
pub(super) async fn tell_of_new(
    engine: &Engine,
    client: &Client,
    account: &AccountV4,
    is_told: bool,
) -> Result<(), FlowError> {
    engine.record(client.note(Event::DeviceNew).for_account(Some(account)));
    if !is_told {
        return Ok(());
    }
    engine.post(Addressee::owner(account), Kind::NewDevice).await
}

fn made(engine: &Engine, account: &AccountV4, nonce: [u8; 16]) -> DeviceCookie {
    let issued_secs = u32::try_from(engine.clock.now().as_secs()).unwrap_or(u32::MAX);
    let account_id = account.account_id().to_bytes();
    DeviceCookie { issued_secs, account: account_id, epoch: epoch(engine, account), nonce }
}

/// Returns the epoch of the device cookies of `account`. A restore raises it as well: a cookie that was ended after the
/// backup would be good again.
///
/// A restore counts as much as a million changes of the account, more than any account has between two of them.
pub(super) const fn epoch(engine: &Engine, account: &AccountV4) -> u32 {
    account.device_epoch.wrapping_add((engine.global_epoch as u32) << 20)
}

fn devices_of(engine: &Engine, account: &AccountV4) -> Devices {
    let id = account.account_id().to_bytes();
    Devices { name: NameKey(account.name_key), account: id, epoch: epoch(engine, account) }
}
