//! What a hash of another system may ask for. A cost is compared with these before anything is computed with it.
//!
//! The upper ones keep one computation within a few seconds of one core and within 256 MiB; the lower ones refuse what
//! no longer deserves the name. argon2 has the bounds of our own hashes (`password/cost.rs`).

/// Most bytes of a text that holds a hash.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Base-2 logarithm of the rounds of bcrypt.
pub const BCRYPT_LOG_ROUNDS_MIN: u32 = 4;
/// Base-2 logarithm of the rounds of bcrypt.
pub const BCRYPT_LOG_ROUNDS_MAX: u32 = 14;

/// Memory of scrypt in KiB: N · r / 8.
pub const SCRYPT_MEMORY_KIB_MAX: u64 = 256 * 1024;
/// Blocks that scrypt fills, each of 128 bytes: N · r · p.
pub const SCRYPT_WORK_MIN: u64 = 1 << 10;
/// Blocks that scrypt fills, each of 128 bytes: N · r · p.
pub const SCRYPT_WORK_MAX: u64 = 1 << 22;
/// Block size of scrypt (`r`), in 128 bytes.
pub const SCRYPT_R_MAX: u32 = 64;
/// Parallelism of scrypt (`p`). The instances run one after the other.
pub const SCRYPT_P_MAX: u32 = 16;

/// Iterations of PBKDF2.
pub const PBKDF2_ITERATIONS_MIN: u32 = 1_000;
/// Iterations of PBKDF2.
pub const PBKDF2_ITERATIONS_MAX: u32 = 4_000_000;

/// Rounds of SHA-2 crypt.
pub const SHA_CRYPT_ROUNDS_MIN: u32 = 1_000;
/// Rounds of SHA-2 crypt.
pub const SHA_CRYPT_ROUNDS_MAX: u32 = 1_000_000;
/// Bytes of a password that SHA-2 crypt reads: each round hashes all of it, so a stranger who types a long one makes each log-in
/// dear. A longer password matches no such hash.
pub const SHA_CRYPT_PASSWORD_BYTES_MAX: usize = 128;

/// Bytes of a salt, where the scheme does not fix them.
pub const SALT_BYTES_MAX: usize = 128;
/// Bytes of a salt of argon2.
pub const ARGON2_SALT_BYTES_MIN: usize = 8;
/// Bytes of a salt of argon2.
pub const ARGON2_SALT_BYTES_MAX: usize = 48;
/// Fewest bytes of a hash that decide.
pub const HASH_BYTES_MIN: usize = 16;
/// Most bytes of a hash that are kept.
pub const HASH_BYTES_MAX: usize = 64;
