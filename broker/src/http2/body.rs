//! A request body on its way from its connection to its handler. Flow control bounds how much of it is in memory.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

/// The client has reset the stream, or its connection has ended, before the body was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request body is incomplete")]
pub(crate) struct Incomplete;

/// The handler's side.
pub(crate) struct Body {
    shared: Arc<Shared>,
    /// Its length, if the client has announced it.
    length: Option<u64>,
}

/// The connection's side. Dropping it before [`end`](Self::end) makes the body incomplete.
pub(super) struct BodySender(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Wakes the connection when the handler has read something.
    connection: Waker,
}

#[derive(Default)]
struct State {
    data: BytesMut,
    end: Option<Result<(), Incomplete>>,
    handler: Option<Waker>,
    /// Bytes that the handler has read since the connection last asked.
    read: u32,
    /// Whether the handler has dropped its side.
    dropped: bool,
}

/// Both sides of a body. `connection` is woken when the handler has read something.
pub(super) fn channel(length: Option<u64>, connection: Waker) -> (BodySender, Body) {
    let shared = Arc::new(Shared { state: Mutex::default(), connection });
    (BodySender(Arc::clone(&shared)), Body { shared, length })
}

impl Body {
    /// A body without content.
    pub(super) fn empty() -> Self {
        let (sender, body) = channel(Some(0), Waker::noop().clone());
        sender.end();
        body
    }
}

impl BodySender {
    /// Adds `data`. Returns false if the handler has dropped the body, and the data is discarded.
    pub(super) fn push(&self, data: &Bytes) -> bool {
        let mut state = self.0.state.lock();
        if state.dropped {
            return false;
        }
        state.data.extend_from_slice(data);
        let handler = state.handler.take();
        drop(state);
        handler.into_iter().for_each(Waker::wake);
        true
    }

    /// The body is complete.
    pub(super) fn end(self) {
        self.finish(Ok(()));
    }

    /// Bytes that the handler has read since the last call. Dropping the body counts as reading the rest of it.
    pub(super) fn take_read(&self) -> u32 {
        std::mem::take(&mut self.0.state.lock().read)
    }

    fn finish(&self, end: Result<(), Incomplete>) {
        let mut state = self.0.state.lock();
        state.end.get_or_insert(end);
        let handler = state.handler.take();
        drop(state);
        handler.into_iter().for_each(Waker::wake);
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        self.finish(Err(Incomplete));
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Incomplete;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Incomplete>>> {
        let mut state = self.shared.state.lock();
        if !state.data.is_empty() {
            let data = std::mem::take(&mut state.data).freeze();
            state.read = state.read.saturating_add(u32::try_from(data.len()).unwrap_or(u32::MAX));
            drop(state);
            self.shared.connection.wake_by_ref();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                state.handler = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.shared.state.lock();
        state.data.is_empty() && state.end == Some(Ok(()))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.dropped = true;
        let held = std::mem::take(&mut state.data).len();
        state.read = state.read.saturating_add(u32::try_from(held).unwrap_or(u32::MAX));
        let open = state.end.is_none();
        drop(state);
        if open {
            self.shared.connection.wake_by_ref();
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}
