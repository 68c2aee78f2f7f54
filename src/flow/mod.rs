#![doc = include_str!("README.md")]

pub mod account;
pub mod admin;
pub mod admission;
pub mod authenticate;
mod check;
pub mod client;
pub mod devices;
pub mod email;
pub mod gate;
pub mod grant;
pub mod keys;
pub mod log_in;
pub mod log_out;
pub mod mailed;
pub mod password;
pub(crate) mod post;
pub mod refresh;
pub mod refusal;
mod rejected;
pub mod sign_up;
