//! Listening sockets: for both families of addresses where the address is the wildcard `[::]`. Classifies errors of `accept(2)`.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that may wait to be accepted. Linux caps it at `net.core.somaxconn`, 4096 by default. If the backlog is full, a client's
/// kernel retries only after a second.
const LISTEN_BACKLOG: i32 = 4096;

/// Parses the address of a listener on the command line.
///
/// # Errors
/// The text is not an IP address and a port. The message names the form.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "must be an IP address and a port, such as 127.0.0.1:8080, or [::]:8080 for all addresses"
            .to_owned()
    })
}

/// Listens on `address`. `[::]` accepts IPv4 as well, whatever `net.ipv6.bindv6only` says, and means `0.0.0.0` on a system without
/// IPv6. Peers with IPv4 then have mapped addresses (`::ffff:192.0.2.1`): see [`std::net::IpAddr::to_canonical`].
///
/// # Errors
/// The address is in use or cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = bind(address).or_else(|error| match without_ipv6(address, &error) {
        Some(address) => bind(address),
        None => Err(error),
    })?;
    TcpListener::from_std(bound.into())
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket)
}

/// What to listen on instead of the wildcard of IPv6 if `error` says that the system has no IPv6.
fn without_ipv6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let missing = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
    let is_missing = Errno::from_io_error(error).is_some_and(|errno| missing.contains(&errno));
    let wildcard = address.is_ipv6() && address.ip().is_unspecified();
    (wildcard && is_missing).then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}

/// Whether the listener itself is broken and will never accept again. Other errors concern one connection, or disappear once file
/// descriptors or memory are available again.
#[must_use]
pub fn is_broken(error: &io::Error) -> bool {
    let broken = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::OPNOTSUPP, Errno::FAULT];
    Errno::from_io_error(error).is_some_and(|errno| broken.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_address_and_a_port() {
        for good in ["127.0.0.1:8080", "[::]:0"] {
            assert!(parse_address(good).is_ok(), "{good}");
        }
        for bad in ["localhost:8080", ":8080", "8080", "127.0.0.1", "::1:8080", ""] {
            assert!(parse_address(bad).unwrap_err().contains("127.0.0.1:8080"), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_wildcard_accepts_both_families_and_one_address_only_its_own() {
        let of = |text: &str| listen(text.parse().unwrap()).unwrap();
        let connects = |host: &str, port: u16| {
            std::net::TcpStream::connect((host.parse::<std::net::IpAddr>().unwrap(), port)).is_ok()
        };
        for (address, v4, v6) in [
            ("[::]:0", true, true),
            ("0.0.0.0:0", true, false),
            ("[::1]:0", false, true),
            ("127.0.0.1:0", true, false),
        ] {
            let listener = of(address);
            let port = listener.local_addr().unwrap().port();
            let reached = (connects("127.0.0.1", port), connects("::1", port));
            assert_eq!(reached, (v4, v6), "{address}");
        }
    }

    #[test]
    fn only_a_wildcard_without_ipv6_becomes_one_of_ipv4() {
        let of = |text: &str, errno: Errno| {
            without_ipv6(text.parse().unwrap(), &errno.into()).map(|address| address.to_string())
        };
        assert_eq!(of("[::]:80", Errno::AFNOSUPPORT).as_deref(), Some("0.0.0.0:80"));
        assert_eq!(of("[::]:80", Errno::ADDRNOTAVAIL).as_deref(), Some("0.0.0.0:80"));
        assert_eq!(of("[::]:80", Errno::ADDRINUSE), None, "in use is in use");
        assert_eq!(of("[::1]:80", Errno::AFNOSUPPORT), None, "asked for by name");
        assert_eq!(of("0.0.0.0:80", Errno::ADDRNOTAVAIL), None);
    }

    #[test]
    fn running_out_of_files_is_temporary_and_an_invalid_socket_is_not() {
        for (errno, broken) in [
            (Errno::MFILE, false),
            (Errno::NFILE, false),
            (Errno::NOMEM, false),
            (Errno::CONNABORTED, false),
            (Errno::PERM, false),
            (Errno::INVAL, true),
            (Errno::BADF, true),
        ] {
            assert_eq!(is_broken(&errno.into()), broken, "{errno}");
        }
        assert!(!is_broken(&io::Error::other("another error")));
    }
}
