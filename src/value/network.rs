//! Client addresses cut to the prefixes we limit by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// How wide a network is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Width {
    /// An IPv4 address.
    V4Host = 1,
    /// An IPv4 /24.
    V4Net = 2,
    /// An IPv6 /64: one link, which is one client.
    V6Link = 3,
    /// An IPv6 /56: what a home is often given.
    V6Home = 4,
    /// An IPv6 /48: what a rented server is often given.
    V6Site = 5,
}

impl Width {
    /// All of them, narrow to wide.
    pub const ALL: [Self; 5] = [Self::V4Host, Self::V4Net, Self::V6Link, Self::V6Home, Self::V6Site];

    /// How much more than one client a network of this width may do.
    pub const fn multiple(self) -> u32 {
        match self {
            Self::V4Host | Self::V6Link => 1,
            Self::V4Net => 8,
            Self::V6Home => 4,
            Self::V6Site => 16,
        }
    }

    const fn prefix(self) -> u8 {
        match self {
            Self::V4Host => 32,
            Self::V4Net => 24,
            Self::V6Link => 64,
            Self::V6Home => 56,
            Self::V6Site => 48,
        }
    }
}

/// An address cut to one of the prefixes: 9 bytes of meaning, so that a table of a million is small.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Network {
    /// How wide it is.
    pub width: Width,
    /// The upper 64 bits of an IPv6 prefix, or the 32 of an IPv4 one.
    pub bits: u64,
}

impl Network {
    /// The network that one client is known by: its IPv4 address, or its IPv6 /64.
    ///
    /// An IPv4 address written as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address, or one client would have two limits.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self { width: Width::V4Host, bits: u64::from(v4.to_bits()) },
            IpAddr::V6(v6) => Self { width: Width::V6Link, bits: (v6.to_bits() >> 64) as u64 },
        }
    }

    /// That network and the wider ones around it, narrow to wide: what a request of it is charged to.
    pub fn around(self) -> impl Iterator<Item = Self> {
        let widths: &[Width] = match self.width {
            Width::V4Host | Width::V4Net => &[Width::V4Host, Width::V4Net],
            _ => &[Width::V6Link, Width::V6Home, Width::V6Site],
        };
        widths.iter().filter(move |width| **width >= self.width).map(move |width| self.widened(*width))
    }

    /// The widest network around it: what is left to judge it by when there is no room for more.
    #[must_use]
    pub fn widest(self) -> Self {
        self.widened(if self.width <= Width::V4Net { Width::V4Net } else { Width::V6Site })
    }

    fn widened(self, width: Width) -> Self {
        let full: u8 = if width <= Width::V4Net { 32 } else { 64 };
        let cut = u32::from(full - width.prefix());
        Self { width, bits: self.bits >> cut << cut }
    }

    /// A number by which networks are spread over shards.
    pub fn spread(self) -> usize {
        crc32c::crc32c(&self.bits.to_le_bytes()) as usize
    }

    /// As a prefix, for logs and lists.
    pub fn to_net(self) -> IpNet {
        let address = if self.width <= Width::V4Net {
            IpAddr::V4(Ipv4Addr::from_bits(self.bits as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(u128::from(self.bits) << 64))
        };
        IpNet::new(address, self.width.prefix()).unwrap_or_else(|_| IpNet::from(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_client_are_cut_to_one_network() {
        for (address, expected) in [
            ("192.0.2.77", "192.0.2.77/32 x1, 192.0.2.0/24 x8"),
            ("::ffff:192.0.2.77", "192.0.2.77/32 x1, 192.0.2.0/24 x8"),
            ("255.255.255.255", "255.255.255.255/32 x1, 255.255.255.0/24 x8"),
            ("2001:db8:1:2fe:5::9", "2001:db8:1:2fe::/64 x1, 2001:db8:1:200::/56 x4, 2001:db8:1::/48 x16"),
        ] {
            let own = Network::of(address.parse().unwrap());
            let cut =
                own.around().map(|network| format!("{} x{}", network.to_net(), network.width.multiple()));
            assert_eq!(cut.collect::<Vec<_>>().join(", "), expected);
            assert_eq!(own.around().last(), Some(own.widest()));
        }
    }
}
