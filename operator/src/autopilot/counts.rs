//! What is known of the brokers: what they report now, what they reported lately, and guesses for those that do not answer.

use std::{collections::BTreeMap, time::Duration};

use super::input::{Broker, Count};

/// Age up to which a count is used as it is.
const MAX_AGE: Duration = Duration::from_secs(45);

/// The last counts of brokers, by the name of the pod.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(BTreeMap<String, Known>);

#[derive(Clone, Debug)]
struct Known {
    at: Duration,
    count: Count,
    /// The processor time between the last two counts, in thousandths of the request.
    cpu: Option<u64>,
}

/// The brokers in one look.
#[derive(Debug)]
pub(super) struct Look<'a> {
    /// All brokers, in the order of their names.
    pub(super) brokers: Vec<Counted<'a>>,
    /// Whether the count of a ready broker is a guess.
    pub(super) missing: bool,
    /// Whether there is nothing to guess a missing count from.
    pub(super) blind: bool,
    /// Streams of all brokers. Those of terminating ones come back to the others.
    pub(super) total: u64,
    /// Streams that were closed for balance since the last look.
    pub(super) shed: u64,
    /// Mean processor time of the ready brokers in thousandths of the request; `None` if it is not known.
    pub(super) cpu: Option<u64>,
    /// Whether over half of the ready brokers do not follow the log.
    pub(super) mostly_not_live: bool,
}

/// A broker and its streams.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    pub(super) broker: &'a Broker,
    pub(super) streams: u64,
    /// Whether the number is not a guess.
    pub(super) known: bool,
}

impl Counted<'_> {
    /// Whether it gets new streams, and keeps those it has.
    pub(super) fn serves(&self) -> bool {
        self.broker.ready_for.is_some() && !self.broker.terminating
    }
}

impl Look<'_> {
    /// The brokers that get new streams.
    pub(super) fn serving(&self) -> impl Iterator<Item = &Counted<'_>> {
        self.brokers.iter().filter(|counted| counted.serves())
    }
}

impl Counts {
    /// Remembers what `brokers` report, forgets brokers that are gone, and guesses what is missing.
    pub(super) fn look<'a>(
        &mut self,
        now: Duration,
        max_streams: u64,
        brokers: &'a [Broker],
    ) -> Look<'a> {
        let shed = sum(brokers.iter().map(|broker| self.update(now, max_streams, broker)));
        self.0.retain(|name, _| brokers.iter().any(|broker| broker.name == *name));
        let mut all: Vec<_> = brokers.iter().map(|broker| self.counted(now, broker)).collect();
        all.sort_by(|a, b| a.broker.name.cmp(&b.broker.name));
        let mut look = Look {
            brokers: all,
            missing: false,
            blind: false,
            total: 0,
            shed,
            cpu: None,
            mostly_not_live: false,
        };
        let known: Vec<_> = look.serving().filter(|c| c.known).collect();
        let counts: Vec<_> = known.iter().filter_map(|c| self.0.get(&c.broker.name)).collect();
        let mean = mean(known.iter().map(|c| c.streams));
        look.cpu = self::mean(counts.iter().filter_map(|known| known.cpu));
        look.mostly_not_live = counts.iter().filter(|k| !k.count.live).count() * 2 > counts.len();
        for counted in look.brokers.iter_mut().filter(|c| c.serves() && !c.known) {
            look.missing = true;
            let last = self.0.get(&counted.broker.name).map(|known| known.count.streams);
            // A broker that has just started is not full yet. Taken for full, it would make the autopilot add more.
            let is_new = last.is_none() && counted.broker.ready_for <= Some(MAX_AGE);
            counted.streams = if is_new { 0 } else { last.unwrap_or(0).max(mean.unwrap_or(0)) };
            look.blind |= last.is_none() && mean.is_none();
        }
        look.total = sum(look.brokers.iter().map(|counted| counted.streams));
        look
    }

    /// Remembers what `broker` reports, and returns how many streams it has closed since its last report.
    fn update(&mut self, now: Duration, max_streams: u64, broker: &Broker) -> u64 {
        let Some(count) = &broker.count else { return 0 };
        let streams = count.streams.min(max_streams);
        let before = self.0.get(&broker.name);
        let cpu = before.and_then(|before| cpu(before, now, count));
        // A counter that is smaller than before began anew, with the process.
        let shed = before
            .map_or(0, |before| count.shed.checked_sub(before.count.shed).unwrap_or(count.shed));
        let count = Count { streams, ..count.clone() };
        self.0.insert(broker.name.clone(), Known { at: now, count, cpu });
        shed
    }

    /// The last count, if it is recent. Without one a broker that does not serve has no streams: it has just started, or its clients have
    /// gone elsewhere.
    fn counted<'a>(&self, now: Duration, broker: &'a Broker) -> Counted<'a> {
        let last = self.0.get(&broker.name);
        let recent = last.filter(|known| now.saturating_sub(known.at) <= MAX_AGE);
        let streams = recent.map_or(0, |known| known.count.streams);
        Counted { broker, streams, known: recent.is_some() }
    }
}

/// The processor time since `before`, in thousandths of the request.
fn cpu(before: &Known, now: Duration, count: &Count) -> Option<u64> {
    let used = count.cpu_millis_total?.checked_sub(before.count.cpu_millis_total?)?;
    let available = now.checked_sub(before.at)?.as_millis() * u128::from(count.cpu_request_millis);
    u64::try_from((u128::from(used) * 1_000_000).checked_div(available)?).ok()
}

/// The mean, rounded up; `None` of nothing.
fn mean(numbers: impl Iterator<Item = u64>) -> Option<u64> {
    let (sum, count) =
        numbers.fold((0u64, 0), |(sum, count), n| (sum.saturating_add(n), count + 1));
    (count > 0).then(|| sum.div_ceil(count))
}

/// The sum. A broker may report any number.
pub(super) fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}
