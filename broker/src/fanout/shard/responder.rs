//! Sends the response of a handler to the shard that serves the HTTP/2 connection of the request.

use std::sync::Arc;

use http::response::Parts;

use super::{
    http2_response::{Http2Answer, RequestKey, Response},
    inbox::{Inbox, Message},
};

/// Sends the response to one request. If it is dropped without one, the stream is reset.
pub(crate) struct Responder {
    inbox: Arc<Inbox>,
    request: RequestKey,
    is_done: bool,
}

impl Responder {
    pub(super) fn new(inbox: &Arc<Inbox>, request: RequestKey) -> Self {
        Self { inbox: Arc::clone(inbox), request, is_done: false }
    }

    /// Answers the request. Later calls can only reset the stream.
    pub(crate) fn respond(&mut self, head: Parts, answer: Http2Answer) {
        self.is_done = true;
        let response = Response { request: self.request, head, answer };
        self.inbox.push(Message::Respond(Box::new(response)));
    }

    /// Resets the stream, also after an answer that is not read.
    pub(crate) fn reset(&mut self) {
        self.respond(http::Response::new(()).into_parts().0, Http2Answer::Reset);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.is_done {
            self.reset();
        }
    }
}
