//! Addresses that brokers never connect to. Pure.
//!
//! The authors of channels write these URLs, and the broker can reach services that they cannot: the metadata services of clouds hand out
//! credentials at link-local addresses. Names are resolved first; the resolved address is checked, and the connection is made to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services at addresses that are not link-local: Alibaba Cloud, and AWS over IPv6.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];
/// The prefix of translated IPv4 addresses (RFC 6052): `64:ff9b::/96`.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Whether brokers may connect to `address`.
pub(super) fn is_allowed(address: IpAddr) -> bool {
    let address = match address.to_canonical() {
        IpAddr::V6(v6) if v6.segments()[..6] == NAT64 => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        address => address,
    };
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !link_local && !METADATA.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_out_of_reach_however_they_are_written() {
        for bad in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "::ffff:100.100.100.200",
        ] {
            assert!(!is_allowed(bad.parse().unwrap()), "{bad}");
        }
        for good in ["127.0.0.1", "::1", "10.0.0.7", "192.0.2.1", "2001:db8::1", "fd00::1"] {
            assert!(is_allowed(good.parse().unwrap()), "{good}");
        }
    }
}
