#![doc = include_str!("README.md")]

mod argon2;
mod bcrypt;
pub mod bounds;
pub mod cost;
pub mod equal_work;
pub mod fault;
mod fields;
pub mod log_in_cost;
mod objects;
mod pbkdf2;
mod read;
mod scrypt;
mod sha_crypt;
mod ssha;
pub mod stored;

pub use cost::{Family, ForeignCost, ScryptCost};
pub use equal_work::{EqualForeign, EqualWork, Step};
pub use fault::ForeignFault;
pub use log_in_cost::{ADDED_KIB_MAX, LogInCost, TooDear};
pub use read::{is_hash_text, read, read_text};
pub use ssha::FastDigest;
pub use stored::{Stored, StoredCost, StoredHash};
