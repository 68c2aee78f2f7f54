//! `[http]`: the address that clients reach, and which other programs are believed.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::key::{Key, choice, list, number, text};
use crate::config::origin::Origin;
use crate::config::public_url::PublicUrl;
use crate::config::reader::Reader;

pub(in crate::config) const KEYS: &[Key] = &[
    text("http.listen", "\"127.0.0.1:8080\"", "Address and port to listen on."),
    text(
        "http.public_origin",
        "",
        "Origin that browsers see, such as https://login.example.org, with the path that this server is mounted at, if there is \
         one: https://example.org/auth. Default: http:// and the listen address.",
    ),
    list(
        "http.trusted_proxies",
        "Addresses and networks of proxies whose forwarding header is believed. One may hold any number of connections, others a sixteenth.",
    ),
    choice(
        "http.forwarded_header",
        "\"x-forwarded-for\"",
        &["x-forwarded-for", "forwarded"],
        "Header that these proxies write, \"x-forwarded-for\" or \"forwarded\"; the other one is never read.",
    ),
    number(
        "http.keep_alive_secs",
        "75",
        1..=3600,
        "Seconds that an idle connection stays open. Longer than your load balancer keeps one, or it now and then answers 502.",
    ),
    list(
        "http.allowed_origins",
        "Other origins whose pages may call this server; with cookies if they are of the same site as public_origin.",
    ),
];

/// The settings of `[http]`.
#[derive(Clone, Debug)]
pub struct Http {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// The origin that browsers see, and the path of this server there.
    pub public_origin: PublicUrl,
    /// Networks of proxies whose forwarding header is believed, and whose connections are not bounded.
    pub trusted_proxies: Vec<IpNet>,
    /// The header that these proxies write.
    pub forwarded_header: ForwardedHeader,
    /// Time that an idle connection stays open.
    pub keep_alive: Duration,
    /// Other origins whose pages may call this server, with cookies if they are of the same site.
    pub allowed_origins: Vec<Origin>,
}

/// The header that trusted proxies write. The other one is ignored: a proxy that does not know it passes on whatever
/// the client sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: a list of addresses.
    XForwardedFor,
    /// `Forwarded` (RFC 7239): a list of elements, each with a `for`.
    Forwarded,
}

impl Http {
    /// Says whether others than users of this machine reach the server: by its address, or through a proxy in front of
    /// it. Then it does not start with an unsafe setting.
    pub fn is_public(&self) -> bool {
        !self.listen.ip().is_loopback() || !self.public_origin.is_local()
    }

    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 8080));
        let listen = reader.parsed("http.listen", "an address and port").unwrap_or(loopback);
        let public_origin = reader
            .text("http.public_origin")
            .and_then(|text| public_url(reader, &text))
            .filter(|url| {
                if !url.origin().is_web() {
                    reader.wrong("http.public_origin", "must begin with https:// or http://");
                }
                url.origin().is_web()
            })
            .unwrap_or_else(|| Origin::of(listen).into());
        let trusted_proxies = reader.networks("http.trusted_proxies");
        let forwarded_header = match reader.choice("http.forwarded_header").as_str() {
            "forwarded" => ForwardedHeader::Forwarded,
            _ => ForwardedHeader::XForwardedFor,
        };
        let keep_alive = Duration::from_secs(reader.number("http.keep_alive_secs"));
        let texts: Vec<String> = reader.list("http.allowed_origins", "a text");
        let allowed_origins =
            texts.iter().filter_map(|text| origin(reader, "http.allowed_origins", text)).collect();
        Self { listen, public_origin, trusted_proxies, forwarded_header, keep_alive, allowed_origins }
    }
}

/// Reads the origin that browsers see, perhaps with a path.
fn public_url(reader: &mut Reader, text: &str) -> Option<PublicUrl> {
    let right = PublicUrl::respelled(text);
    let form = "must be an origin such as https://login.example.org, perhaps with a path such as /auth";
    spelled(reader, "http.public_origin", text, right, form)
}

/// Reads an origin.
fn origin(reader: &mut Reader, key: &str, text: &str) -> Option<Origin> {
    spelled(reader, key, text, Origin::respelled(text), "must be an origin such as https://login.example.org")
}

/// Reads `text`, which must be spelled as browsers spell it, since it is compared byte by byte. `right` is how they spell what
/// it probably means, and `form` is what it must be.
fn spelled<T: FromStr + Display>(
    reader: &mut Reader,
    key: &str,
    text: &str,
    right: Option<T>,
    form: &str,
) -> Option<T> {
    match right.filter(|right| right.to_string() != text) {
        Some(right) => {
            reader.wrong(key, format!("must be spelled as browsers spell it: \"{right}\", not {text:?}"));
            None
        }
        None => {
            let parsed = text.parse().ok();
            if parsed.is_none() {
                reader.wrong(key, format!("{form}, not {text:?}"));
            }
            parsed
        }
    }
}
