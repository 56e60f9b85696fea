//! Answers requests for a channel that is moving to other brokers: this broker handles none of them.

use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, header};

use super::{
    Answer, accept,
    problem::{Kind, Problem},
    subscribe,
};
use crate::{channel::Channel, request::RequestContext};

/// How long a client should wait before it repeats its request over a new connection.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Tells the client to repeat the request over another connection, which reaches another broker.
pub(super) fn answer<B>(
    channel: &Channel,
    context: &RequestContext,
    request: &Request<B>,
    is_events: bool,
) -> Result<Response<Answer>, Problem> {
    // HTTP/2 has no `Connection: close`.
    context.connection.leave();
    let is_stream = is_events
        && request.method() == Method::GET
        && accept::negotiate(request.headers())? == accept::Representation::Stream;
    if is_stream {
        let mut response = subscribe::refuse_moving(channel);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return Ok(response);
    }
    let detail = "The channel is moving to other brokers. Retry over a new connection.";
    Err(Problem::new(Kind::MOVING, detail).retry_after(RETRY_AFTER).close())
}
