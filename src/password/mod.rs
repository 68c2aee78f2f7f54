#![doc = include_str!("README.md")]

pub mod argon2id;
pub mod cost;
pub mod foreign;
pub mod job;
pub mod known_bad;
pub mod lane;
pub mod pepper;
pub mod phc;
pub mod policy;
pub mod pool;
pub mod queues;
pub mod schedule;
pub mod stats;
pub mod strength;
mod thread;
mod threads;
mod typed;

pub use cost::{Cost, EqualCost};
pub use foreign::EqualWork;
pub use job::{QueueKey, Shed, Unverified, Verified};
pub use known_bad::KnownBad;
pub use lane::Lane;
pub use policy::{Advice, Policy, Weakness};
pub use pool::HashPool;
pub use typed::{PASSWORD_BYTES_MAX, Password, PasswordError};
