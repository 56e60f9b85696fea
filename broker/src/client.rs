//! Who a client is, for every limit that counts by address. Pure.
//!
//! The address of a connection's peer is known; what proxies say about the client behind it is believed hop by hop, as long as
//! the hop that says it is trusted. A proxy appends what it saw, so the lists are read from the right: what a client wrote itself
//! stands on the left of the first address that no trusted proxy has.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The prefix under which translators put IPv4 addresses (RFC 6052): `64:ff9b::/96`.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// What limits count as one client: an IPv4 address, or a /64 network of IPv6, since that is what one host is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Client(IpAddr);

impl Client {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) if v6.segments()[..6] == NAT64 => {
                let [.., a, b, c, d] = v6.octets();
                Self(Ipv4Addr::new(a, b, c, d).into())
            }
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into()),
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

/// The client's address: the peer's, or what trusted proxies say. `X-Forwarded-For` is read where it is there, else
/// `Forwarded` (RFC 7239). An element that cannot be read ends the walk at the last trusted hop, because everything on the left of
/// it is a claim that nobody vouches for.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut at = peer.to_canonical();
    let (name, node): (_, fn(&str) -> Option<IpAddr>) = if headers.contains_key(X_FORWARDED_FOR) {
        (X_FORWARDED_FOR, node)
    } else {
        (FORWARDED, forwarded_for)
    };
    let mut lines: Vec<_> = headers.get_all(name).iter().collect();
    while is_trusted(at, trusted)
        && let Some(line) = lines.pop()
    {
        let Ok(line) = line.to_str() else { return at };
        for element in from_the_right(line, b',').filter(|e| !e.trim().is_empty()) {
            if !is_trusted(at, trusted) {
                return at;
            }
            match node(element) {
                Some(address) => at = address,
                None => return at,
            }
        }
    }
    at
}

/// Whether a proxy of this address is believed.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let mapped = match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V6(v4.to_ipv6_mapped()),
        v6 @ IpAddr::V6(_) => v6,
    };
    trusted.iter().any(|net| net.contains(&mapped.to_canonical()) || net.contains(&mapped))
}

/// The parts of a list, the last first. A separator within quotes does not separate. Read from the right, so that an open quote
/// on the left, where a client writes, cannot swallow what proxies have appended.
fn from_the_right(list: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let mut quoted = false;
        for (at, byte) in text.bytes().enumerate().rev() {
            if byte == b'"' && !is_escaped(&text.as_bytes()[..at]) {
                quoted = !quoted;
            } else if byte == separator && !quoted {
                rest = Some(&text[..at]);
                return Some(&text[at + 1..]);
            }
        }
        Some(text)
    })
}

/// Whether what follows `before` is escaped: an odd number of backslashes stands before it.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

/// The node of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = from_the_right(element, b';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(value)
}

/// An address as proxies write it: `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:5`, with a zone after
/// `%`, in quotes. `unknown`, names of RFC 7239 (`_hidden`) and everything else are none.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let text = text.strip_prefix('"').map_or(Some(text), |t| t.strip_suffix('"'))?;
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        if !after.is_empty() && !after.strip_prefix(':').is_some_and(is_port) {
            return None;
        }
        v6(inside)?
    } else if let Some(address) = v6(text) {
        address
    } else {
        let v4 = match text.split_once(':') {
            Some((v4, port)) if is_port(port) => v4,
            Some(_) => return None,
            None => text,
        };
        IpAddr::V4(v4.parse().ok()?)
    };
    Some(address.to_canonical())
}

fn v6(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        Some((address, zone)) if !zone.is_empty() => address,
        Some(_) => return None,
        None => text,
    };
    address.parse().ok().map(IpAddr::V6)
}

/// A number, or an obfuscated port of RFC 7239.
fn is_port(text: &str) -> bool {
    let obfuscated = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    text.strip_prefix('_').map_or_else(
        || (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()),
        obfuscated,
    )
}
