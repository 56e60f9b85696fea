//! The spans of a broker. This is the only module of the broker that uses the OpenTelemetry API.
//!
//! A span exists only if tracing is on and its trace is sampled; otherwise the functions here return `None`. It ends when it is dropped.
//! Deliveries have no span for each subscriber: a channel may have 100,000.

mod parent;

use std::{
    num::NonZeroU32,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use eventcast_runtime::traces::{names, tracer};
use eventcast_wire::{
    event::{Draft, Event},
    trace_context::TraceContext,
};
use governor::{DefaultDirectRateLimiter, Quota};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Link, Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, TraceState,
        Tracer as _,
    },
};
use opentelemetry_sdk::trace::Span;
use tokio::time::Instant;

pub(crate) use parent::Parent;
use parent::span_context;

use crate::clock::now_nanos;

/// Links of a span, as the specification limits them.
const MAX_LINKS: usize = 128;
/// Spans of attempts to append within one request.
const MAX_APPEND_SPANS: u32 = 128;
/// Spans of passes in a second, in the whole process.
const FANOUT_SPANS_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();

static FANOUTS: LazyLock<DefaultDirectRateLimiter> =
    LazyLock::new(|| DefaultDirectRateLimiter::direct(Quota::per_second(FANOUT_SPANS_PER_SECOND)));

/// A span that is recorded.
struct Recorded {
    span: Span,
    context: TraceContext,
}

impl Recorded {
    /// Begins a span with a parent, about a channel if its name has one. `None` if there are no traces, or this one is not sampled.
    fn begin(builder: SpanBuilder, channel: Option<&str>, parent: &Context) -> Option<Self> {
        let operation = builder.name.clone();
        let mut span = tracer()?.build_with_context(builder, parent);
        if !span.is_recording() {
            return None;
        }
        // The name is built only now: most spans are not sampled, and the sampler does not use names.
        if let Some(channel) = channel {
            span.update_name(format!("{operation} {channel}"));
        }
        let of = span.span_context();
        let context = TraceContext {
            trace_id: of.trace_id().to_bytes(),
            span_id: of.span_id().to_bytes(),
            flags: of.trace_flags().to_u8() & (TraceContext::SAMPLED | TraceContext::RANDOM),
        };
        context.is_sampled().then_some(Self { span, context })
    }

    fn set(&mut self, name: &'static str, value: impl Into<opentelemetry::Value>) {
        self.span.set_attribute(KeyValue::new(name, value));
    }

    fn messaging(&mut self, operation: &'static str, kind: &'static str, channel: &str) {
        self.set(names::MESSAGING_SYSTEM, names::NATS);
        self.set(names::MESSAGING_OPERATION_NAME, operation);
        self.set(names::MESSAGING_OPERATION_TYPE, kind);
        self.set(names::MESSAGING_DESTINATION, channel.to_owned());
    }

    fn fail(&mut self, error: &'static str) {
        self.set(names::ERROR_TYPE, error);
        self.span.set_status(Status::error(error));
    }

    /// The context of spans below it.
    fn child_context(&self) -> Context {
        Context::new().with_remote_span_context(self.span.span_context().clone())
    }
}

/// A number as the value of an attribute.
fn integer(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// `send <channel>`: the events of a publish request on their way to the log.
pub(crate) struct SendSpan {
    recorded: Recorded,
    appends: Appends,
}

/// The parent of the spans of attempts to append.
pub(crate) struct Appends {
    parent: Context,
    channel: Arc<str>,
    begun: AtomicU32,
}

impl SendSpan {
    /// Events with their own trace contexts are linked. If the request has no trace context and contains one such event, that event is the
    /// parent.
    pub(crate) fn begin(
        channel: &Arc<str>,
        parent: Option<&Parent>,
        drafts: &[Draft],
    ) -> Option<Self> {
        tracer()?;
        let of_event = match drafts {
            [one] if parent.is_none() => one.trace.as_ref().map(Parent::remote),
            _ => None,
        };
        let parent = parent.or(of_event.as_ref());
        let context = parent.map_or_else(Context::new, Parent::context);
        let traced = drafts.iter().filter_map(|draft| draft.trace.as_ref()).take(MAX_LINKS);
        let links: Vec<_> = traced
            .filter(|trace| parent.is_none_or(|parent| parent.context != **trace))
            .map(|trace| Link::with_context(span_context(trace, TraceState::default())))
            .collect();
        let mut builder = SpanBuilder::from_name("send").with_kind(SpanKind::Producer);
        if !links.is_empty() {
            builder = builder.with_links(links);
        }
        let mut recorded = Recorded::begin(builder, Some(channel), &context)?;
        recorded.messaging("send", "send", channel);
        recorded.set(names::MESSAGING_BATCH_COUNT, integer(drafts.len()));
        let appends = Appends {
            parent: recorded.child_context(),
            channel: Arc::clone(channel),
            begun: AtomicU32::new(0),
        };
        Some(Self { recorded, appends })
    }

    /// The trace context of the span.
    pub(crate) fn context(&self) -> TraceContext {
        self.recorded.context
    }

    pub(crate) fn appends(&self) -> &Appends {
        &self.appends
    }

    /// Ends the span with the outcome of the events: `stored`, `duplicate`, or why not all were stored. `sequence` is that of the last
    /// event.
    pub(crate) fn end(mut self, outcome: &'static str, is_failure: bool, sequence: Option<u64>) {
        self.recorded.set(names::OUTCOME, outcome);
        if let Some(sequence) = sequence {
            self.recorded.set(names::SEQUENCE, integer(sequence));
        }
        if is_failure {
            self.recorded.fail(outcome);
        }
    }
}

/// `append`: one attempt to append one event.
pub(crate) struct AppendSpan(Recorded);

impl Appends {
    pub(crate) fn begin(&self) -> Option<AppendSpan> {
        if self.begun.fetch_add(1, Relaxed) >= MAX_APPEND_SPANS {
            return None;
        }
        let builder = SpanBuilder::from_name("append").with_kind(SpanKind::Client);
        let mut recorded = Recorded::begin(builder, None, &self.parent)?;
        recorded.messaging("append", "send", &self.channel);
        Some(AppendSpan(recorded))
    }
}

impl AppendSpan {
    pub(crate) fn stored(mut self, sequence: u64, is_duplicate: bool) {
        self.0.set(names::OUTCOME, if is_duplicate { "duplicate" } else { "stored" });
        self.0.set(names::SEQUENCE, integer(sequence));
    }

    pub(crate) fn failed(mut self, outcome: &'static str) {
        self.0.set(names::OUTCOME, outcome);
        self.0.fail(outcome);
    }
}

/// `fanout <channel>`: a pass over the caught-up subscribers of one shard.
pub(crate) struct FanoutSpan(Recorded);

impl FanoutSpan {
    /// Begins the span of a pass over `events`, if one of them is in a sampled trace.
    pub(crate) fn begin(channel: &str, events: &[Arc<Event>]) -> Option<Box<Self>> {
        let mut traced = events.iter().filter_map(|event| Some((event, event.trace.as_deref()?)));
        let (first, trace) = traced.next()?;
        tracer()?;
        FANOUTS.check().ok()?;
        let links = traced
            .take(MAX_LINKS)
            .map(|(_, trace)| Link::with_context(span_context(trace, TraceState::default())));
        let builder = SpanBuilder::from_name("fanout")
            .with_kind(SpanKind::Consumer)
            .with_links(links.collect());
        let mut recorded =
            Recorded::begin(builder, Some(channel), &Parent::remote(trace).context())?;
        recorded.messaging("fanout", "process", channel);
        recorded.set(names::MESSAGING_BATCH_COUNT, integer(events.len()));
        if let Some(received) = first.received {
            let since = Instant::now().saturating_duration_since(Instant::from_std(received));
            let nanos = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
            let arrived = now_nanos().saturating_sub(nanos);
            #[expect(clippy::cast_precision_loss, reason = "a latency")]
            let seconds = arrived.saturating_sub(first.nanos).max(0) as f64 / 1e9;
            recorded.set(names::LOG_TO_TAIL, seconds);
        }
        Some(Box::new(Self(recorded)))
    }

    /// Ends the span with the number of deliveries, and of subscribers whose sockets did not accept everything.
    pub(crate) fn end(mut self, delivered: u64, blocked: u32) {
        self.0.set(names::DELIVERED, integer(delivered));
        self.0.set(names::BLOCKED, i64::from(blocked));
    }
}

/// `subscribe <channel>`: from the request for a stream to its first byte.
pub(crate) struct SubscribeSpan(Recorded);

impl SubscribeSpan {
    pub(crate) fn begin(
        channel: &str,
        route: &'static str,
        parent: Option<&Parent>,
        start: &'static str,
    ) -> Option<Box<Self>> {
        tracer()?;
        let context = parent.map_or_else(Context::new, Parent::context);
        let builder = SpanBuilder::from_name("subscribe").with_kind(SpanKind::Server);
        let mut recorded = Recorded::begin(builder, Some(channel), &context)?;
        recorded.set(names::MESSAGING_DESTINATION, channel.to_owned());
        recorded.set(names::HTTP_METHOD, "GET");
        recorded.set(names::HTTP_ROUTE, route);
        recorded.set(names::START, start);
        Some(Box::new(Self(recorded)))
    }

    /// The trace context of the span.
    pub(crate) fn context(&self) -> TraceContext {
        self.0.context
    }

    /// The stream begins: where its first events are read from, and why events are missing before them.
    pub(crate) fn resolved(&mut self, source: &'static str, gap: Option<&'static str>) {
        self.0.set(names::HTTP_STATUS, 200_i64);
        self.0.set(names::REPLAY_SOURCE, source);
        if let Some(gap) = gap {
            self.0.set(names::GAP, gap);
        }
    }

    /// The stream was refused for now.
    pub(crate) fn refused(&mut self, reason: &'static str) {
        self.0.fail(reason);
    }
}

/// `page`: the load of a page that is not in memory.
pub(crate) struct PageSpan {
    recorded: Recorded,
    tries: i64,
}

impl PageSpan {
    /// `trace`: of the reader that began the load.
    pub(crate) fn begin(
        channel: &str,
        low: u64,
        high: u64,
        trace: Option<&TraceContext>,
    ) -> Option<Self> {
        tracer()?;
        let context = trace.map_or_else(Context::new, |trace| Parent::remote(trace).context());
        let builder = SpanBuilder::from_name("page").with_kind(SpanKind::Client);
        let mut recorded = Recorded::begin(builder, None, &context)?;
        recorded.messaging("page", "receive", channel);
        recorded.set(names::PAGE_FIRST, integer(low));
        recorded.set(names::PAGE_LAST, integer(high));
        Some(Self { recorded, tries: 0 })
    }

    /// The log is asked for the page.
    pub(crate) fn tried(&mut self) {
        self.tries += 1;
    }

    pub(crate) fn end(mut self, failure: Option<&'static str>) {
        self.recorded.set(names::TRIES, self.tries);
        if let Some(failure) = failure {
            self.recorded.fail(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_spans_while_traces_are_off() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b4902b7-01";
        let parent = TraceContext::parse(trace).map(|trace| Parent::remote(&trace));
        let channel: Arc<str> = "a/b".into();
        assert!(SendSpan::begin(&channel, parent.as_ref(), &[]).is_none());
        assert!(SubscribeSpan::begin("a/b", "/x", parent.as_ref(), "live").is_none());
        assert!(PageSpan::begin("a/b", 1, 256, parent.as_ref().map(|p| &p.context)).is_none());
    }
}
