//! The access log: a line for each request and for each end of a stream, with the target `eventcast::access`. Off by default
//! (`log.access`), and turned on and off while the broker runs.
//!
//! A line has the template of a path, never the path itself, its query or a header: those can be credentials.

use std::{
    net::IpAddr,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use eventcast_runtime::telemetry::ACCESS_TARGET;
use eventcast_wire::trace_context::TraceContext;

use crate::log_sampler::Sampler;

static IS_ON: AtomicBool = AtomicBool::new(false);
static REFUSALS: LazyLock<Sampler> = LazyLock::new(Sampler::new);

/// Turns the log on or off.
pub(crate) fn set_on(on: bool) {
    IS_ON.store(on, Relaxed);
}

/// Whether lines are written.
pub(crate) fn is_on() -> bool {
    IS_ON.load(Relaxed)
}

/// The connection of `client` was refused, with `status`, before the head of a request was read.
pub(crate) fn refused_unread(client: IpAddr, status: u16, reason: &str) {
    let Some(left_out) = REFUSALS.take() else { return };
    let left_out = Some(left_out).filter(|left_out| *left_out > 0);
    tracing::info!(target: ACCESS_TARGET, %client, status, reason, left_out, "refused before a request");
}

/// The fields that lines of requests and of streams have in common.
pub(crate) struct Line<'a> {
    /// The address of the client, as its proxies report it.
    pub(crate) client: IpAddr,
    /// `HTTP/1.1`, for example.
    pub(crate) protocol: &'static str,
    pub(crate) method: &'a str,
    /// The template of the path.
    pub(crate) route: &'static str,
    pub(crate) channel: Option<&'a str>,
    /// Who the client is, if its credential was verified.
    pub(crate) subject: Option<&'a str>,
    pub(crate) duration: Duration,
    /// The sampled trace that it belongs to.
    pub(crate) trace: Option<TraceContext>,
}

impl Line<'_> {
    /// A request was answered with `status` and a body of `bytes`. `reason` says why it was refused, if it was.
    pub(crate) fn answered(&self, status: u16, reason: Option<&str>, bytes: usize) {
        let left_out = if reason.is_some() || status >= 400 {
            let Some(left_out) = REFUSALS.take() else { return };
            Some(left_out).filter(|left_out| *left_out > 0)
        } else {
            None
        };
        let Self { client, protocol, method, route, channel, subject, duration, trace } = self;
        let (trace_id, span_id) = ids(trace.as_ref());
        let seconds = duration.as_secs_f64();
        tracing::info!(
            target: ACCESS_TARGET,
            %client, protocol, method, route, channel, subject, status, reason, seconds, bytes, left_out,
            trace_id, span_id,
            "request"
        );
    }

    /// The client disconnected before there was a response.
    pub(crate) fn abandoned(&self) {
        let Self { client, protocol, method, route, channel, subject, duration, trace } = self;
        let (trace_id, span_id) = ids(trace.as_ref());
        let (seconds, reason) = (duration.as_secs_f64(), "abandoned");
        tracing::info!(
            target: ACCESS_TARGET,
            %client, protocol, method, route, channel, subject, reason, seconds, trace_id, span_id,
            "request"
        );
    }

    /// A stream has ended because of `reason`, after `events` events of `bytes` bytes. `cursor` is where its client resumes.
    pub(crate) fn stream_ended(
        &self,
        session: &str,
        reason: &str,
        events: u64,
        bytes: u64,
        cursor: &str,
    ) {
        let Self { client, protocol, method, route, channel, subject, duration, trace } = self;
        let (trace_id, span_id) = ids(trace.as_ref());
        let (seconds, status) = (duration.as_secs_f64(), 200);
        tracing::info!(
            target: ACCESS_TARGET,
            %client, protocol, method, route, channel, subject, session, status, reason, seconds, events, bytes,
            cursor, trace_id, span_id,
            "stream ended"
        );
    }
}

/// The ids of a trace and of its span.
fn ids(trace: Option<&TraceContext>) -> (Option<String>, Option<String>) {
    trace.map(|trace| (trace.trace_id_text(), trace.span_id_text())).unzip()
}
