//! History: past events, page by page.

use std::sync::Arc;

use eventcast_wire::{
    event::{Event, Kind},
    filter::Filter,
    frame,
    gap::Gap,
};
use serde::Serialize;

use super::{Range, ScanBudget, scan};
use crate::clock::has_expired;
use crate::log::{Log, Unavailable};

/// The order of the events of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

/// An event of a page.
#[derive(Serialize)]
struct Entry {
    cursor: String,
    time: String,
    #[serde(rename = "type")]
    event_type: String,
    topic: Option<String>,
    source: Option<String>,
    id: Option<String>,
    data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

/// A page of history.
#[derive(Serialize)]
pub(crate) struct History {
    events: Vec<Entry>,
    /// The cursor where the next page starts, unless this one completes the range.
    pub(crate) next: Option<String>,
    complete: bool,
    scanned: usize,
    gap: Option<Gap>,
}

impl History {
    /// Reads up to `limit` events of `range` that pass `filter`.
    ///
    /// # Errors
    /// The log cannot be read at the moment.
    pub(crate) async fn read(
        log: &Arc<Log>,
        range: Range,
        filter: &Filter,
        order: Order,
        limit: usize,
        budget: ScanBudget,
    ) -> Result<Self, Unavailable> {
        let incarnation = range.incarnation;
        let mut found: Vec<Arc<Event>> = Vec::new();
        let scanned = scan(log, range, order == Order::Descending, budget, |event| {
            if event.kind == Kind::Data && !has_expired(event) && filter.passes(event) {
                found.push(Arc::clone(event));
            }
            found.len() < limit
        })
        .await?;
        let entry = |e: &Arc<Event>| Entry {
            cursor: e.cursor(incarnation.epoch).to_string(),
            time: time(e.nanos),
            event_type: e.type_name().to_owned(),
            topic: e.topic.as_deref().map(Into::into),
            source: e.source.as_deref().map(Into::into),
            id: e.id.as_deref().map(Into::into),
            data: frame::data(&e.chunk.frame()),
            traceparent: e.trace.as_ref().map(ToString::to_string),
        };
        Ok(Self {
            events: found.iter().map(entry).collect(),
            next: scanned.cursor(incarnation),
            complete: scanned.complete,
            scanned: scanned.events,
            gap: scanned.gap,
        })
    }
}

/// Formats nanoseconds since 1970 as RFC 3339.
pub(super) fn time(nanos: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(nanos)).map(|t| t.to_string()).unwrap_or_default()
}
