//! A reader of little-endian fields, one after the other.

use crate::storage::is_zero;

/// Reads bytes from the front. Each method returns `None` when too few bytes are left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Returns whether only zeros are left.
    pub(crate) fn rest_is_zero(&self) -> bool {
        is_zero(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_that_is_not_zero_is_seen_at_every_place() {
        assert!(is_zero(&[]));
        assert!(is_zero(&[0; 1300]));
        for at in [0, 511, 512, 1024, 1299] {
            let mut bytes = [0; 1300];
            bytes[at] = 1;
            assert!(!is_zero(&bytes), "{at}");
            assert!(!Reader(&bytes).rest_is_zero(), "{at}");
            assert!(Reader(&bytes[at + 1..]).rest_is_zero());
        }
    }
}
