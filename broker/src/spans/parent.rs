//! The trace context of a request: its headers `traceparent` and `tracestate`.

use eventcast_wire::trace_context::{TRACEPARENT, TraceContext};
use http::HeaderMap;
use opentelemetry::{
    Context, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, TraceContextExt as _, TraceState},
};

/// The most bytes of a `tracestate` that is passed on.
const MAX_TRACESTATE_BYTES: usize = 512;

/// The trace context that a request names as its parent.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    pub(crate) context: TraceContext,
    /// The entries of tracing vendors.
    state: TraceState,
}

impl Parent {
    /// Reads `traceparent` and `tracestate`. Invalid headers are ignored (W3C Trace Context, section 3.2.2.5).
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let context = TraceContext::parse(value.to_str().ok()?)?;
        let state = tracestate(headers).unwrap_or_default();
        Some(Self { context, state })
    }

    pub(super) fn remote(context: &TraceContext) -> Self {
        Self { context: *context, state: TraceState::default() }
    }

    pub(super) fn context(&self) -> Context {
        Context::new().with_remote_span_context(span_context(&self.context, self.state.clone()))
    }
}

fn tracestate(headers: &HeaderMap) -> Option<TraceState> {
    let values: Option<Vec<_>> =
        headers.get_all("tracestate").iter().map(|value| value.to_str().ok()).collect();
    let text = values?.join(",");
    let is_valid = text.len() <= MAX_TRACESTATE_BYTES && text.split(',').all(is_member);
    if is_valid { text.parse().ok() } else { None }
}

/// Whether `text` is empty or the entry of a vendor (W3C Trace Context, section 3.3.1).
fn is_member(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t']);
    let Some((key, value)) = text.split_once('=') else { return text.is_empty() };
    let in_key = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(&b);
    let in_value = |b: u8| (b == b' ' || b.is_ascii_graphic()) && b != b'=';
    !key.is_empty() && key.bytes().all(in_key) && !value.is_empty() && value.bytes().all(in_value)
}

pub(super) fn span_context(context: &TraceContext, state: TraceState) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(context.trace_id),
        SpanId::from_bytes(context.span_id),
        TraceFlags::new(context.flags),
        true,
        state,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b4902b7-01";

    fn parent(headers: &[(&'static str, &str)]) -> Option<Parent> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Parent::of(&map)
    }

    #[test]
    fn the_headers_of_a_request_name_its_parent() {
        let found = parent(&[("traceparent", TRACE), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        let found = found.unwrap();
        assert_eq!(
            (found.context.to_string(), found.state.header()),
            (TRACE.into(), "a=1,b=2".into())
        );
        assert!(parent(&[("tracestate", "a=1")]).is_none());
        assert!(parent(&[("traceparent", TRACE), ("traceparent", TRACE)]).is_none(), "sent twice");
        assert!(parent(&[("traceparent", "00-zz")]).is_none());
    }

    #[test]
    fn an_invalid_tracestate_does_not_spoil_the_parent() {
        let long = format!("a={}", "x".repeat(MAX_TRACESTATE_BYTES));
        for bad in ["=", "a", "a=", "=1", "a b=1", "A=1", "a=1=2", "é=1", &long] {
            let found = parent(&[("traceparent", TRACE), ("tracestate", bad)]).unwrap();
            assert_eq!(found.state.header(), "", "{bad}");
        }
    }
}
