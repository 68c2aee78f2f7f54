#![doc = include_str!("README.md")]

#[doc(hidden)]
pub mod account;
#[doc(hidden)]
pub mod admin;
#[doc(hidden)]
pub mod admission;
#[doc(hidden)]
pub mod authenticate;
mod check;
#[doc(hidden)]
pub mod client;
#[doc(hidden)]
pub mod devices;
#[doc(hidden)]
pub mod email;
#[doc(hidden)]
pub mod gate;
#[doc(hidden)]
pub mod grant;
#[doc(hidden)]
pub mod keys;
#[doc(hidden)]
pub mod log_in;
#[doc(hidden)]
pub mod log_out;
#[doc(hidden)]
pub mod mailed;
#[doc(hidden)]
pub mod password;
pub(crate) mod post;
#[doc(hidden)]
pub mod refresh;
#[doc(hidden)]
pub mod refusal;
mod rejected;
#[doc(hidden)]
pub mod sign_up;

pub use grant::issue::issue;
