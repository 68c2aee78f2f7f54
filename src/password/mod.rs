#![doc = include_str!("README.md")]

pub mod argon2id;
pub mod cost;
pub mod job;
pub mod known_bad;
pub mod pepper;
pub mod phc;
pub mod policy;
pub mod pool;
pub mod schedule;
pub mod stats;
mod thread;
mod threads;
mod typed;

pub use cost::Cost;
pub use job::{QueueKey, Shed, Verified};
pub use known_bad::KnownBad;
pub use policy::{Advice, Weakness, advise, judge};
pub use pool::HashPool;
pub use schedule::Lane;
pub use typed::{PASSWORD_BYTES_MAX, Password, PasswordError};
