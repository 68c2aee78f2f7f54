//! `[admin]`: the address for operators.

use std::net::SocketAddr;

use crate::config::key::{Key, flag, text};
use crate::config::reader::Reader;

pub(in crate::config) const KEYS: &[Key] = &[
    text(
        "admin.listen",
        "",
        "Address and port on which operators read health and metrics, without a credential. Default: none.",
    ),
    flag(
        "admin.allow_remote",
        "false",
        "Whether that address may be one that other machines reach. Every machine that reaches it reads all metrics.",
    ),
];

/// The settings of `[admin]`.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Address and port on which operators read health and metrics, if any.
    pub listen: Option<SocketAddr>,
    /// Whether it may be an address that other machines reach.
    pub allow_remote: bool,
}

impl Admin {
    /// Says whether other machines can reach the address although `allow_remote` is not set.
    pub fn is_open_unasked(&self) -> bool {
        self.listen.is_some_and(|listen| !listen.ip().is_loopback()) && !self.allow_remote
    }
}

impl Admin {
    /// Reads the section. The address must be another one than `public`, on which clients are served.
    pub(in crate::config) fn read(reader: &mut Reader, public: SocketAddr) -> Self {
        let listen: Option<SocketAddr> = reader.parsed("admin.listen", "an address and port");
        if listen.is_some_and(|listen| overlap(listen, public)) {
            reader.wrong(
                "admin.listen",
                format!("must be another address than http.listen, which is {public}"),
            );
        }
        Self { listen, allow_remote: reader.flag("admin.allow_remote").unwrap_or(false) }
    }
}

/// Says whether two sockets cannot listen on both addresses at once.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_same_host = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && is_same_host
}
