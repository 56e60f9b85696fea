//! The parameters of a run, and the topics, types and filters that it draws from.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;

use super::Start;
use crate::{
    filter::{Filter, matches},
    issuer::Issuer,
};

/// The type of the last event of a run. It passes every filter.
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

/// The parameters of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many publishers there are.
    pub publishers: usize,
    /// The mean time between two events of one publisher.
    pub publish_every: Duration,
    /// How long a publisher repeats an event that is not acknowledged.
    pub publish_within: Duration,
    /// The most bytes of padding in an event.
    pub padding: usize,
    /// How many subscribers there are.
    pub subscribers: usize,
    /// Whether the log keeps all events. If not, subscribers start at its end or at a cursor, because a subscriber that starts at
    /// the beginning does not learn of the events that the log has deleted.
    pub retained: bool,
    /// The mean time until a subscriber reconnects.
    pub stay: Duration,
    /// The mean time until a subscriber connects first.
    pub arrive: Duration,
    /// Whether subscribers wait as long as the broker asks before they reconnect, as browsers do. Otherwise they come back sooner.
    pub obeys_retry: bool,
    /// The share of connections that are cut after their first cursor, before the first event.
    pub cut_early: f64,
    /// The share of subscribers that use HTTP/2.
    pub http2: f64,
    /// The share of subscribers that read their socket directly and disconnect with a reset.
    pub abrupt: f64,
    /// The share of subscribers that sometimes stop reading. They have small receive buffers.
    pub slow: f64,
    /// The mean time for which they stop.
    pub slow_pause: Duration,
    /// The share of subscribers without a filter.
    pub unfiltered: f64,
    /// Who issues the tokens of subscribers with a grant. The channel trusts it, and is open to everybody else. `None`: nobody has a
    /// token.
    pub issuer: Option<Arc<Issuer>>,
    /// The share of subscribers with a grant, if there is an issuer. They read what it covers, and it ends every few seconds: they
    /// renew it, or open a new stream with a new token.
    pub granted: f64,
    /// The seed of all random choices; `LEDGER_SEED` sets it.
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
            obeys_retry: false,
            cut_early: 0.2,
            http2: 0.2,
            abrupt: 0.3,
            slow: 0.1,
            slow_pause: Duration::from_millis(700),
            unfiltered: 0.3,
            issuer: None,
            granted: 0.2,
            seed: seed.unwrap_or_else(|| fastrand::u64(..)),
        }
    }
}

impl Plan {
    /// The random choices of one publisher or subscriber, the same in every run with this seed.
    pub(super) fn rng(&self, role: u64, index: usize) -> Rng {
        Rng::with_seed(self.seed ^ (role << 32) ^ index as u64)
    }
}

/// A random start position, `now` since the beginning of the run, with the cursors known so far. A third of the subscribers start
/// at the first event, where they are due the most.
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
    Filter { topics, types, granted: Vec::new() }
}

/// Narrows what `filter` asks for to what is `granted`. A pattern that has nothing in common with it is left out, because the broker
/// refuses it.
pub(super) fn narrow(filter: &mut Filter, granted: Vec<String>) {
    let is_granted = |topic: &str| granted.iter().any(|pattern| matches(pattern, topic));
    let overlaps = |asked: &str| TOPICS.iter().any(|t| matches(asked, t) && is_granted(t));
    filter.topics.retain(|asked| overlaps(asked));
    filter.granted = granted;
}

/// A random duration, exponentially distributed.
pub(super) fn exponential(rng: &mut Rng, mean: Duration) -> Duration {
    mean.mul_f64(-(1.0 - rng.f64()).ln())
}

fn pick<T: AsRef<str>>(rng: &mut Rng, from: &[T]) -> String {
    from[rng.usize(..from.len())].as_ref().to_owned()
}
