//! Whose request it is: the socket's peer, or behind a trusted proxy the first address from the right that is none.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::ForwardedHeader;

/// Elements that are read at most: no honest request passes more proxies.
const HOPS_MAX: usize = 32;

/// The client's address. `forwarded` holds the values of the header in their order.
///
/// Security: anything left of the first untrusted address was written by whoever sent it.
pub fn client_address<'a>(
    peer: IpAddr,
    header: ForwardedHeader,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut client = peer.to_canonical();
    let hops = forwarded.rev().flat_map(|value| value.rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        if !is_trusted(client) {
            break;
        }
        match parse(header, hop) {
            Some(address) => client = address.to_canonical(),
            // What a trusted proxy could not name ends the walk at the proxy.
            None => break,
        }
    }
    client
}

/// An address of `X-Forwarded-For`, or the `for` of a `Forwarded` element; a port is left out.
fn parse(header: ForwardedHeader, hop: &str) -> Option<IpAddr> {
    let text = match header {
        ForwardedHeader::XForwardedFor => hop,
        ForwardedHeader::Forwarded => hop.split(';').find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then_some(value)
        })?,
    };
    let text = text.trim().trim_matches('"');
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
}
