//! The protocol of one connection (RFC 9113): its state, and how it ends. [`receive`] handles what a client sends, [`send`] writes
//! responses.

mod receive;
mod send;

use std::{collections::HashMap, task::Waker};

use h2::frame::{DEFAULT_INITIAL_WINDOW_SIZE, Reason};
use http::Request;
use indexmap::IndexSet;

use super::{
    body::Body,
    reader::Reader,
    receive_window::{ReceiveWindow, WINDOW},
    send_window::SendWindow,
    stream::Stream,
    writer,
};

/// The most concurrent streams of one connection. Browsers queue further requests silently.
const MAX_STREAMS: u32 = 512;
/// The highest stream number.
const LAST_STREAM: u32 = (1 << 31) - 1;
/// Bytes of responses that wait to be written before no more are added.
const MAX_UNSENT: usize = 64 << 10;
/// The payload of our PING frames.
const PING: [u8; 8] = *b"eventcst";

/// What has happened on a connection.
pub(crate) enum Event<A> {
    /// A request has arrived. Its owner [attaches](Connection::attach) something to the stream, and responds.
    Request(u32, Box<Request<Body>>),
    /// A stream has ended, by the client or because of it.
    Ended(A),
    /// A stream that could not write may try again.
    Writable(u32),
}

/// The client has violated the protocol. GOAWAY with the reason is queued, and the connection must be closed.
#[derive(Debug, thiserror::Error)]
#[error("HTTP/2 connection error: {0}")]
pub(crate) struct ConnectionError(Reason);

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// GOAWAY was sent. Requests that are under way are served.
    Announced,
    /// Requests that arrive now are ignored: the client knows that they are not served.
    Final,
}

/// A connection. `A` is what its owner attaches to each stream.
pub(crate) struct Connection<A> {
    reader: Reader,
    streams: HashMap<u32, Stream<A>>,
    last_stream: u32,
    leaving: Leaving,
    /// Whether the client has sent its settings.
    is_greeted: bool,
    /// The window of the connection, which all streams share.
    send_window: SendWindow,
    initial_send_window: SendWindow,
    receive_window: ReceiveWindow,
    /// Frames to be written.
    out: Vec<u8>,
    /// The frame at the end of `out`, if it is DATA: its stream and where it begins.
    last_data: Option<(u32, usize)>,
    /// Streams that wait for a window.
    wait_for_window: IndexSet<u32>,
    /// Streams that wait until `out` is written.
    wait_for_room: IndexSet<u32>,
    /// Streams with a response body in memory.
    with_bodies: IndexSet<u32>,
    /// Whether the next header block must begin with [`head::NO_DYNAMIC_TABLE`].
    announce_table: bool,
    resets: u32,
    empty_frames: u32,
    /// Wakes the owner when a handler has read from a body.
    waker: Waker,
    events: Vec<Event<A>>,
}

impl<A> Connection<A> {
    /// A connection before its preface. `max_head_bytes` as in [`Reader::new`]; `waker` is woken when a handler has read from a
    /// request body, and [`on_body_read`](Self::on_body_read) must be called.
    pub(crate) fn new(max_head_bytes: u32, waker: Waker) -> Self {
        let mut out = Vec::new();
        writer::settings(&mut out, MAX_STREAMS, WINDOW, max_head_bytes);
        writer::window_update(&mut out, 0, WINDOW - DEFAULT_INITIAL_WINDOW_SIZE);
        Self {
            reader: Reader::new(max_head_bytes as usize),
            streams: HashMap::new(),
            last_stream: 0,
            leaving: Leaving::No,
            is_greeted: false,
            send_window: SendWindow::new(),
            initial_send_window: SendWindow::new(),
            receive_window: ReceiveWindow::new(),
            out,
            last_data: None,
            wait_for_window: IndexSet::new(),
            wait_for_room: IndexSet::new(),
            with_bodies: IndexSet::new(),
            announce_table: true,
            resets: 0,
            empty_frames: 0,
            waker,
            events: Vec::new(),
        }
    }

    /// Removes a stream, and releases what it holds of the receive window of the connection.
    fn remove(&mut self, id: u32) -> Option<Stream<A>> {
        let stream = self.streams.remove(&id)?;
        self.wait_for_window.swap_remove(&id);
        self.wait_for_room.swap_remove(&id);
        self.with_bodies.swap_remove(&id);
        self.release(stream.receive_window.held());
        Some(stream)
    }

    /// What has happened since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<Event<A>> {
        std::mem::take(&mut self.events)
    }

    /// Attaches something to a stream. Returns it if the stream has ended.
    pub(crate) fn attach(&mut self, id: u32, attachment: A) -> Option<A> {
        match self.streams.get_mut(&id) {
            Some(stream) => {
                stream.attachment = Some(attachment);
                None
            }
            None => Some(attachment),
        }
    }

    /// Removes and returns the attachment of a stream.
    pub(crate) fn detach(&mut self, id: u32) -> Option<A> {
        self.streams.get_mut(&id)?.attachment.take()
    }

    /// The attachment of a stream.
    pub(crate) fn attachment(&mut self, id: u32) -> Option<&mut A> {
        self.streams.get_mut(&id)?.attachment.as_mut()
    }

    /// Resets a stream that its owner gives up.
    pub(crate) fn cancel(&mut self, id: u32) {
        if self.streams.contains_key(&id) {
            self.reset(id, Reason::CANCEL);
        }
    }

    /// The attachments of all streams, which end with the connection, including streams that have ended since the last call of
    /// [`take_events`](Self::take_events).
    pub(crate) fn take_attachments(&mut self) -> Vec<A> {
        let ended = self.take_events().into_iter().filter_map(|event| match event {
            Event::Ended(attachment) => Some(attachment),
            Event::Request(..) | Event::Writable(_) => None,
        });
        let streams = self.streams.drain().filter_map(|(_, stream)| stream.attachment);
        ended.chain(streams).collect()
    }

    /// Whether there are streams.
    pub(crate) fn has_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    fn reset(&mut self, id: u32, reason: Reason) {
        writer::reset(&mut self.out, id, reason);
        if let Some(stream) = self.remove(id) {
            self.events.extend(stream.attachment.map(Event::Ended));
        }
    }

    /// Sends a PING. Any input of the client counts as an answer.
    pub(crate) fn ping(&mut self) {
        writer::ping(&mut self.out, PING, false);
    }

    /// Sends GOAWAY: the client must send no more requests. Requests that are under way, or that it sends before it receives the frame, are
    /// served.
    pub(crate) fn begin_shutdown(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Announced;
            writer::go_away(&mut self.out, LAST_STREAM, Reason::NO_ERROR);
            self.ping(); // the answer shows that the client has received GOAWAY
        }
    }

    /// Accepts no more requests.
    pub(crate) fn end_requests(&mut self) {
        if self.leaving != Leaving::Final {
            self.leaving = Leaving::Final;
            writer::go_away(&mut self.out, self.last_stream, Reason::NO_ERROR);
        }
    }

    /// Whether nothing more will happen: no request is under way, and none will be accepted.
    pub(crate) fn is_done(&self) -> bool {
        self.leaving == Leaving::Final && self.streams.is_empty()
    }

    /// Whether a request head has begun to arrive and not ended.
    pub(crate) fn is_within_head(&self) -> bool {
        self.reader.is_within_head()
    }

    /// The bytes to be written.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.out
    }

    /// The first `bytes` of [`unsent`](Self::unsent) were written.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.last_data = None;
        if bytes < self.out.len() {
            self.out.drain(..bytes);
            return;
        }
        self.out = Vec::new(); // an idle connection keeps no buffer
        let waiting = std::mem::take(&mut self.wait_for_room);
        self.events.extend(waiting.into_iter().map(Event::Writable));
        self.send_bodies();
    }

    /// Whether too much is waiting to be written: no more responses are added, and the owner should stop reading.
    pub(crate) fn is_congested(&self) -> bool {
        self.out.len() >= MAX_UNSENT
    }
}

#[cfg(test)]
mod tests;
