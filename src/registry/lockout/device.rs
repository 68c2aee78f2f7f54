//! The device cookie, by which a browser that has logged in to a name is recognised.
//!
//! It names the account and the account's device epoch, and when it was issued. A right tag alone makes nobody known:
//! the account must still be that one and have that epoch, and the device must still be on its list.

use base64ct::{Base64UrlUnpadded, Encoding};
use subtle::ConstantTimeEq;

use super::record::DEVICE_LIFE;
use crate::system::clock::Timestamp;
use crate::value::account_name::NameKey;
use crate::value::id::{keyed_digest, short_digest};

const PREFIX: &str = "pcd_";
const VERSION: u8 = 2;
/// The id of the key under which the tag is made.
const KEY_ID: u8 = 0;
/// Version, id of the key, issue time, epoch, account, nonce.
const BODY_BYTES: usize = 1 + 1 + 4 + 4 + 16 + 16;
const TAG_BYTES: usize = 16;

/// What a device cookie says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeviceCookie {
    /// When it was issued, in seconds since 1970.
    pub issued_secs: u32,
    /// The account whose device it is.
    pub account: [u8; 16],
    /// The device epoch of the account at that time.
    pub epoch: u32,
    /// Random bytes that tell the devices of an account apart.
    pub nonce: [u8; 16],
}

impl DeviceCookie {
    /// Returns the text of the cookie, bound to `name`.
    pub fn write(&self, key: &[u8; 32], name: NameKey) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + TAG_BYTES);
        bytes.extend_from_slice(&[VERSION, KEY_ID]);
        bytes.extend_from_slice(&self.issued_secs.to_be_bytes());
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.account);
        bytes.extend_from_slice(&self.nonce);
        let tag = tag(key, name, &bytes);
        bytes.extend_from_slice(&tag);
        format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&bytes))
    }

    /// Reads a cookie. Returns `None` if this server did not issue `text` for `name`, or if it is older than a year at
    /// `now`.
    pub fn read(key: &[u8; 32], name: NameKey, text: &str, now: Timestamp) -> Option<Self> {
        let mut bytes = [0; BODY_BYTES + TAG_BYTES];
        let read = Base64UrlUnpadded::decode(text.strip_prefix(PREFIX)?, &mut bytes).ok()?;
        let (body, presented) = read.split_last_chunk::<TAG_BYTES>()?;
        let is_right = bool::from(tag(key, name, body).ct_eq(presented));
        let ([VERSION, KEY_ID], rest) = body.split_first_chunk::<2>()? else { return None };
        let (issued, rest) = rest.split_first_chunk::<4>()?;
        let (epoch, rest) = rest.split_first_chunk::<4>()?;
        let (account, nonce) = rest.split_first_chunk::<16>()?;
        let cookie = Self {
            issued_secs: u32::from_be_bytes(*issued),
            account: *account,
            epoch: u32::from_be_bytes(*epoch),
            nonce: nonce.try_into().ok()?,
        };
        let age = now.since(Timestamp::from_secs(cookie.issued_secs.into()));
        (is_right && age < DEVICE_LIFE).then_some(cookie)
    }

    /// Returns the digest of the nonce under which the device is listed and counted.
    pub fn id(&self, key: &[u8; 32]) -> [u8; 8] {
        short_digest(key, &[b"device count", &self.nonce])
    }
}

fn tag(key: &[u8; 32], name: NameKey, body: &[u8]) -> [u8; TAG_BYTES] {
    let digest = keyed_digest(key, &[b"device v2", &name.0, body]);
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_cookie_is_bound_to_its_name_and_key_and_lives_a_year() {
        let ada = NameKey([1; 16]);
        let bob = NameKey([2; 16]);
        let cookie =
            DeviceCookie { issued_secs: NOW.as_secs() as u32, account: [5; 16], epoch: 7, nonce: [4; 16] };
        let text = cookie.write(&[3; 32], ada);
        let read = |key, name, text: &str, now| DeviceCookie::read(&[key; 32], name, text, now);
        assert_eq!(read(3, ada, &text, NOW), Some(cookie));
        assert_eq!(read(3, ada, &text, NOW + DEVICE_LIFE - Duration::from_secs(1)), Some(cookie));
        assert_eq!(read(3, ada, &text, NOW + DEVICE_LIFE), None);
        assert_eq!(read(3, bob, &text, NOW), None);
        assert_eq!(read(9, ada, &text, NOW), None);
        assert_eq!(read(3, ada, &text[..text.len() - 1], NOW), None);
        assert_eq!(read(3, ada, &format!("{text}A"), NOW), None);
        assert_ne!(cookie.id(&[3; 32]), DeviceCookie { nonce: [6; 16], ..cookie }.id(&[3; 32]));
    }

    #[test]
    fn no_byte_of_a_cookie_can_be_changed_and_the_first_form_is_nothing() {
        let name = NameKey([1; 16]);
        let cookie = DeviceCookie { issued_secs: 1_800_000_000, account: [5; 16], epoch: 7, nonce: [4; 16] };
        let text = cookie.write(&[3; 32], name);
        let bytes = Base64UrlUnpadded::decode_vec(&text[PREFIX.len()..]).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let forged = format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&forged));
            assert_eq!(DeviceCookie::read(&[3; 32], name, &forged, NOW), None, "byte {at}");
        }
        let mut first = vec![1];
        first.extend_from_slice(&[4; 16]);
        first.extend_from_slice(&keyed_digest(&[3; 32], &[b"device", &name.0, &[4; 16]])[..16]);
        let first = format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&first));
        assert_eq!(DeviceCookie::read(&[3; 32], name, &first, NOW), None);
    }
}
