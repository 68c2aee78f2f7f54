#![doc = include_str!("README.md")]

pub mod probe;
pub mod resolver;
pub mod signature;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretSlice};

use crate::config::sections::outbound::{is_this_machine, literal};
use crate::config::{Outbound, SecretFile};
use crate::system::clock::Timestamp;
use resolver::{LookUp, PermittedOnly, Shared};

/// Where the names of this machine lead.
const THIS_MACHINE: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// The most bytes of an answer that are read.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What a receiver is, as the configuration names it.
#[derive(Clone, Debug)]
pub struct ReceiverSpec<'a> {
    /// The URL to call.
    pub url: &'a str,
    /// A file whose first line is the secret that signs calls.
    pub secret_file: &'a SecretFile,
    /// Where the server may connect to.
    pub outbound: &'a Outbound,
    /// Whether the receiver may be this machine where the URL names it by itself.
    pub may_be_local: bool,
    /// How long a call may take, with its answer.
    pub timeout: Duration,
}

/// One receiver of calls.
pub struct Receiver {
    client: reqwest::Client,
    url: reqwest::Url,
    secret: SecretSlice<u8>,
    permitted: Arc<PermittedOnly>,
    timeout: Duration,
}

/// What a receiver has answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header that signs the body, if there is one that is text.
    pub signature: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Says whether the receiver has taken the call. A redirect is none.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why a call did not reach its receiver. The path of the URL may hold a secret, so only the host is named.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The secret cannot be read.
    #[error("cannot read the secret that signs calls: {0}")]
    Secret(#[source] io::Error),
    /// The URL cannot be called at all.
    #[error("the URL of the receiver is none that can be called")]
    Url,
    /// No client can be made.
    #[error("cannot set up the client: {0}")]
    Client(#[source] reqwest::Error),
    /// The receiver was not reached, or did not answer in time.
    #[error("no answer from {host}: {why}")]
    NoAnswer {
        /// Host and port.
        host: String,
        /// The innermost reason.
        why: String,
    },
    /// The answer is longer than [`ANSWER_BYTES_MAX`].
    #[error("the answer of {host} is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong {
        /// Host and port.
        host: String,
    },
}

impl Receiver {
    /// Creates a receiver that is looked up by the operating system.
    ///
    /// Errors: the secret cannot be read, or the URL is none.
    pub fn new(spec: &ReceiverSpec<'_>) -> Result<Self, OutboundError> {
        let line = spec.secret_file.read_line().map_err(OutboundError::Secret)?;
        Self::with(spec, SecretSlice::from(line.as_bytes().to_vec()), resolver::of_system())
    }

    /// Creates a receiver whose name `look_up` looks up. The file of the secret is not read.
    pub fn with(
        spec: &ReceiverSpec<'_>,
        secret: SecretSlice<u8>,
        look_up: LookUp,
    ) -> Result<Self, OutboundError> {
        let url = reqwest::Url::parse(spec.url).map_err(|_| OutboundError::Url)?;
        let mut outbound = spec.outbound.clone();
        if spec.may_be_local && is_this_machine(&url) {
            outbound.allow.extend(THIS_MACHINE.map(IpNet::from));
        }
        let is_tls = url.scheme() == "https";
        let permitted = Arc::new(PermittedOnly { look_up, outbound, is_tls });
        let client = builder(&permitted, spec.timeout).build().map_err(OutboundError::Client)?;
        Ok(Self { client, url, secret, permitted, timeout: spec.timeout })
    }

    /// Returns a client of the same kind as the one that calls, before it is built.
    fn builder(&self) -> reqwest::ClientBuilder {
        builder(&self.permitted, self.timeout)
    }

    /// Returns host and port.
    pub fn host(&self) -> String {
        let port = self.url.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", self.url.host_str().unwrap_or_default())
    }

    /// Returns the signature of `body` at `now`, as the header has it.
    pub fn sign(&self, body: &[u8], now: Timestamp) -> String {
        signature::header(self.secret.expose_secret(), now, body)
    }

    /// Posts `body`, signed at `now`, with `more` headers, and returns the head of the answer: status and signature. The body of
    /// the answer is not read.
    pub async fn tell(
        &self,
        body: Vec<u8>,
        more: &[(&'static str, &str)],
        now: Timestamp,
    ) -> Result<Answer, OutboundError> {
        self.post(body, more, now).await.map(|answer| head_of(&answer))
    }

    /// Does what [`Self::tell`] does, and reads the body of the answer, [`ANSWER_BYTES_MAX`] of it at most.
    pub async fn ask(
        &self,
        body: Vec<u8>,
        more: &[(&'static str, &str)],
        now: Timestamp,
    ) -> Result<Answer, OutboundError> {
        let mut answer = self.post(body, more, now).await?;
        let mut read = head_of(&answer);
        while let Some(part) = answer.chunk().await.map_err(|error| self.no_answer(error))? {
            if read.body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(OutboundError::TooLong { host: self.host() });
            }
            read.body.extend_from_slice(&part);
        }
        Ok(read)
    }

    /// Says whether the receiver has signed `answer` as the one to the question `id`, which was put at `asked_at`.
    pub fn is_answer_to(&self, answer: &Answer, id: &str, asked_at: Timestamp) -> bool {
        let header = answer.signature.as_deref().unwrap_or_default();
        signature::is_answer(self.secret.expose_secret(), header, id, &answer.body, asked_at)
    }

    async fn post(
        &self,
        body: Vec<u8>,
        more: &[(&'static str, &str)],
        now: Timestamp,
    ) -> Result<reqwest::Response, OutboundError> {
        // The client asks its resolver for names alone.
        if let Some(Err(error)) = literal(&self.url).map(|address| self.permitted.judge(address)) {
            return Err(OutboundError::NoAnswer { host: self.host(), why: error.to_string() });
        }
        let signed = self.sign(&body, now);
        let request = self.client.post(self.url.clone()).header("content-type", "application/json");
        let request = request.header(signature::HEADER, signed);
        let request = more.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(body).send().await.map_err(|error| self.no_answer(error))
    }

    fn no_answer(&self, error: reqwest::Error) -> OutboundError {
        let error = error.without_url();
        let why = if error.is_timeout() {
            format!("nothing within {} s", self.timeout.as_secs())
        } else {
            innermost(&error)
        };
        OutboundError::NoAnswer { host: self.host(), why }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({})", self.host())
    }
}

/// Begins a client that connects to what is `permitted` alone, follows no redirect and keeps no connection.
fn builder(permitted: &Arc<PermittedOnly>, timeout: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(0)
        .dns_resolver(Arc::new(Shared(Arc::clone(permitted))))
}

fn head_of(answer: &reqwest::Response) -> Answer {
    let signature = answer.headers().get(signature::HEADER).and_then(|value| value.to_str().ok());
    Answer { status: answer.status().as_u16(), signature: signature.map(ToOwned::to_owned), body: Vec::new() }
}

/// Returns the innermost reason of an error, which names the cause. Those around it say that a request failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
