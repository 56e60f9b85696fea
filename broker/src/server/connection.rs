//! Code for connections that HTTP/1.1 and HTTP/2 share.

use std::{
    future::{Future, pending},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::transport::Transport;
use crate::{broker::Broker, sockets::ConnectionGuard, tls::ClientCertificate};

/// How long a request head may take from its first byte, and the first byte of a connection to arrive.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// hyper's buffer of unsent bytes for one connection.
pub(super) const MAX_BUFFER: usize = 64 << 10;

/// A connection whose handshakes are complete, ready to be served.
pub(super) struct ServedConnection {
    pub(super) transport: Transport,
    /// The other end of the connection, or the client that the PROXY protocol names.
    pub(super) peer: IpAddr,
    /// The certificate that the client has presented, if it has one.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
    pub(super) guard: ConnectionGuard,
    /// When its first request head must be complete, if that does not depend on when it begins.
    pub(super) first_head_by: Option<Instant>,
}

/// Waits until the client must present another certificate, on another connection. Never returns if it has presented none.
pub(super) async fn retired(certificate: Option<&ClientCertificate>) {
    match certificate {
        Some(certificate) => certificate.retired().await,
        None => pending().await,
    }
}

/// The present time in the format of the `Date` header (RFC 9110, section 6.6.1).
pub(super) fn now_as_http_date() -> HeaderValue {
    let now = jiff::Timestamp::now();
    let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
    let value = text.ok().and_then(|text| HeaderValue::try_from(text).ok());
    value.unwrap_or_else(|| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// Runs `future` until it ends or `kill` is cancelled.
pub(super) async fn until_killed(kill: &CancellationToken, future: impl Future<Output = ()>) {
    tokio::select! {
        () = future => {}
        () = kill.cancelled() => {}
    }
}

/// The limit on the size of heads for the parsers of both protocols. It is higher than `limits.headBytes`, which [`crate::http`] enforces
/// itself, so that the client gets a response with CORS headers.
pub(super) fn parser_head_bytes(broker: &Broker) -> usize {
    2 * broker.config().limits.head_bytes + (8 << 10)
}
