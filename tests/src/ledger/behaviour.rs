//! How a subscriber of the ledger reads its streams.

use fastrand::Rng;

use super::Plan;
use crate::http::Version;

/// The receive buffer of slow subscribers: small, so that the broker's writes block.
const SMALL_RECEIVE_BUFFER: u32 = 4096;

/// How one subscriber behaves.
#[derive(Debug)]
pub(super) struct Behaviour {
    pub(super) version: Version,
    pub(super) receive_buffer: Option<u32>,
    pub(super) slow: bool,
}

impl Behaviour {
    /// A random one.
    pub(super) fn draw(rng: &mut Rng, plan: &Plan) -> Self {
        if rng.f64() < plan.slow {
            return Self {
                version: Version::Http1,
                receive_buffer: Some(SMALL_RECEIVE_BUFFER),
                slow: true,
            };
        }
        let draw = rng.f64();
        let version = if draw < plan.http2 { Version::Http2 } else { Version::Http1 };
        let abrupt = (plan.http2..plan.http2 + plan.abrupt).contains(&draw);
        Self { version, receive_buffer: abrupt.then_some(64 << 10), slow: false }
    }
}
