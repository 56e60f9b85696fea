//! One stream of a connection.

use bytes::Bytes;

use super::{body::BodySender, receive_window::ReceiveWindow, send_window::SendWindow};

/// A stream that is open on at least one side.
pub(super) struct Stream<A> {
    /// What the owner of the connection has attached to the stream.
    pub(super) attachment: Option<A>,
    pub(super) send_window: SendWindow,
    pub(super) receive_window: ReceiveWindow,
    /// Where the request body goes, until it has ended.
    pub(super) body: Option<BodySender>,
    /// What is left of the announced length of the body.
    pub(super) body_left: Option<u64>,
    pub(super) response: Response,
}

/// The progress of the response.
pub(super) enum Response {
    /// The handler has not responded yet.
    Awaited,
    /// The unwritten rest of a body in memory.
    Body(Bytes),
    /// The owner writes it.
    Written,
}

impl<A> Stream<A> {
    /// The client has sent `bytes` of the body. Returns false if that is more than it has announced.
    pub(super) fn take_announced(&mut self, bytes: usize) -> bool {
        let Some(left) = &mut self.body_left else { return true };
        match left.checked_sub(bytes as u64) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }
}
