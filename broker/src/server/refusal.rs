//! Responses to connections that are refused before a handler is called: heads that hyper cannot parse, heads that arrive too slowly,
//! connections beyond the limit.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;

use crate::{
    access_log,
    http::problem::{Kind, Problem},
    metrics::Metrics,
};

/// SETTINGS, and GOAWAY with NO_ERROR and no stream: the client may repeat every request on another connection
/// (RFC 9113, sections 3.4 and 6.8).
pub(super) const GO_AWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The response to a head that hyper refuses with `status`.
pub(super) fn of_head(metrics: &Metrics, client: IpAddr, status: u16) -> Bytes {
    let problem = match status {
        414 => Problem::new(
            Kind::TARGET_TOO_LONG,
            "The path and query of the request are too long: send less.",
        ),
        431 => Problem::new(
            Kind::HEAD_TOO_LARGE,
            "The request has more than 100 headers, or far more bytes of them than limits.headBytes: send less. Cookies are the usual reason.",
        ),
        _ => Problem::new(
            Kind::INVALID,
            "The head of the request is not HTTP/1.1 (RFC 9112). In a URL, percent-encode spaces and the characters > (%3E), < (%3C) and \" \
             (%22).",
        ),
    };
    bytes(metrics, client, problem)
}

/// The response to a head that is not complete in time.
pub(super) fn of_slow_head(metrics: &Metrics, client: IpAddr) -> Bytes {
    let detail = "The head of the request did not arrive in time: send it within 10 seconds.";
    bytes(metrics, client, Problem::new(Kind::HEAD_TIMEOUT, detail))
}

/// The response to plain HTTP on a listener for TLS.
pub(super) fn of_plaintext(metrics: &Metrics, client: IpAddr) -> Bytes {
    let detail =
        "This port serves HTTPS, and the request came without TLS: use https:// in the URL.";
    bytes(metrics, client, Problem::new(Kind::HTTPS_REQUIRED, detail))
}

/// The response to a connection beyond the limit.
pub(super) fn of_connection(metrics: &Metrics, client: IpAddr) -> Bytes {
    let detail = "The broker has no connection left (limits.connections). Retry after Retry-After.";
    let wait = Duration::from_secs(fastrand::u64(2..=5));
    let problem = Problem::new(Kind::TOO_MANY_CONNECTIONS, detail);
    bytes(metrics, client, problem.retry_after(wait))
}

/// Counts the refusal, and makes an HTTP/1.1 response of it that ends its connection.
fn bytes(metrics: &Metrics, client: IpAddr, problem: Problem) -> Bytes {
    metrics.http_requests.refused(problem.status());
    if access_log::is_on() {
        access_log::refused_unread(client, problem.status().as_u16(), problem.name());
    }
    let (head, body) = problem.close().into_text().into_parts();
    let mut out = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    out.into()
}
