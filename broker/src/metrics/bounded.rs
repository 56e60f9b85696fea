//! Bounds the number of series of a broker with any number of channels: the channels with the most subscribers have their own series, all
//! others are summed up in series with an empty `channel` label.
//!
//! Every increment of a counter is exported in exactly one series, so that sums of rates are right whichever channels are exported. The own
//! series of a channel begin at 0, as after a restart; its earlier counts are in the sum. When a channel loses its own series, only later
//! increments are added to the sum, not what was exported before: a rate would take that for traffic.

use std::collections::{BTreeMap, HashMap, HashSet};

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::families::Series;

/// Gauges whose sum is meaningful.
const SUMMED_GAUGES: [&str; 5] = [
    "eventcast_subscribers",
    "eventcast_subscribers_catching_up",
    "eventcast_tail_events",
    "eventcast_tail_bytes",
    "eventcast_page_bytes",
];
/// Hysteresis: a channel keeps its own series until another channel has a quarter plus [`KEEP_MARGIN`] more subscribers.
const KEEP_FACTOR: i64 = 4;
const KEEP_MARGIN: i64 = 2;

/// Identifies a sample of a channel: the index of its family, and its labels without the channel.
type SampleKey = (usize, String);

/// The counts of the samples of a channel.
type Counts = HashMap<SampleKey, Value>;

/// The value of a counter, or the sum and the counts of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
struct Value {
    sum: f64,
    /// All observations, and those of each bucket.
    counts: Vec<u64>,
}

/// The counts of one opening of a channel.
#[derive(Default)]
struct Account {
    /// The counts at the last scrape.
    last: Counts,
    /// The counts when it got its own series; `None` while it has none.
    base: Option<Counts>,
}

/// The exported channels, and the sum of what the others have counted.
pub(super) struct Bounded {
    limit: usize,
    /// The series that parked channels share.
    rest: Series,
    accounts: HashMap<u64, Account>,
    /// The names of the channels that had their own series at the last scrape.
    exported: HashSet<Box<str>>,
    /// The counts that were not exported in a channel's own series, with the labels of each sample.
    sum: BTreeMap<SampleKey, (Vec<LabelPair>, Value)>,
}

impl Bounded {
    /// At most `limit` channels have their own series. `rest` are those that parked channels share.
    pub(super) fn new(limit: usize, rest: Series) -> Self {
        Self {
            limit,
            rest,
            accounts: HashMap::new(),
            exported: HashSet::new(),
            sum: BTreeMap::new(),
        }
    }

    /// The families to export for the channels in `served`, which has the number of each opening.
    pub(super) fn collect(&mut self, served: &[(Box<str>, u64, Series)]) -> Vec<MetricFamily> {
        self.choose(served);
        let mut out = Vec::new();
        let mut gauges: HashMap<usize, f64> = HashMap::new();
        for (channel, opening, series) in served {
            let mut families = series.collect();
            if self.exported.contains(channel) {
                self.export(*opening, &mut families);
                out.append(&mut families);
                continue;
            }
            for (place, family) in families.iter().enumerate() {
                if SUMMED_GAUGES.contains(&family.name()) {
                    let values =
                        family.get_metric().iter().map(|metric| metric.get_gauge().get_value());
                    *gauges.entry(place).or_default() += values.sum::<f64>();
                }
            }
            self.add_to_sum(*opening, &families);
            self.accounts.entry(*opening).or_default().base = None;
        }
        out.extend(self.summed(&gauges));
        out
    }

    /// The channel of this opening is no longer served, or its log is parked.
    pub(super) fn retire(&mut self, opening: u64, series: &Series) {
        self.add_to_sum(opening, &series.collect());
        self.accounts.remove(&opening);
    }

    /// Chooses the channels that get their own series.
    fn choose(&mut self, served: &[(Box<str>, u64, Series)]) {
        let rank = |channel: &str, series: &Series| {
            let subscribers = series.subscribers();
            let bonus = subscribers / KEEP_FACTOR + KEEP_MARGIN;
            if self.exported.contains(channel) { subscribers + bonus } else { subscribers }
        };
        let mut ranked: Vec<_> =
            served.iter().map(|(channel, _, series)| (-rank(channel, series), channel)).collect();
        ranked.sort_unstable();
        let chosen = ranked.into_iter().take(self.limit);
        self.exported = chosen.map(|(_, channel)| channel.clone()).collect();
    }

    /// Subtracts from `families`, of a channel with its own series, what it had counted before it got them.
    fn export(&mut self, opening: u64, families: &mut [MetricFamily]) {
        if self.accounts.get(&opening).is_none_or(|account| account.base.is_none()) {
            self.add_to_sum(opening, families);
            let account = self.accounts.entry(opening).or_default();
            account.base = Some(account.last.clone());
        }
        let account = self.accounts.entry(opening).or_default();
        let base = account.base.as_ref();
        for_each_counter(families, |key, metric, kind| {
            let value = Value::of(metric, kind);
            if let Some(base) = base.and_then(|base| base.get(&key)) {
                value.minus(base).write(metric, kind);
            }
            account.last.insert(key, value);
        });
    }

    /// Adds to the sum what was counted since the last scrape.
    fn add_to_sum(&mut self, opening: u64, families: &[MetricFamily]) {
        let account = self.accounts.entry(opening).or_default();
        let mut families = families.to_vec();
        for_each_counter(&mut families, |key, metric, kind| {
            let value = Value::of(metric, kind);
            let new =
                account.last.get(&key).map_or_else(|| value.clone(), |last| value.minus(last));
            let labels = || (metric.get_label().to_vec(), Value::default());
            self.sum.entry(key.clone()).or_insert_with(labels).1.add(&new);
            account.last.insert(key, value);
        });
    }

    /// The series with the empty `channel` label.
    fn summed(&self, gauges: &HashMap<usize, f64>) -> Vec<MetricFamily> {
        let mut families = self.rest.collect();
        let mut written = HashSet::new();
        for_each_counter(&mut families, |key, metric, kind| {
            if let Some((_, sum)) = self.sum.get(&key) {
                let mut value = Value::of(metric, kind);
                value.add(sum);
                value.write(metric, kind);
                written.insert(key);
            }
        });
        for (key, (labels, sum)) in self.sum.iter().filter(|(key, _)| !written.contains(key)) {
            let Some(family) = families.get_mut(key.0) else { continue };
            let mut labels = labels.clone();
            labels
                .iter_mut()
                .filter(|label| label.name() == "channel")
                .for_each(|label| label.set_value(String::new()));
            let mut metric = Metric::from_label(labels);
            sum.write(&mut metric, family.get_field_type());
            family.mut_metric().push(metric);
        }
        for (place, family) in families.iter_mut().enumerate() {
            if family.get_field_type() != MetricType::GAUGE {
                continue;
            }
            if SUMMED_GAUGES.contains(&family.name()) {
                let sum = gauges.get(&place).copied().unwrap_or_default();
                let mut gauge = Gauge::default();
                gauge.set_value(sum);
                family.mut_metric().iter_mut().for_each(|metric| metric.set_gauge(gauge.clone()));
            } else {
                family.mut_metric().clear();
            }
        }
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

impl Value {
    fn of(metric: &Metric, kind: MetricType) -> Self {
        if kind == MetricType::COUNTER {
            return Self { sum: metric.get_counter().get_value(), counts: Vec::new() };
        }
        let histogram = metric.get_histogram();
        let buckets = histogram.get_bucket().iter().map(Bucket::cumulative_count);
        let counts = std::iter::once(histogram.get_sample_count()).chain(buckets).collect();
        Self { sum: histogram.get_sample_sum(), counts }
    }

    fn minus(&self, other: &Self) -> Self {
        let others = other.counts.iter().chain(std::iter::repeat(&0));
        let counts = self.counts.iter().zip(others).map(|(a, b)| a.saturating_sub(*b)).collect();
        Self { sum: self.sum - other.sum, counts }
    }

    fn add(&mut self, other: &Self) {
        self.sum += other.sum;
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
    }

    fn write(&self, metric: &mut Metric, kind: MetricType) {
        if kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(self.sum);
            metric.set_counter(counter);
            return;
        }
        let mut histogram: Histogram = metric.get_histogram().clone();
        histogram.set_sample_sum(self.sum);
        histogram.set_sample_count(self.counts.first().copied().unwrap_or_default());
        let mut buckets = histogram.get_bucket().to_vec();
        for (bucket, count) in buckets.iter_mut().zip(self.counts.iter().skip(1)) {
            bucket.set_cumulative_count(*count);
        }
        histogram.set_bucket(buckets);
        metric.set_histogram(histogram);
    }
}

/// Calls `each` for every counter and histogram of `families`.
fn for_each_counter(
    families: &mut [MetricFamily],
    mut each: impl FnMut(SampleKey, &mut Metric, MetricType),
) {
    for (place, family) in families.iter_mut().enumerate() {
        let kind = family.get_field_type();
        if !matches!(kind, MetricType::COUNTER | MetricType::HISTOGRAM) {
            continue;
        }
        for metric in family.mut_metric() {
            let mut labels = String::new();
            for label in metric.get_label().iter().filter(|label| label.name() != "channel") {
                labels.extend([label.name(), "\n", label.value(), "\n"]);
            }
            each((place, labels), metric, kind);
        }
    }
}
