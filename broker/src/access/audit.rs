//! Log lines about refused access, and at debug level about granted access. Those about refusals are [sampled](Sampler).

use std::{net::IpAddr, sync::LazyLock};

use super::grant::Grant;
use crate::log_sampler::Sampler;

static REFUSALS: LazyLock<Sampler> = LazyLock::new(Sampler::new);

/// Logs a client certificate that was refused during the TLS handshake. Its names are not verified, so they are not logged.
pub(crate) fn refused_certificate(client: IpAddr, check: &str) {
    let Some(left_out) = REFUSALS.take() else { return };
    tracing::info!(%client, check, left_out, "client certificate refused");
}

/// Logs a refusal. `subject` must be verified: a forged token may contain any.
pub(crate) fn refused(channel: &str, way: &str, check: &str, subject: Option<&str>) {
    let Some(left_out) = REFUSALS.take() else { return };
    // A string is quoted in lines of text, so that a subject cannot end the line.
    tracing::info!(channel, way, check, subject, left_out, "access refused");
}

/// Logs a grant.
pub(crate) fn granted(channel: &str, grant: &Grant) {
    let subject = grant.identity.as_ref().map(|identity| &*identity.subject);
    tracing::debug!(channel, way = grant.auth_method.as_str(), subject, "access granted");
}
