#![doc = include_str!("README.md")]

pub mod bounded_file;
pub mod clock;
pub mod descriptors;
pub mod fail_stop;
pub mod file_error;
pub(crate) mod lock;
pub mod memory;
pub(crate) mod pace;
pub mod random;
pub mod scheduling;
pub mod secrets_in_memory;
pub mod seeded_bug;
pub mod volume;
