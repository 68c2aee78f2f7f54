//! `[outbound]`: where the server may connect to by itself, for alerts and whatever else it calls by HTTP.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::key::{Key, list};
use crate::config::reader::Reader;
use crate::value::address_scope::{is_public, reached};

pub(in crate::config) const KEYS: &[Key] = &[list(
    "outbound.allow",
    "Addresses and networks inside that the server may call, such as [\"10.0.0.0/8\", \"127.0.0.1\"], by http:// too. \
     Others that are not public are refused, whatever name leads there.",
)];

/// The settings of `[outbound]`.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    /// Networks that may be called although they are not public, and without TLS.
    pub allow: Vec<IpNet>,
}

impl Outbound {
    pub(in crate::config) fn read(reader: &mut Reader) -> Self {
        Self { allow: reader.networks("outbound.allow") }
    }

    /// Says whether a call may connect to `address`.
    pub fn permits(&self, address: IpAddr, is_tls: bool) -> bool {
        let forms = [address, reached(address)];
        let is_listed = forms.iter().any(|form| self.allow.iter().any(|network| network.contains(form)));
        is_listed || is_tls && is_public(address)
    }
}

/// Reads the URL of a receiver from the key `name`; `None` if it is not set or wrong. `is_this_machine` lets it be this machine
/// where it names that by itself.
#[cfg(feature = "outbound")]
pub(super) fn receiver(
    reader: &mut Reader,
    name: &str,
    outbound: &Outbound,
    may_be_local: bool,
) -> Option<String> {
    let text = reader.text(name)?;
    let url = reqwest::Url::parse(&text).ok().filter(reqwest::Url::has_host);
    let Some(url) = url.filter(|url| matches!(url.scheme(), "https" | "http")) else {
        reader.wrong(name, "must be a URL such as https://hooks.example.org/portcullis");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        reader.wrong(name, "must not hold a user or a password: calls are signed by the secret instead");
        return None;
    }
    let is_tls = url.scheme() == "https";
    let is_permitted = match literal(&url) {
        _ if may_be_local && is_this_machine(&url) => true,
        Some(address) if outbound.permits(address, is_tls) => true,
        Some(address) if is_tls || !is_public(address) => {
            let what = format!("leads to {address}, which is not public: list it in `outbound.allow`");
            reader.wrong(name, what);
            return None;
        }
        Some(_) => false,
        // Where it leads to is known once it is called.
        None => is_tls || !outbound.allow.is_empty(),
    };
    if !is_permitted {
        let local = if may_be_local { "this machine or to " } else { "" };
        reader.wrong(name, format!("must be https://, or http:// to {local}what `outbound.allow` lists"));
        return None;
    }
    Some(text)
}

/// Returns the address that is the host of `url`, however it is spelled there.
#[cfg(feature = "outbound")]
pub fn literal(url: &reqwest::Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Says whether the host of `url` is this machine by its usual name or address.
#[cfg(feature = "outbound")]
pub fn is_this_machine(url: &reqwest::Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "outbound")]
    use crate::config::tests::load;

    #[cfg(feature = "outbound")]
    fn faults(url: &str, allow: &str) -> Vec<String> {
        let text = format!(
            "[alert]\nwebhook = \"{url}\"\nsecret_file = \"/etc/secret\"\n[outbound]\nallow = [{allow}]\n"
        );
        load(&text, &[]).err().unwrap_or_default()
    }

    #[cfg(feature = "outbound")]
    #[test]
    fn a_receiver_inside_is_named_before_it_is_called_unless_it_is_listed() {
        for (url, allow) in [
            ("https://hooks.example.org/x", ""),
            ("https://8.8.8.8/x", ""),
            ("http://127.0.0.1:9/x", ""),
            ("http://localhost/x", ""),
            ("http://[::1]:9/x", ""),
            ("https://10.1.2.3/x", "\"10.0.0.0/8\""),
            ("http://10.1.2.3/x", "\"10.0.0.0/8\""),
            ("http://[::ffff:10.1.2.3]/x", "\"10.0.0.0/8\""),
            ("http://hooks.internal/x", "\"10.0.0.0/8\""),
        ] {
            assert_eq!(faults(url, allow), [""; 0], "{url}");
        }
        for (url, allow, said) in [
            ("https://10.1.2.3/x", "", "leads to 10.1.2.3, which is not public: list it in `outbound.allow`"),
            ("https://10.1.2.3/x", "\"10.2.0.0/16\"", "leads to 10.1.2.3"),
            ("https://0x0a010203/x", "", "leads to 10.1.2.3"),
            ("https://167838211/x", "", "leads to 10.1.2.3"),
            ("https://169.254.169.254/x", "", "leads to 169.254.169.254"),
            ("https://[::ffff:169.254.169.254]/x", "", "which is not public"),
            ("https://[fd00:ec2::254]/x", "", "leads to fd00:ec2::254"),
            ("https://127.0.0.2/x", "", "leads to 127.0.0.2"),
            ("http://8.8.8.8/x", "", "must be https://, or http:// to this machine or to what"),
            ("http://hooks.example.org/x", "", "must be https://, or http:// to this machine"),
            ("http://127.0.0.1:x@example.org/x", "", "must not hold a user or a password"),
            ("https://user:secret@hooks.example.org/x", "", "must not hold a user or a password"),
            ("https://user@hooks.example.org/x", "", "must not hold a user or a password"),
            ("https://:secret@8.8.8.8/x", "", "must not hold a user or a password"),
            ("http://localhost.example.org/x", "", "must be https://"),
            ("ftp://hooks.example.org/x", "", "must be a URL such as"),
            ("hooks.example.org", "", "must be a URL such as"),
        ] {
            let found = faults(url, allow);
            assert_eq!(found.len(), 1, "{url}: {found:?}");
            assert!(found[0].contains(said), "{url}: {found:?}");
        }
    }
}
