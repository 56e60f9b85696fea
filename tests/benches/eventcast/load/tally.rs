//! What arrived: at each subscriber, of each event, and how late.
//!
//! Every subscriber keeps a count, the last number and a sum over all numbers, in which a missing event and one that came twice
//! do not cancel out; so whether everyone got exactly what was due is known without a list for each.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::scan::Scan;
use crate::measure::Histogram;

/// One subscriber.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    pub(super) scan: Scan,
    /// Events so far.
    pub(crate) count: u32,
    /// Number of the last event; 0 before the first.
    pub(crate) last: u32,
    /// Sum of [`weight`] over all numbers.
    pub(crate) sum: u64,
}

impl Subscriber {
    pub(super) fn new() -> Self {
        Self { scan: Scan::Seek, count: 0, last: 0, sum: 0 }
    }
}

/// One event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// When it was published, or was to be.
    pub(crate) sent: Option<Instant>,
    /// When it reached the last subscriber so far.
    pub(crate) last: Option<Instant>,
    /// Subscribers that it reached.
    pub(crate) count: u32,
}

/// Of all subscribers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By number of the event.
    pub(crate) arrivals: Vec<Arrival>,
    /// Events at subscribers, all together.
    pub(crate) deliveries: u64,
    /// From publish to subscriber, of each delivery of an event whose publish is known.
    pub(crate) latencies: Histogram,
    /// Numbers that came after a greater one at the same subscriber.
    pub(crate) disorder: u64,
    /// Publishers race from the event after this one: the log may have their events in another order.
    pub(crate) races_after: Option<u32>,
    /// When anything last arrived.
    pub(crate) last: Option<Instant>,
}

impl Tally {
    /// The publish of an event.
    pub(crate) fn sent(&mut self, number: u32, at: Instant) {
        self.at(number).sent = Some(at);
    }

    fn at(&mut self, number: u32) -> &mut Arrival {
        let index = number as usize;
        if self.arrivals.len() <= index {
            self.arrivals.resize(index + 1, Arrival::default());
        }
        &mut self.arrivals[index]
    }

    pub(super) fn arrived(&mut self, subscriber: &mut Subscriber, number: u32, now: Instant) {
        let late = number <= subscriber.last && subscriber.count > 0;
        self.disorder += u64::from(late && self.races_after.is_none_or(|after| number <= after));
        subscriber.count += 1;
        subscriber.last = number;
        subscriber.sum = subscriber.sum.wrapping_add(weight(number));
        self.deliveries += 1;
        self.last = Some(now);
        let arrival = self.at(number);
        arrival.count += 1;
        arrival.last = Some(now);
        if let Some(sent) = arrival.sent {
            self.latencies.add(now.saturating_duration_since(sent));
        }
    }

    /// How long an event took to its last subscriber.
    ///
    /// # Errors
    /// When it did not reach exactly so many.
    pub(crate) fn to_last(&self, number: u32, subscribers: u32) -> Result<Duration> {
        let arrival = self.arrivals.get(number as usize).copied().unwrap_or_default();
        let count = arrival.count;
        ensure!(
            count == subscribers,
            "event {number} reached {count} of {subscribers} subscribers"
        );
        let (Some(sent), Some(last)) = (arrival.sent, arrival.last) else {
            anyhow::bail!("event {number} was not published");
        };
        Ok(last.saturating_duration_since(sent))
    }
}

/// Scrambles a number, so that sums tell sets apart.
pub(crate) fn weight(number: u32) -> u64 {
    let x = (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// What subscribers must have got: all numbers of a range.
pub(crate) fn due(numbers: std::ops::Range<u32>) -> (u32, u64) {
    let count = numbers.end - numbers.start;
    (count, numbers.fold(0, |sum: u64, number| sum.wrapping_add(weight(number))))
}
