//! Ids inside records: encoded as their 16 bytes, and refused on decoding where their slot does not exist.
//!
//! The ids themselves live in `value/`, below the journal, and know nothing of its codec.

use crate::journal::format::codec::{
    BorrowDecode, BorrowDecoder, Decode, DecodeError, Decoder, Encode, EncodeError, Encoder,
};
use crate::value::id::{AccountId, FamilyId};

macro_rules! stored_id {
    ($($id:ty),*) => {
        $(
            impl Encode for $id {
                fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                    self.to_bytes().encode(encoder)
                }
            }

            impl<C> Decode<C> for $id {
                fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
                    let bytes = <[u8; 16]>::decode(decoder)?;
                    Self::from_bytes(bytes).ok_or(DecodeError::Other("the slot of an id does not exist"))
                }
            }

            impl<'de, C> BorrowDecode<'de, C> for $id {
                fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
                    Self::decode(decoder)
                }
            }
        )*
    };
}

stored_id!(AccountId, FamilyId);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::format::codec::{Stored, decode, encode};

    #[derive(Debug, Decode, Encode, PartialEq)]
    #[bincode(crate = "crate::journal::format::codec::bincode")]
    struct Ids(AccountId, FamilyId);

    impl Stored for Ids {
        const TABLE: u16 = 1;
        const SCHEMA: u16 = 1;
    }

    #[test]
    fn an_id_is_stored_as_its_16_bytes() {
        let ids = Ids(AccountId::from_bytes([1; 16]).unwrap(), FamilyId::from_bytes([2; 16]).unwrap());
        let bytes = encode(&ids).unwrap();
        assert_eq!(bytes, [[1; 16], [2; 16]].concat());
        assert_eq!(decode::<Ids>(&bytes).unwrap(), ids);
    }

    #[test]
    fn an_id_of_a_slot_that_does_not_exist_is_refused() {
        let last = [[0x3F; 16], [0x3F; 16]].concat();
        assert!(decode::<Ids>(&last).is_ok());
        for at in [0, 16] {
            let mut bytes = last.clone();
            bytes[at] = 0x40;
            assert!(decode::<Ids>(&bytes).is_err());
        }
    }
}
