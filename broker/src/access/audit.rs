//! Log lines about who was refused, and at debug level who was let in. Those about refusals are [sampled](Sampler).

use std::{net::IpAddr, sync::LazyLock};

use super::grant::Grant;
use crate::log_sampler::Sampler;

static REFUSALS: LazyLock<Sampler> = LazyLock::new(Sampler::new);

/// Logs a client certificate that ended its handshake. What it says of itself is not certain.
pub(crate) fn refused_certificate(client: IpAddr, check: &str) {
    let Some(left_out) = REFUSALS.take() else { return };
    tracing::info!(%client, check, left_out, "client certificate refused");
}

/// Logs a refusal. `subject` must be certain: what a forged token says of itself is not.
pub(crate) fn refused(channel: &str, way: &str, check: &str, subject: Option<&str>) {
    let Some(left_out) = REFUSALS.take() else { return };
    // A string is quoted in lines of text, so that a subject cannot end the line.
    tracing::info!(channel, way, check, subject, left_out, "access refused");
}

/// Logs a grant.
pub(crate) fn granted(channel: &str, grant: &Grant) {
    let subject = grant.identity.as_ref().map(|identity| &*identity.subject);
    tracing::debug!(channel, way = grant.way.as_str(), subject, "access granted");
}
