//! The source of randomness, passed to whatever mints something: the operating system, or a seed in tests.

use crate::system::lock::Mutex;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng, TryRng};
use zeroize::Zeroizing;

/// Random bytes drawn from the operating system at once. Nobody asks for more than a few dozen.
const POOL_BYTES: usize = 1024;

/// The operating system gave no randomness. Nothing secret can be made; the request is answered with 503.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw randomness from the operating system")]
pub struct NoRandomness(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A generator of random bytes, passed to whatever mints something.
pub struct Random(Source);

enum Source {
    /// Bytes that the operating system gave, and how many of them are used: one call serves many requests.
    System(Box<Mutex<(Zeroizing<[u8; POOL_BYTES]>, usize)>>),
    Seeded(Box<Mutex<StdRng>>),
    #[cfg(test)]
    Counting(std::sync::atomic::AtomicU64),
}

impl Random {
    /// The generator of the operating system.
    pub fn system() -> Self {
        Self(Source::System(Box::new(Mutex::new((Zeroizing::new([0; POOL_BYTES]), POOL_BYTES)))))
    }

    /// The same bytes for the same seed: for tests and the simulator alone.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Box::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// Bytes that only count up: for golden files, which no generator's next version may change.
    #[cfg(test)]
    pub(crate) const fn counting() -> Self {
        Self(Source::Counting(std::sync::atomic::AtomicU64::new(1)))
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], NoRandomness> {
        const { assert!(N <= POOL_BYTES) };
        let mut bytes = [0; N];
        match &self.0 {
            Source::System(pool) => {
                let (pool, used) = &mut *pool.lock();
                if N > POOL_BYTES - *used {
                    // Refilled as a whole; a fault leaves nothing that could be given out twice.
                    *used = POOL_BYTES;
                    SysRng.try_fill_bytes(&mut pool[..]).map_err(|error| NoRandomness(Box::new(error)))?;
                    *used = 0;
                }
                for (to, from) in bytes.iter_mut().zip(pool.iter_mut().skip(*used)) {
                    // Taken out, not copied: nothing given out stays behind.
                    *to = std::mem::take(from);
                }
                *used += N;
            }
            Source::Seeded(generator) => generator.lock().fill_bytes(&mut bytes),
            #[cfg(test)]
            Source::Counting(next) => {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes();
                for (to, from) in bytes.iter_mut().zip(number.iter().cycle()) {
                    *to = *from;
                }
            }
        }
        Ok(bytes)
    }
}
