//! Ports for children that must come back on the same port after a kill.
//!
//! They lie below the range the kernel gives to outgoing connections: a port inside it can be taken by any client while the
//! child is dead, and a client that knocks at the dead port can even connect to itself.

use std::{collections::BTreeSet, fs, net::TcpListener};

use anyhow::{Result, bail};
use parking_lot::Mutex;

/// Handed out by this process, so that no two children are given the same.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Lowest port that is tried.
const FLOOR: u16 = 10_000;

/// `count` different ports on loopback that nobody listens on.
///
/// # Errors
/// When none can be found.
pub fn reserve(count: usize) -> Result<Vec<u16>> {
    let ceiling = ephemeral_floor().max(FLOOR + 1000);
    let mut taken = TAKEN.lock();
    let mut held = Vec::new(); // all are held until the last is found
    for _ in 0..10_000 {
        if held.len() == count {
            return Ok(held.into_iter().map(|(port, _)| port).collect());
        }
        let port = fastrand::u16(FLOOR..ceiling);
        if taken.contains(&port) {
            continue;
        }
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            taken.insert(port);
            held.push((port, listener));
        }
    }
    bail!("no {count} free ports in {FLOOR}..{ceiling}")
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
    use super::*;

    #[test]
    fn ports_are_free_and_different() {
        let ports = reserve(20).unwrap();
        let different: BTreeSet<_> = ports.iter().collect();
        assert_eq!(different.len(), 20);
        for port in ports {
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }
}
