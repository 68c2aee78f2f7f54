//! A connection as a call opens it, over which nothing is asked: what is looked up, permitted, connected and secured, and where
//! that ends.
//!
//! TLS is that of the client which makes the calls, so that a certificate is judged as it is for them. The client is stopped as
//! soon as it has a connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use super::{Receiver, innermost};
use crate::config::sections::outbound::literal;

/// How far a connection has come that could not be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The host has no address.
    LookUp,
    /// It leads where no call may go.
    Permission,
    /// Nobody takes the connection.
    Connection,
    /// TLS fails.
    Tls,
}

/// Why a receiver cannot be reached. Names no part of the URL.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unreached {
    /// How far it came.
    pub step: Step,
    why: String,
}

impl Unreached {
    fn at(step: Step, why: impl fmt::Display) -> Self {
        Self { step, why: why.to_string() }
    }

    /// Returns what an operator does about it.
    pub fn remedy(&self) -> &'static str {
        let is = |part: &str| self.why.contains(part);
        match self.step {
            Step::LookUp => "check the host of the URL, and whether this machine can look names up",
            Step::Permission if is("https:// only") => "use https://, or list the address in outbound.allow",
            Step::Permission => "list the address in outbound.allow, if the host is meant to lead there",
            Step::Connection => {
                "start the program that listens there, or check host and port of the URL and the network on the way"
            }
            Step::Tls if is("UnknownIssuer") => {
                "let it show a certificate of an authority that this machine trusts, with those between, or add its \
                 authority to those of this machine"
            }
            Step::Tls if is("not valid for name") || is("NotValidForName") => {
                "put a name of its certificate into the URL"
            }
            Step::Tls if is("not valid yet") || is("NotValidYet") => "set the clock of this machine, or wait",
            Step::Tls if is("expired") || is("Expired") => {
                "renew its certificate, or set the clock of this machine"
            }
            Step::Tls if is("CaUsedAsEndEntity") => {
                "let it show a certificate that is not that of an authority (CA:FALSE)"
            }
            Step::Tls => {
                "check the port of the URL: whoever listens there does not speak TLS as a call needs it"
            }
        }
    }
}

impl Receiver {
    /// Connects to the receiver as a call would, TLS included, and asks nothing. Gives up after `at_most`.
    pub async fn connect(&self, at_most: Duration) -> Result<(), Unreached> {
        let mut step = Step::LookUp;
        match tokio::time::timeout(at_most, self.connect_by_steps(&mut step)).await {
            Ok(connected) => connected,
            Err(_) => Err(Unreached::at(step, format_args!("nothing within {} s", at_most.as_secs()))),
        }
    }

    async fn connect_by_steps(&self, step: &mut Step) -> Result<(), Unreached> {
        let found = match literal(&self.url) {
            Some(address) => self.permitted.judge(address).map(|address| vec![address]),
            None => self.permitted.addresses(self.url.host_str().unwrap_or_default()).await,
        };
        let found = found.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Unreached::at(Step::Permission, error),
            _ => Unreached::at(Step::LookUp, error),
        })?;
        *step = Step::Connection;
        let port = self.url.port_or_known_default().unwrap_or_default();
        let mut connected = Err(Unreached::at(Step::LookUp, "the host has no address"));
        for address in found {
            match tokio::net::TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(_) => {
                    connected = Ok(());
                    break;
                }
                Err(error) => connected = Err(Unreached::at(Step::Connection, error)),
            }
        }
        connected?;
        if self.url.scheme() != "https" {
            return Ok(());
        }
        *step = Step::Tls;
        let client = self.builder().connector_layer(StopOnceConnected).build();
        let client = client.map_err(|error| Unreached::at(Step::Tls, error.without_url()))?;
        match client.head(self.url.clone()).send().await {
            Err(error) if is_stopped(&error) => Ok(()),
            Err(error) => Err(Unreached::at(Step::Tls, innermost(&error.without_url()))),
            // The client hands no connection over.
            Ok(_) => Ok(()),
        }
    }
}

/// Says whether `error` is that of a client that was stopped.
fn is_stopped(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if inner.is::<Stopped>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// The error of a client that was stopped once it had a connection.
#[derive(Debug, thiserror::Error)]
#[error("connected, and nothing is asked")]
struct Stopped;

/// Stops a client once it has a connection.
#[derive(Clone, Copy)]
struct StopOnceConnected;

impl<S> Layer<S> for StopOnceConnected {
    type Service = Stopping<S>;

    fn layer(&self, connector: S) -> Stopping<S> {
        Stopping(connector)
    }
}

/// A connector whose connections are closed at once.
#[derive(Clone)]
struct Stopping<S>(S);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, R> Service<R> for Stopping<S>
where
    S: Service<R, Error = BoxError>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: R) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async move {
            connecting.await?;
            Err(Stopped.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;
    use rustls::pki_types::UnixTime;

    use super::*;

    /// Kind: an error that an operator can mend, and that names no remedy.
    #[test]
    fn each_fault_has_its_remedy() {
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let of = |error: CertificateError| rustls::Error::from(error).to_string();
        for (why, remedy) in [
            (of(CertificateError::UnknownIssuer), "an authority that this machine trusts"),
            (of(CertificateError::Expired), "renew its certificate"),
            (of(CertificateError::ExpiredContext { time: at(2), not_after: at(1) }), "renew its certificate"),
            (of(CertificateError::NotValidYetContext { time: at(1), not_before: at(2) }), "set the clock"),
            (of(CertificateError::NotValidForName), "a name of its certificate"),
            (rustls::Error::DecryptError.to_string(), "check the port of the URL"),
        ] {
            let said = Unreached::at(Step::Tls, &why).remedy();
            assert!(said.contains(remedy), "{why}: {said}");
        }
        for (step, why, remedy) in [
            (Step::LookUp, "x", "check the host"),
            (Step::Connection, "x", "start the program"),
            (Step::Permission, "leads to 10.0.0.1, which is not public", "list the address"),
            (Step::Permission, "leads to 8.8.8.8, which is called by https:// only, unless", "use https://"),
        ] {
            let said = Unreached::at(step, why).remedy();
            assert!(said.starts_with(remedy), "{why}: {said}");
        }
    }
}
