//! Look-up of names for calls, which yields only addresses that a call may connect to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::config::Outbound;

/// The addresses of a name, once they are known.
pub type Found = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
/// Looks a name up.
pub type LookUp = Arc<dyn Fn(String) -> Found + Send + Sync>;

/// Returns the look-up of the operating system.
pub fn of_system() -> LookUp {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// An address that a call may not connect to.
#[derive(Debug, thiserror::Error)]
#[error("leads to {address}, which is not public: list it in outbound.allow to call it")]
pub struct NotPermitted {
    address: IpAddr,
}

/// An address that a call may not connect to without TLS.
#[derive(Debug, thiserror::Error)]
#[error("leads to {address}, which is called by https:// only, unless outbound.allow lists it")]
pub struct NeedsTls {
    address: IpAddr,
}

/// A look-up that drops addresses which are not permitted.
pub struct PermittedOnly {
    pub(super) look_up: LookUp,
    pub(super) outbound: Outbound,
    pub(super) is_tls: bool,
}

impl PermittedOnly {
    /// Returns `address` if it is permitted.
    pub(super) fn judge(&self, address: IpAddr) -> io::Result<IpAddr> {
        if self.outbound.permits(address, self.is_tls) {
            Ok(address)
        } else if self.outbound.permits(address, true) {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, NeedsTls { address }))
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, NotPermitted { address }))
        }
    }

    /// Returns the permitted addresses of `name`.
    ///
    /// Errors: there is none.
    pub(super) async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = (self.look_up)(name.to_owned()).await?;
        let mut permitted = Vec::new();
        let mut refused = None;
        for address in found {
            match self.judge(address) {
                Ok(address) => permitted.push(address),
                Err(error) => refused = Some(error),
            }
        }
        if permitted.is_empty() {
            let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(refused.unwrap_or_else(none));
        }
        Ok(permitted)
    }
}

/// For the client, which shares it with the futures that it makes.
pub(super) struct Shared(pub(super) Arc<PermittedOnly>);

impl Resolve for Shared {
    fn resolve(&self, name: Name) -> Resolving {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let found = inner.addresses(name.as_str()).await?;
            // The port of the URL takes the place of this one.
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
