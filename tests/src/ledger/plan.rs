//! How a run looks: how many, how fast, how rude; and the topics, types and filters it draws from.

use std::time::Duration;

use fastrand::Rng;

use super::Start;
use crate::filter::Filter;

/// Type of the last event of a run; every filter lets it pass.
pub const END_TYPE: &str = "ledger.end";

const TOPICS: [&str; 12] = [
    "user.1",
    "user.2",
    "user.3",
    "user.42",
    "user.1.mail",
    "orders",
    "orders.eu.paid",
    "orders.us.paid",
    "orders.eu.refunded",
    "a.b.c.d",
    "a.x.c.d",
    "stadt.köln",
];
const TYPES: [&str; 6] =
    ["order.paid", "order.refund.done", "chat", "tick", "user joined", "order"];
const TOPIC_PATTERNS: [&str; 14] = [
    "user.1",
    "user.42",
    "user.*",
    "user.>",
    "orders.>",
    "orders.*.paid",
    "*.eu.*",
    "orders",
    "a.*.c.>",
    "a.b.>",
    "*",
    ">",
    "nobody.is.here",
    "stadt.köln",
];
const TYPE_PATTERNS: [&str; 8] =
    ["order.*", "order.>", "order", "chat", "message", "tick", "*", "user joined"];

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Publishers at once.
    pub publishers: usize,
    /// Mean time between two events of one publisher.
    pub publish_every: Duration,
    /// How long one event is repeated.
    pub publish_within: Duration,
    /// Bytes of padding in an event, at most.
    pub padding: usize,
    /// Subscribers.
    pub subscribers: usize,
    /// Whether the log keeps everything. Else subscribers begin at its end or at a cursor: what lies between the first event
    /// that there was and the first that there is, nobody is told who does not come from there.
    pub retained: bool,
    /// Mean time until a subscriber reconnects by itself.
    pub stay: Duration,
    /// Mean time until a subscriber begins.
    pub arrive: Duration,
    /// Share of connections that are cut as soon as they have told a cursor, before the first event.
    pub curt: f64,
    /// Share of subscribers on HTTP/2.
    pub http2: f64,
    /// Share of subscribers that read their socket directly and cut it with a reset.
    pub abrupt: f64,
    /// Share of subscribers that stop reading now and then; they have small receive buffers.
    pub slow: f64,
    /// Share of subscribers without a filter.
    pub unfiltered: f64,
    /// Seed of all choices; `LEDGER_SEED` sets it.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        let seed = std::env::var("LEDGER_SEED").ok().and_then(|text| text.parse().ok());
        Self {
            publishers: 8,
            publish_every: Duration::from_millis(50),
            publish_within: Duration::from_secs(60),
            padding: 200,
            subscribers: 100,
            retained: true,
            stay: Duration::from_secs(4),
            arrive: Duration::from_secs(2),
            curt: 0.2,
            http2: 0.2,
            abrupt: 0.3,
            slow: 0.1,
            unfiltered: 0.3,
            seed: seed.unwrap_or_else(|| fastrand::u64(..)),
        }
    }
}

impl Plan {
    /// The choices of one publisher or subscriber, the same in every run with this seed.
    pub(super) fn rng(&self, role: u64, index: usize) -> Rng {
        Rng::with_seed(self.seed ^ (role << 32) ^ index as u64)
    }
}

/// A start of any kind: at `now` of the run, with the cursors that are known. A third is the beginning, where most is due.
pub(super) fn random_start(
    rng: &mut Rng,
    retained: bool,
    now: Duration,
    cursors: &[String],
) -> Start {
    match rng.u8(..9) {
        _ if !retained => match rng.u8(..3) {
            0 if !cursors.is_empty() => Start::Cursor(pick(rng, cursors)),
            1 => Start::Default,
            _ => Start::Latest,
        },
        0 => Start::Latest,
        1 => Start::Default,
        2 => Start::Last(rng.usize(1..=50)),
        3 => Start::Ago(Duration::from_secs(rng.u64(1..=5))),
        4 => Start::Time(now.mul_f64(rng.f64())),
        5 if !cursors.is_empty() => Start::Cursor(pick(rng, cursors)),
        _ => Start::Earliest,
    }
}

/// A topic, or a broadcast one time in five.
pub(super) fn random_topic(rng: &mut Rng) -> Option<String> {
    (rng.f64() >= 0.2).then(|| pick(rng, &TOPICS))
}

/// A type, or none one time in four.
pub(super) fn random_type(rng: &mut Rng) -> Option<String> {
    (rng.f64() >= 0.25).then(|| pick(rng, &TYPES))
}

/// Up to three patterns of each kind. [`END_TYPE`] passes every one of them.
#[must_use]
pub fn random_filter(rng: &mut Rng) -> Filter {
    let mut draw = |patterns: &[&str]| -> Vec<String> {
        (0..rng.usize(..4)).map(|_| pick(rng, patterns)).collect()
    };
    let (topics, mut types) = (draw(&TOPIC_PATTERNS), draw(&TYPE_PATTERNS));
    if !types.is_empty() {
        types.push(END_TYPE.to_owned());
    }
    Filter { topics, types }
}

/// A duration with this mean, exponentially distributed.
pub(super) fn around(rng: &mut Rng, mean: Duration) -> Duration {
    mean.mul_f64(-(1.0 - rng.f64()).ln())
}

fn pick<T: AsRef<str>>(rng: &mut Rng, from: &[T]) -> String {
    from[rng.usize(..from.len())].as_ref().to_owned()
}
