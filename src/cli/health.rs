//! `portcullis health`: whether the running server serves, for health checks of containers and service managers.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use clap::Args;
use portcullis::system::clock::Clock;
use serde::Deserialize;
use serde_json::json;

use super::{Cli, Failure};

/// Maximum length of an answer in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// How to ask for the health of a server.
#[derive(Args, Debug)]
pub struct Health {
    /// Ask the server at this URL (http://host:port), instead of `http.listen` of the configuration.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Ask whether it is ready for requests, instead of whether it lives.
    #[arg(long)]
    ready: bool,
    /// Wait so many seconds for the answer.
    #[arg(long, value_name = "SECS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    timeout: u16,
}

/// Where a server is asked.
struct Place {
    /// Host and port.
    authority: String,
    /// The part of the URL after them, without a slash at its end.
    path: String,
}

/// The answer of the server.
#[derive(Debug, Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Health {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let place = match &self.url {
            Some(url) => Place::of_url(url)?,
            None => Place::of_listener(cli.load()?.http.listen)?,
        };
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let url = format!("http://{}{}{path}", place.authority, place.path);
        let clock = Clock::system();
        let until = clock.steady() + Duration::from_secs(self.timeout.into());
        let (status, body) = place
            .get(path, &clock, until)
            .map_err(|error| Failure::no_answer(format!("no answer from {url}: {error}")))?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| {
            Failure::refused(format!("{url} answered {status}, but not as Portcullis does; see its address"))
        })?;
        let reasons = answer.reasons.join(", ");
        let because = if reasons.is_empty() { reasons } else { format!(": {reasons}") };
        // As in the answer, but for people.
        let state = answer.status.replace('_', " ");
        if status != 200 {
            return Err(Failure::refused(format!("{state}{because} ({url} answered {status})")));
        }
        let value = json!({"url": url, "status": answer.status, "reasons": answer.reasons});
        cli.answer(&format!("{state}{because}"), &value);
        Ok(())
    }
}

impl Place {
    fn of_url(url: &str) -> Result<Self, Failure> {
        let rest = url.strip_prefix("http://").filter(|rest| !rest.is_empty());
        let rest = rest.ok_or_else(|| {
            Failure::usage(
                "--url must be http://host:port: name the server itself, not the proxy in front of it",
            )
        })?;
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let is_sent = |c: char| c.is_ascii_graphic();
        if !rest.chars().all(is_sent) {
            return Err(Failure::usage("--url holds a character that no URL has"));
        }
        Ok(Self { authority, path: path.trim_end_matches('/').to_owned() })
    }

    /// Returns the place at which a server that listens on `listen` is reached from this machine.
    fn of_listener(listen: SocketAddr) -> Result<Self, Failure> {
        if listen.port() == 0 {
            return Err(Failure::usage(
                "http.listen leaves the port to the system, so it is not known here: name the server with --url",
            ));
        }
        let mut address = listen;
        if listen.ip().is_unspecified() {
            address.set_ip(match listen {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(Self { authority: address.to_string(), path: String::new() })
    }

    /// Returns the status and the body of the answer to GET `path`.
    ///
    /// Errors: no whole answer before `until`.
    fn get(&self, path: &str, clock: &Clock, until: Instant) -> io::Result<(u16, Vec<u8>)> {
        let left = || {
            let left = until.saturating_duration_since(clock.steady());
            if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
        };
        let mut failed = io::Error::other("the host has no address");
        let mut stream = None;
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left()?) {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(error) => failed = error,
            }
        }
        let mut stream = stream.ok_or(failed)?;
        stream.set_write_timeout(Some(left()?))?;
        let Self { authority, path: base } = self;
        let request = format!("GET {base}{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        loop {
            // Each part has what is left of the time, so that a server which sends a byte now and then holds nobody up.
            stream.set_read_timeout(Some(left()?))?;
            let read = match stream.read(&mut part) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                read => read?,
            };
            answer.extend_from_slice(part.get(..read).unwrap_or_default());
            if read == 0 {
                break;
            }
            if answer.len() as u64 > ANSWER_BYTES_MAX {
                return Err(io::Error::other("its answer is too long"));
            }
        }
        parse(&answer).ok_or_else(|| io::Error::other("what it sent is no answer of HTTP"))
    }
}

/// Returns the status and the body of an answer that was read to its end.
fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let rest = answer.strip_prefix(b"HTTP/1.1 ")?;
    let status = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
    let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((status, rest.get(end + 4..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_where_it_listens() {
        for (listen, authority) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            let place = Place::of_listener(listen.parse().unwrap());
            assert_eq!(place.map_err(|failure| failure.1).unwrap().authority, authority);
        }
        for (url, authority, path) in [
            ("http://localhost:8080", "localhost:8080", ""),
            ("http://localhost/", "localhost:80", ""),
            ("http://[::1]/auth/", "[::1]:80", "/auth"),
        ] {
            let place = Place::of_url(url).map_err(|failure| failure.1).unwrap();
            assert_eq!((place.authority.as_str(), place.path.as_str()), (authority, path));
        }
        for url in ["https://localhost:8080", "localhost:8080", "http://", "http://a b", "http://a\r\nb"] {
            assert!(Place::of_url(url).is_err(), "{url:?}");
        }
        assert!(Place::of_listener("127.0.0.1:0".parse().unwrap()).is_err());
    }
}
