//! The client of a request, for limits per address. Pure.
//!
//! The peer address of the connection is certain. `X-Forwarded-For` and `Forwarded` are believed hop by hop, as long as the hop
//! that added an entry is a trusted proxy. Proxies append, so the lists are read from the right. Entries to the left of the first
//! untrusted address were written by the client.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The prefix of translated IPv4 addresses (RFC 6052): `64:ff9b::/96`.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// A client for limits: an IPv4 address, or an IPv6 /64 network, because that is what one host is assigned.
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

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(network) => write!(f, "{network}/64"),
            address @ IpAddr::V4(_) => address.fmt(f),
        }
    }
}

/// The address of the client: that of the peer, or the one that trusted proxies report in `X-Forwarded-For`, or in `Forwarded`
/// (RFC 7239) if the former is missing. An invalid entry ends the search at the last trusted hop, because the entries to its left are not
/// trustworthy.
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

/// Whether `address` is a trusted proxy.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let mapped = match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V6(v4.to_ipv6_mapped()),
        v6 @ IpAddr::V6(_) => v6,
    };
    trusted.iter().any(|net| net.contains(&mapped.to_canonical()) || net.contains(&mapped))
}

/// The elements of a list, the last one first. A separator within quotes does not count. Parsing from the right keeps an unclosed
/// quote that a client wrote from hiding what proxies have appended.
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

/// Whether the character after `before` is escaped by an odd number of backslashes.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

/// The address in the `for` parameter of an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = from_the_right(element, b';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(value)
}

/// Parses an address as proxies write it: `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:5`, with a zone after `%`,
/// or in quotes. Returns `None` for `unknown`, for obfuscated names of RFC 7239 (`_hidden`), and for anything else.
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

/// Whether `text` is a port number, or an obfuscated port of RFC 7239.
fn is_port(text: &str) -> bool {
    let obfuscated = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    text.strip_prefix('_').map_or_else(
        || (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()),
        obfuscated,
    )
}
