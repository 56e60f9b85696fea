//! What is known of a request besides its head and body.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, header};
use tokio_util::sync::CancellationToken;

use crate::sockets::Connection;

/// The context of one request.
#[derive(Clone)]
pub(crate) struct RequestContext {
    /// The other end of the connection, or the client that the PROXY protocol names.
    pub(crate) peer: IpAddr,
    /// The connection that the request came on.
    pub(crate) connection: Arc<Connection>,
    /// Ends what carries the response: the connection of HTTP/1.1, the stream of HTTP/2. A body that is not polled cannot end
    /// itself.
    pub(crate) kill: CancellationToken,
}

/// A credential as the client presented it, not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A token in `Authorization: Bearer` (RFC 6750).
    Bearer,
    /// Any other scheme.
    Other,
}

impl Credential {
    /// The credential in `headers`, if there is one.
    pub(crate) fn presented(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::AUTHORIZATION)?;
        let scheme = value.as_bytes().split(|b| *b == b' ').next().unwrap_or_default();
        Some(if scheme.eq_ignore_ascii_case(b"bearer") { Self::Bearer } else { Self::Other })
    }
}
