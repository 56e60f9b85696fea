//! The answer to a request of an HTTP/2 connection, on its way from its handler to the shard.

use bytes::Bytes;
use http::response::Parts;

use super::Key;
use crate::fanout::Subscription;

/// The body of a response.
pub(crate) enum Http2Answer {
    Body(Bytes),
    Stream(Box<Subscription>),
    /// There is no response: the stream is reset.
    Reset,
}

/// A request, in its shard.
#[derive(Clone, Copy)]
pub(super) struct RequestKey {
    pub(super) connection: Key,
    pub(super) generation: u32,
    pub(super) stream: u32,
}

/// An answer, and the request that it is to.
pub(super) struct Response {
    pub(super) request: RequestKey,
    pub(super) head: Parts,
    pub(super) answer: Http2Answer,
}
