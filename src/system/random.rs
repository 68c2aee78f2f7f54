//! The source of random bytes: the operating system, or a seed in tests. Code that mints a secret or an id is given
//! one.

use crate::system::lock::Mutex;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng, TryRng};
use zeroize::Zeroizing;

/// Number of random bytes drawn from the operating system at once. A caller asks for a few dozen at most.
const POOL_BYTES: usize = 1024;

/// The operating system returned no random bytes. No secret can be made, so the request is answered with 503.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw randomness from the operating system")]
pub struct NoRandomness(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A generator of random bytes.
pub struct Random(Source);

enum Source {
    /// A block of bytes from the operating system, and how many of them are used. One system call serves many requests.
    System(Box<Mutex<(Zeroizing<[u8; POOL_BYTES]>, usize)>>),
    Seeded(Box<Mutex<StdRng>>),
    #[cfg(test)]
    Counting(std::sync::atomic::AtomicU64),
}

impl Random {
    /// Returns the generator of the operating system.
    pub fn system() -> Self {
        Self(Source::System(Box::new(Mutex::new((Zeroizing::new([0; POOL_BYTES]), POOL_BYTES)))))
    }

    /// Returns a generator that gives the same bytes for the same seed. For tests and the simulator only.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Box::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// Returns a generator whose bytes count up. For golden files, which must not depend on the version of a generator.
    #[cfg(test)]
    pub(crate) const fn counting() -> Self {
        Self(Source::Counting(std::sync::atomic::AtomicU64::new(1)))
    }

    /// Returns `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], NoRandomness> {
        const { assert!(N <= POOL_BYTES) };
        let mut bytes = [0; N];
        match &self.0 {
            Source::System(pool) => {
                let (pool, used) = &mut *pool.lock();
                if N > POOL_BYTES - *used {
                    // Marked as used up first: after a failure no byte can be given out twice.
                    *used = POOL_BYTES;
                    SysRng.try_fill_bytes(&mut pool[..]).map_err(|error| NoRandomness(Box::new(error)))?;
                    *used = 0;
                }
                for (to, from) in bytes.iter_mut().zip(pool.iter_mut().skip(*used)) {
                    // Moved, not copied, so that no secret stays in the block.
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
