//! The PROXY protocol, versions 1 and 2: a header with the client's address before the first byte of HTTP.

use std::net::IpAddr;

use ppp::{HeaderResult, PartialResult as _, v1, v2};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// The longest header of version 1, including CR LF.
const MAX_V1_BYTES: usize = 107;
/// The most bytes of addresses and extensions in a header of version 2. Load balancers send a few hundred.
const MAX_V2_PAYLOAD: usize = 4096;
/// Bytes of a header of version 2 before the payload.
const V2_PREFIX: usize = 16;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_SIGNATURE: &[u8] = b"PROXY ";

/// The header is missing or invalid.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHeader {
    #[error("the connection ended: {0}")]
    Io(#[from] std::io::Error),
    #[error("it does not begin with a PROXY protocol header")]
    Missing,
    #[error("its PROXY protocol header cannot be read")]
    Malformed,
}

/// Reads the header from the socket, and not a byte more. `None`: the connection is the proxy's own, such as a health check, or the proxy
/// does not know the client.
pub(super) async fn read(socket: &mut TcpStream) -> Result<Option<IpAddr>, NoHeader> {
    let mut header = vec![0; V1_SIGNATURE.len()];
    socket.read_exact(&mut header).await?;
    if header == V1_SIGNATURE {
        while !header.ends_with(b"\n") && header.len() < MAX_V1_BYTES {
            header.push(socket.read_u8().await?);
        }
    } else if header == V2_SIGNATURE[..V1_SIGNATURE.len()] {
        header.resize(V2_PREFIX, 0);
        socket.read_exact(&mut header[V1_SIGNATURE.len()..]).await?;
        let more = usize::from(u16::from_be_bytes([header[V2_PREFIX - 2], header[V2_PREFIX - 1]]));
        if !header.starts_with(V2_SIGNATURE) || more > MAX_V2_PAYLOAD {
            return Err(NoHeader::Malformed);
        }
        header.resize(V2_PREFIX + more, 0);
        socket.read_exact(&mut header[V2_PREFIX..]).await?;
    } else {
        return Err(NoHeader::Missing);
    }
    parse(&header)
}

fn parse(header: &[u8]) -> Result<Option<IpAddr>, NoHeader> {
    let result = HeaderResult::parse(header);
    if result.is_incomplete() {
        return Err(NoHeader::Malformed);
    }
    match result {
        HeaderResult::V1(Ok(line)) => Ok(match line.addresses {
            v1::Addresses::Tcp4(a) => Some(a.source_address.into()),
            v1::Addresses::Tcp6(a) => Some(a.source_address.into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(binary)) if binary.command == v2::Command::Local => Ok(None),
        HeaderResult::V2(Ok(binary)) => Ok(match binary.addresses {
            v2::Addresses::IPv4(a) => Some(a.source_address.into()),
            v2::Addresses::IPv6(a) => Some(a.source_address.into()),
            v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(NoHeader::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_version_1_are_read() {
        for (line, address) in [
            ("PROXY TCP4 203.0.113.7 10.0.0.1 40000 8080\r\n", Some("203.0.113.7")),
            ("PROXY TCP6 2001:db8::1 fd00::1 40000 8080\r\n", Some("2001:db8::1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            let address = address.map(|a| a.parse::<IpAddr>().expect("an address"));
            assert_eq!(parse(line.as_bytes()).expect(line), address, "{line}");
        }
        for line in ["PROXY TCP4 nobody 10.0.0.1 1 2\r\n", "PROXY \r\n", "PROXY TCP4 1.2.3.4\n"] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn headers_of_version_2_are_read() {
        let header = |command: u8, family: u8, rest: &[u8]| {
            let length = u16::try_from(rest.len()).expect("short");
            [V2_SIGNATURE, &[0x20 | command, family], &length.to_be_bytes(), rest].concat()
        };
        let v4 = [203, 0, 113, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x1f, 0x90];
        let extended = [&v4[..], &[0xea, 0, 3, 1, 2, 3]].concat();
        let client = Some(IpAddr::from([203, 0, 113, 7]));
        assert_eq!(parse(&header(1, 0x11, &v4)).expect("IPv4"), client);
        assert_eq!(parse(&header(1, 0x11, &extended)).expect("extensions"), client);
        assert_eq!(parse(&header(0, 0x11, &v4)).expect("LOCAL"), None);
        assert_eq!(parse(&header(0, 0, &[])).expect("LOCAL without addresses"), None);
        assert_eq!(parse(&header(1, 0, &[])).expect("unspecified"), None);
        assert!(parse(&header(1, 0x11, &v4[..8])).is_err(), "too short for its family");
        assert!(parse(&header(3, 0x11, &v4)).is_err(), "no such command");
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&bytes));
            drop(parse(&[V1_SIGNATURE, &bytes].concat()));
            drop(parse(&[V2_SIGNATURE, &bytes].concat()));
        }
    }
}
