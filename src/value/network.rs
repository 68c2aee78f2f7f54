//! Networks: client addresses cut to the prefixes that are limited.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The kind of prefix that a network is, by address family and length.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Width {
    /// One IPv4 address.
    V4Host = 1,
    /// An IPv4 /24.
    V4Net = 2,
    /// An IPv6 /64: one link, counted as one client.
    V6Link = 3,
    /// An IPv6 /56: the prefix that providers often delegate to a home.
    V6Home = 4,
    /// An IPv6 /48: the prefix that a rented server often gets.
    V6Site = 5,
}

impl Width {
    /// All widths, narrow to wide within each address family.
    pub const ALL: [Self; 5] = [Self::V4Host, Self::V4Net, Self::V6Link, Self::V6Home, Self::V6Site];

    /// Returns how many times the limit of one client a network of this width has.
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

/// An address cut to one of the prefixes. It takes 9 bytes, so that a table of a million stays small.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Network {
    /// Address family and prefix length.
    pub width: Width,
    /// The upper 64 bits of an IPv6 prefix, or the 32 bits of an IPv4 prefix.
    pub bits: u64,
}

/// Returns the IPv4 address that an IPv6 address stands for, if it does: mapped, or behind `64:ff9b::/96`.
fn embedded_v4(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if v6.to_bits() >> 32 == 0x0064_ff9b << 64 => {
            IpAddr::V4(Ipv4Addr::from_bits(v6.to_bits() as u32))
        }
        other => other,
    }
}

impl Network {
    /// Returns the network by which one client is known: its IPv4 address, or its IPv6 /64.
    ///
    /// Security: an IPv4 address written as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address. Otherwise one client would
    /// have two limits. Nor are all clients of a NAT64 one: behind its well-known prefix each has its own IPv4 address
    /// (RFC 6052 §2.1).
    pub fn of(address: IpAddr) -> Self {
        match embedded_v4(address) {
            IpAddr::V4(v4) => Self { width: Width::V4Host, bits: u64::from(v4.to_bits()) },
            IpAddr::V6(v6) => Self { width: Width::V6Link, bits: (v6.to_bits() >> 64) as u64 },
        }
    }

    /// Returns this network and the wider ones that contain it, narrow to wide. A request is charged to all of them.
    pub fn around(self) -> impl Iterator<Item = Self> {
        let widths: &[Width] = match self.width {
            Width::V4Host | Width::V4Net => &[Width::V4Host, Width::V4Net],
            _ => &[Width::V6Link, Width::V6Home, Width::V6Site],
        };
        widths.iter().filter(move |width| **width >= self.width).map(move |width| self.widened(*width))
    }

    /// Returns the widest network that contains this one. A full table can still count that one.
    #[must_use]
    pub fn widest(self) -> Self {
        self.widened(if self.width <= Width::V4Net { Width::V4Net } else { Width::V6Site })
    }

    fn widened(self, width: Width) -> Self {
        let full: u8 = if width <= Width::V4Net { 32 } else { 64 };
        let cut = u32::from(full - width.prefix());
        Self { width, bits: self.bits >> cut << cut }
    }

    /// Returns a number by which networks are spread over shards.
    pub fn spread(self) -> usize {
        crc32c::crc32c(&self.bits.to_le_bytes()) as usize
    }

    /// Returns the network as a prefix, for logs and lists.
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
