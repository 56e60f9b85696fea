//! Statistics: numbers of events by type, topic, source and time.

use std::{collections::BTreeMap, sync::Arc};

use eventcast_wire::{
    event::{Event, Kind},
    filter::Filter,
    frame,
    gap::Gap,
};
use serde::Serialize;

use super::{Range, ScanBudget, history::time, scan};
use crate::clock::has_expired;
use crate::log::{Log, Unavailable};

/// Distinct names of one kind, and time buckets, that are counted separately. The rest is counted together.
const MAX_GROUPS: usize = 1000;

#[derive(Default, Serialize)]
#[serde(transparent)]
struct NameCounts {
    counts: BTreeMap<String, u64>,
}

impl NameCounts {
    /// Counts `name`. Returns 1 if it was not counted, because there are too many names already, else 0.
    fn count(&mut self, name: &str) -> u64 {
        if let Some(n) = self.counts.get_mut(name) {
            *n += 1;
        } else if self.counts.len() < MAX_GROUPS {
            self.counts.insert(name.to_owned(), 1);
        } else {
            return 1;
        }
        0
    }
}

#[derive(Serialize)]
struct Bucket {
    start: String,
    events: u64,
}

#[derive(Default, Serialize)]
struct Other {
    types: u64,
    topics: u64,
    sources: u64,
    buckets: u64,
}

/// Which events are counted, and how.
pub(crate) struct StatsRequest {
    pub(crate) filter: Filter,
    pub(crate) bucket_seconds: u64,
    pub(crate) budget: ScanBudget,
}

/// The counts of a range.
#[derive(Serialize)]
pub(crate) struct Stats {
    events: u64,
    bytes: u64,
    types: NameCounts,
    topics: NameCounts,
    sources: NameCounts,
    buckets: Vec<Bucket>,
    other: Other,
    /// The cursor where the next scan starts, unless this one completes the range.
    pub(crate) next: Option<String>,
    complete: bool,
    scanned: usize,
    gap: Option<Gap>,
}

#[derive(Default)]
struct Counts {
    events: u64,
    bytes: u64,
    types: NameCounts,
    topics: NameCounts,
    sources: NameCounts,
    buckets: BTreeMap<i64, u64>,
    other: Other,
}

impl Counts {
    fn count(&mut self, event: &Event, bucket_nanos: i64) {
        self.events += 1;
        self.bytes += frame::data_len(&event.chunk.frame()) as u64;
        self.other.types += self.types.count(event.type_name());
        self.other.topics += self.topics.count(event.topic.as_deref().unwrap_or_default());
        self.other.sources += self.sources.count(event.source.as_deref().unwrap_or_default());
        let start = event.nanos.div_euclid(bucket_nanos) * bucket_nanos;
        if self.buckets.len() < MAX_GROUPS || self.buckets.contains_key(&start) {
            *self.buckets.entry(start).or_default() += 1;
        } else {
            self.other.buckets += 1;
        }
    }
}

impl Stats {
    /// Counts the events of `range` that pass the filter.
    ///
    /// # Errors
    /// The log cannot be read at the moment.
    pub(crate) async fn read(
        log: &Arc<Log>,
        range: Range,
        request: &StatsRequest,
    ) -> Result<Self, Unavailable> {
        let incarnation = range.incarnation;
        let bucket_nanos =
            i64::try_from(request.bucket_seconds).unwrap_or(60).saturating_mul(1_000_000_000);
        let mut counts = Counts::default();
        let scanned = scan(log, range, false, request.budget, |event| {
            if event.kind == Kind::Data && !has_expired(event) && request.filter.passes(event) {
                counts.count(event, bucket_nanos);
            }
            true
        })
        .await?;
        let Counts { events, bytes, types, topics, sources, buckets, other } = counts;
        let bucket = |(start, events)| Bucket { start: time(start), events };
        Ok(Self {
            events,
            bytes,
            types,
            topics,
            sources,
            buckets: buckets.into_iter().map(bucket).collect(),
            other,
            next: scanned.cursor(incarnation),
            complete: scanned.complete,
            scanned: scanned.events,
            gap: scanned.gap,
        })
    }
}
