//! Addresses by who reaches them: those of the public internet, and all others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The prefix of IPv4 addresses behind a translator (RFC 6052 §2.1), 96 bits long.
const NAT64: u128 = 0x0064_ff9b << 96;
/// Prefixes of IPv6 within `2000::/3` that are no public addresses, with their lengths: protocol assignments with Teredo, two
/// for documentation. Source: the IANA registry of special-purpose addresses.
const SPECIAL_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
/// Prefixes of IPv4 that are no public addresses, with their lengths. Source: the IANA registry of special-purpose
/// addresses, and multicast.
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Returns the address that packets to `address` reach in the end: the IPv4 address that one of IPv6 carries, if it is mapped,
/// translated (NAT64) or tunnelled (6to4).
pub fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    let bits = v6.to_bits();
    if bits >> 32 == NAT64 >> 32 {
        IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
    } else if bits >> 112 == 0x2002 {
        IpAddr::V4(Ipv4Addr::from_bits((bits >> 80) as u32))
    } else {
        IpAddr::V6(v6)
    }
}

/// Says whether `address` is one of the public internet.
///
/// Security: what is not known to be public is not: loopback, private and link-local networks with the metadata services of
/// clouds, unique-local addresses, multicast, and whatever no registry has given to anybody.
pub fn is_public(address: IpAddr) -> bool {
    match reached(address) {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|(prefix, length)| {
            let cut = 32 - length;
            v4.to_bits() >> cut == prefix.to_bits() >> cut
        }),
        IpAddr::V6(v6) => {
            let is_special = SPECIAL_V6.iter().any(|(prefix, length)| {
                let cut = 128 - length;
                v6.to_bits() >> cut == prefix.to_bits() >> cut
            });
            v6.to_bits() >> 125 == 0b001 && !is_special
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_public_however_it_is_written_or_not_at_all() {
        for public in [
            "8.8.8.8",
            "100.63.255.255",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for inside in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::808:808",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
    }
}
