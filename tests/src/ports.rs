//! Ports for children that must come back on the same port after a kill.
//!
//! They lie below the range that the kernel gives to outgoing connections. A port inside that range can be taken by any client
//! while the child is dead, and a client that connects to the dead port can even connect to itself.

use std::{
    fs, io,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use anyhow::{Result, bail};
use parking_lot::Mutex;

/// One socket for each port that this process has reserved. Tests run in processes of their own, so the reservation must be
/// visible to all of them: it is an abstract Unix socket named after the port, which the kernel frees when the process ends.
static RESERVED: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());

/// Lowest port that is tried.
const FLOOR: u16 = 10_000;

/// `count` different ports on loopback that nobody listens on and no other test has reserved.
///
/// # Errors
/// When none can be found.
pub fn reserve(count: usize) -> Result<Vec<u16>> {
    let ceiling = ephemeral_floor().max(FLOOR + 1000);
    let mut ports = Vec::new();
    for _ in 0..10_000 {
        if ports.len() == count {
            return Ok(ports);
        }
        let port = fastrand::u16(FLOOR..ceiling);
        let Ok(claim) = claim(port) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            RESERVED.lock().push(claim);
            ports.push(port);
        }
    }
    bail!("no {count} free ports in {FLOOR}..{ceiling}")
}

/// Fails when a process has reserved the port.
fn claim(port: u16) -> io::Result<UnixDatagram> {
    let name = SocketAddr::from_abstract_name(format!("eventcast-tests-port-{port}"))?;
    UnixDatagram::bind_addr(&name)
}

/// Where the kernel's range for outgoing connections begins.
fn ephemeral_floor() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_free_different_and_reserved_once() {
        let ports = reserve(20).unwrap();
        let different: BTreeSet<_> = ports.iter().collect();
        assert_eq!(different.len(), 20);
        for port in ports {
            TcpListener::bind(("127.0.0.1", port)).unwrap();
            assert!(claim(port).is_err(), "{port} can be reserved twice");
        }
    }
}
