#![doc = include_str!("README.md")]

pub mod account_name;
pub mod counted;
pub mod id;
pub mod network;
pub mod secret_text;
