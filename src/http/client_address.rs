//! The address of a client: the peer of its socket, or behind trusted proxies the first address from the right in their
//! forwarding header that is not such a proxy.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::ForwardedHeader;

/// The most elements that are read: no honest request passes more proxies.
const HOPS_MAX: usize = 32;

/// Returns the address of a client. `forwarded` holds the values of the forwarding header, in their order.
///
/// Security: the first untrusted address may have written everything to the left of it.
pub fn client_address<'a>(
    peer: IpAddr,
    header: ForwardedHeader,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut client = peer.to_canonical();
    let hops = forwarded.rev().flat_map(|value| elements(header, value));
    for hop in hops.take(HOPS_MAX) {
        if !is_trusted(client) {
            break;
        }
        match parse(header, hop) {
            Some(address) => client = address.to_canonical(),
            // A trusted proxy did not name its client, so the proxy itself is taken for it.
            None => break,
        }
    }
    client
}

/// Returns the elements of one value of the header, the last first.
fn elements(header: ForwardedHeader, value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let at = match header {
            ForwardedHeader::XForwardedFor => text.rfind(','),
            ForwardedHeader::Forwarded => last_comma(text),
        };
        let Some((before, element)) = at.and_then(|at| text.split_at_checked(at)) else { return Some(text) };
        rest = Some(before);
        element.get(1..)
    })
}

/// Returns the position of the comma before the last element. Reads from the right, so that a quote which a client
/// further left did not close cannot affect the element that a trusted proxy appended.
fn last_comma(text: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate().rev() {
        match byte {
            b'"' if !is_escaped(text, at) => quoted = !quoted,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Says whether an odd number of backslashes precedes a byte.
fn is_escaped(text: &str, at: usize) -> bool {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Returns the one `for` of a `Forwarded` element.
///
/// Security: an element that is malformed, or has two of them, names no client: it may contain text that a client
/// wrote, such as a host that a proxy passed on.
/// Source: RFC 7239 §4.
fn node(element: &str) -> Option<&str> {
    let mut rest = element;
    let mut node = None;
    while !rest.trim().is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = if let Some(inside) = after.strip_prefix('"') {
            let end = inside.match_indices('"').map(|(at, _)| at).find(|at| !is_escaped(inside, *at))?;
            (inside.get(..end)?, inside.get(end + 1..)?)
        } else {
            let plain = after.split(';').next()?;
            if plain.contains(['"', '\\']) {
                return None;
            }
            (plain.trim(), after.get(plain.len()..)?)
        };
        let name = name.trim();
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
            return None;
        }
        let after = after.trim_start();
        rest = match after.strip_prefix(';') {
            Some(next) => next,
            None if after.is_empty() => after,
            None => return None,
        };
    }
    node
}

/// Reads an address of `X-Forwarded-For`, or the `for` of a `Forwarded` element, without its port.
fn parse(header: ForwardedHeader, hop: &str) -> Option<IpAddr> {
    let text = match header {
        ForwardedHeader::XForwardedFor => hop.trim().trim_matches('"'),
        ForwardedHeader::Forwarded => node(hop)?,
    };
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let x = ForwardedHeader::XForwardedFor;
        for (peer, header, values, expected) in [
            ("192.0.2.1", x, vec!["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", x, vec!["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", x, vec!["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", x, vec!["6.6.6.6", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", x, vec![], "10.0.0.1"),
            ("10.0.0.1", x, vec!["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", x, vec!["198.51.100.7, _hidden"], "10.0.0.1"),
            ("10.0.0.1", x, vec!["198.51.100.7,"], "10.0.0.1"),
            ("10.0.0.1", x, vec!["\u{0}\u{fffd}, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", x, vec!["for=198.51.100.7"], "10.0.0.1"),
            ("::ffff:10.0.0.1", x, vec!["198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1", x, vec!["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", x, vec!["::ffff:198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", x, vec!["198.51.100.7, ::ffff:10.0.0.9"], "198.51.100.7"),
            ("10.0.0.1", x, vec!["198.51.100.7.8"], "10.0.0.1"),
            ("10.0.0.1", x, vec!["0198.51.100.7"], "10.0.0.1"),
            (
                "::1",
                ForwardedHeader::Forwarded,
                vec!["for=\"[2001:db8::7]:4711\";proto=https"],
                "2001:db8::7",
            ),
            (
                "10.0.0.1",
                ForwardedHeader::Forwarded,
                vec!["for=192.0.2.60;by=10.0.0.1, for=10.0.0.9"],
                "192.0.2.60",
            ),
            ("10.0.0.1", ForwardedHeader::Forwarded, vec!["for=\"6.6.6.6, for=192.0.2.60"], "192.0.2.60"),
            ("10.0.0.1", ForwardedHeader::Forwarded, vec!["by=192.0.2.60"], "10.0.0.1"),
        ] {
            let got = client_address(peer.parse().unwrap(), header, values.iter().copied(), &trusted);
            assert_eq!(got, expected.parse::<IpAddr>().unwrap(), "{peer} {values:?}");
        }
        let many = vec!["10.0.0.1"; 10_000].join(",");
        let end = client_address("10.0.0.1".parse().unwrap(), x, std::iter::once(many.as_str()), &trusted);
        assert_eq!(end, "10.0.0.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_client_cannot_write_elements_by_quotes_commas_and_semicolons() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let proxy = "10.0.0.1";
        for (values, expected) in [
            // A host that the proxy copied, correctly quoted.
            (vec![r#"for=198.51.100.7;host="x, for=6.6.6.6""#], "198.51.100.7"),
            (vec![r#"host="x, for=6.6.6.6";for=198.51.100.7"#], "198.51.100.7"),
            (vec![r#"host="x;for=6.6.6.6";for=198.51.100.7"#], "198.51.100.7"),
            (vec![r#"for=198.51.100.7;host="x;for=6.6.6.6""#], "198.51.100.7"),
            (vec![r#"for="198.51.100.7:4711";host="x\", for=6.6.6.6""#], "198.51.100.7"),
            (vec![r#"for=198.51.100.7;host="x\\""#], "198.51.100.7"),
            (vec![r#"for=198.51.100.7;host="a,b;c", for=10.0.0.2;host="d,e""#], "198.51.100.7"),
            // The same, after a header that the client sent itself.
            (vec![r#"for=", for=198.51.100.7;host="x, for=6.6.6.6""#], "198.51.100.7"),
            (vec![r#"for=6.6.6.6;x=""#, r#"for=198.51.100.7;host="x""#], "198.51.100.7"),
            (vec![r#"for="\"#, "for=198.51.100.7"], "198.51.100.7"),
            // A proxy that copies quotes without escaping them names no client.
            (vec![r#"for=198.51.100.7;host="x", for=6.6.6.6""#], proxy),
            (vec![r#"for=", for=198.51.100.7;host="x", for=6.6.6.6""#], proxy),
            (vec![r#"host="x";for="6.6.6.6";for=198.51.100.7"#], proxy),
            (vec![r#"for=198.51.100.7;host="x";for=6.6.6.6"#], proxy),
            (vec![r#"for=6.6.6.6;x=", for=198.51.100.7;host="x\""#], proxy),
            (vec![r#"for=198.51.100.7;host=x""#], proxy),
            (vec![r#"for=198.51.100.7;host="x"#], proxy),
            (vec![r#"for=198.51.100.7";host=x"#], proxy),
            (vec![r#"for="198.51.100.7"x"#], proxy),
            (vec!["x for=198.51.100.7"], proxy),
            (vec![r#"""#], proxy),
            (vec![""], proxy),
            // Unusual but well formed.
            (vec![r#"For="198.51.100.7" ; Proto=https;"#], "198.51.100.7"),
            (vec!["for=198.51.100.7;by=_secret;host=a:8080"], "198.51.100.7"),
        ] {
            let header = ForwardedHeader::Forwarded;
            let got = client_address(proxy.parse().unwrap(), header, values.iter().copied(), &trusted);
            assert_eq!(got, expected.parse::<IpAddr>().unwrap(), "{values:?}");
        }
    }
}
