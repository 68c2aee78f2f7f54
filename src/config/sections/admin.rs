//! `[admin]`: the address for operators.

use std::net::SocketAddr;

use crate::config::key::{Key, text};
use crate::config::reader::Reader;

pub(in crate::config) const KEYS: &[Key] = &[text(
    "admin.listen",
    "",
    "Address and port on which operators read health and metrics. Default: none.",
)];

/// The settings of `[admin]`.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Address and port on which operators read health and metrics, if any.
    pub listen: Option<SocketAddr>,
}

impl Admin {
    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        Self { listen: reader.parsed("admin.listen", "an address and port") }
    }
}
