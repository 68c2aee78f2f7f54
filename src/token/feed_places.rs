//! Places for open streams of the revocation feed: a bounded number, of which one reader holds a part.

use std::collections::HashMap;
use std::sync::Arc;

use crate::system::lock::Mutex;

/// Maximum number of open streams. Further ones are refused with 503; a long poll needs none.
const STREAMS_MAX: usize = 256;
/// Maximum number of open streams of one API key or account.
const STREAMS_OF_READER_MAX: usize = STREAMS_MAX / 4;

/// The places that are taken, by the id of the API key or account that reads.
#[derive(Debug, Default)]
pub struct FeedPlaces {
    taken: Mutex<HashMap<[u8; 16], usize>>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoPlace {
    /// All are taken.
    Full,
    /// The reader has as many as one may have.
    OfReader,
}

/// A place, free again when it is dropped.
#[derive(Debug)]
pub struct FeedPlace {
    places: Arc<FeedPlaces>,
    reader: [u8; 16],
}

impl FeedPlaces {
    /// Takes a place for `reader`.
    pub fn take(self: &Arc<Self>, reader: [u8; 16]) -> Result<FeedPlace, NoPlace> {
        let mut taken = self.taken.lock();
        let of_reader = taken.get(&reader).copied().unwrap_or(0);
        if of_reader >= STREAMS_OF_READER_MAX {
            return Err(NoPlace::OfReader);
        }
        // At most as many readers as places.
        if taken.values().sum::<usize>() >= STREAMS_MAX {
            return Err(NoPlace::Full);
        }
        taken.insert(reader, of_reader + 1);
        Ok(FeedPlace { places: Arc::clone(self), reader })
    }
}

impl Drop for FeedPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(count) = taken.get_mut(&self.reader) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.reader);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reader_has_a_quarter_of_the_places_and_leaves_nothing_behind() {
        let places = Arc::<FeedPlaces>::default();
        let mut held: Vec<FeedPlace> = Vec::new();
        for reader in 0..4 {
            held.extend((0..STREAMS_OF_READER_MAX).map(|_| places.take([reader; 16]).unwrap()));
            assert_eq!(places.take([reader; 16]).err(), Some(NoPlace::OfReader));
        }
        assert_eq!(places.take([9; 16]).err(), Some(NoPlace::Full));
        held.pop();
        held.push(places.take([9; 16]).unwrap());
        drop(held);
        assert!(places.taken.lock().is_empty());
    }
}
