//! Client addresses cut to the prefixes we limit by.

use std::net::IpAddr;

use ipnet::IpNet;

/// The networks that a request of `address` is charged to, each with the multiple of the policy that it may take.
///
/// IPv4: the address, and its /24 (× 8). IPv6: its /64, its /56 (× 4) and its /48 (× 16). An IPv4 address written as
/// IPv6 (`::ffff:192.0.2.1`) is the IPv4 address, or one client would have two limits.
pub fn networks(address: IpAddr) -> impl Iterator<Item = (IpNet, u32)> {
    let address = address.to_canonical();
    let prefixes: &[(u8, u32)] = match address {
        IpAddr::V4(_) => &[(32, 1), (24, 8)],
        IpAddr::V6(_) => &[(64, 1), (56, 4), (48, 16)],
    };
    prefixes.iter().filter_map(move |(prefix, multiple)| {
        IpNet::new(address, *prefix).ok().map(|network| (network.trunc(), *multiple))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_client_are_cut_to_one_network() {
        for (address, expected) in [
            ("192.0.2.77", "192.0.2.77/32 x1, 192.0.2.0/24 x8"),
            ("::ffff:192.0.2.77", "192.0.2.77/32 x1, 192.0.2.0/24 x8"),
            ("2001:db8:1:2fe:5::9", "2001:db8:1:2fe::/64 x1, 2001:db8:1:200::/56 x4, 2001:db8:1::/48 x16"),
        ] {
            let cut = networks(address.parse().unwrap())
                .map(|(network, multiple)| format!("{network} x{multiple}"));
            assert_eq!(cut.collect::<Vec<_>>().join(", "), expected);
        }
    }
}
