//! The doors to the machine: clocks, randomness, threads, memory and descriptors.
//!
//! Everything above gets time and randomness as values from here, so that rules stay pure and tests own both.
//!
//! Invariant: `clock.rs` alone reads a clock of the operating system; a lint refuses it elsewhere.
//! Invariant: nothing here knows another folder of the library.

pub mod clock;
pub mod descriptors;
pub mod fail_stop;
pub(crate) mod lock;
pub mod memory;
pub(crate) mod pace;
pub mod random;
pub mod scheduling;
pub mod seeded_bug;
