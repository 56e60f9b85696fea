//! Log lines about who was refused, and at debug level who was let in. At most [`LINES_PER_SECOND`] about refusals in a process: a flood of
//! bad credentials must not become a flood of log lines. Metrics count all.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use governor::{DefaultDirectRateLimiter, Quota};

use super::grant::Grant;

/// Log lines about refusals in a second.
const LINES_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();

static LIMIT: LazyLock<DefaultDirectRateLimiter> =
    LazyLock::new(|| DefaultDirectRateLimiter::direct(Quota::per_second(LINES_PER_SECOND)));
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// How many lines were left out before this one; `None` if it must be left out, too.
fn left_out() -> Option<u64> {
    if LIMIT.check().is_err() {
        LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    Some(LEFT_OUT.swap(0, Ordering::Relaxed))
}

/// Logs a client certificate that ended its handshake. What it says of itself is not certain.
pub(crate) fn refused_certificate(client: IpAddr, check: &str) {
    let Some(left_out) = left_out() else { return };
    tracing::info!(%client, check, left_out, "client certificate refused");
}

/// Logs a refusal. `subject` must be certain: what a forged token says of itself is not.
pub(crate) fn refused(channel: &str, way: &str, check: &str, subject: Option<&str>) {
    let Some(left_out) = left_out() else { return };
    // As a debug value, so that a subject cannot end the line.
    tracing::info!(channel, way, check, ?subject, left_out, "access refused");
}

/// Logs a grant.
pub(crate) fn granted(channel: &str, grant: &Grant) {
    let subject = grant.identity.as_ref().map(|identity| &*identity.subject);
    tracing::debug!(channel, way = grant.way.as_str(), ?subject, "access granted");
}
