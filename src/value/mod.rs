#![doc = include_str!("README.md")]

pub mod account_name;
pub mod address_scope;
pub mod counted;
pub mod external_id;
pub mod file_text;
pub mod id;
pub mod json_object;
pub mod locale;
pub mod network;
pub mod printed;
pub mod search;
pub mod secret_text;
