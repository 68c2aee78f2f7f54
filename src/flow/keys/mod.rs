//! The server's own keys, and the API keys of services: `rotation` changes and retires the former; `api_keys` makes, lists
//! and deletes the latter, `api_key` checks one, and `caller` says what it reaches.

pub mod api_key;
pub mod api_keys;
pub mod caller;
pub mod rotation;
