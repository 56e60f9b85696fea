//! The PROXY protocol, versions 1 and 2: the client's address before the first byte of HTTP.

use std::net::IpAddr;

use ppp::{HeaderResult, PartialResult as _, v1, v2};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// The longest header of version 1, with its CR LF.
const LONGEST_LINE: usize = 107;
/// What a header of version 2 may carry beside the addresses: balancers send some hundred bytes.
const MOST_EXTENSIONS: usize = 4096;
/// The part of a header of version 2 that says how long it is.
const FIXED: usize = 16;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE: &[u8] = b"PROXY ";

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHeader {
    #[error("the connection ended: {0}")]
    Io(#[from] std::io::Error),
    #[error("it does not begin with a PROXY protocol header")]
    Missing,
    #[error("its PROXY protocol header cannot be read")]
    Malformed,
}

/// Takes the header from the socket, and not a byte more. `None`: the proxy speaks for itself, as in its health checks, or does
/// not know its client.
pub(super) async fn read(socket: &mut TcpStream) -> Result<Option<IpAddr>, NoHeader> {
    let mut header = vec![0; LINE.len()];
    socket.read_exact(&mut header).await?;
    if header == LINE {
        while !header.ends_with(b"\n") && header.len() < LONGEST_LINE {
            header.push(socket.read_u8().await?);
        }
    } else if header == SIGNATURE[..LINE.len()] {
        header.resize(FIXED, 0);
        socket.read_exact(&mut header[LINE.len()..]).await?;
        let more = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
        if !header.starts_with(SIGNATURE) || more > MOST_EXTENSIONS {
            return Err(NoHeader::Malformed);
        }
        header.resize(FIXED + more, 0);
        socket.read_exact(&mut header[FIXED..]).await?;
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
            [SIGNATURE, &[0x20 | command, family], &length.to_be_bytes(), rest].concat()
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
            drop(parse(&[LINE, &bytes].concat()));
            drop(parse(&[SIGNATURE, &bytes].concat()));
        }
    }
}
