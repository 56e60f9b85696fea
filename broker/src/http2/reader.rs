//! Decodes the frames that a client sends, with the codec of the `h2` crate, which reads from memory here.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream as _;
use h2::{Codec, frame, proto};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame_tracker::FrameTracker;

/// The connection preface (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame, and the bytes that it counts for flow control: those of DATA, including padding.
pub(super) struct Received {
    pub(super) frame: frame::Frame,
    pub(super) flow_bytes: u32,
}

/// Decodes what a client sends.
pub(super) struct Reader {
    codec: Codec<Input, Bytes>,
    preface_left: usize,
    tracker: FrameTracker,
    /// Payload lengths of DATA frames that the codec has not returned yet. The codec does not report padding.
    data_lengths: VecDeque<u32>,
}

impl Reader {
    /// `max_head_bytes` is the most that a request head may have, uncompressed (RFC 9113, section 6.5.2).
    pub(super) fn new(max_head_bytes: usize) -> Self {
        let mut codec = Codec::new(Input::default());
        codec.set_max_recv_header_list_size(max_head_bytes);
        let (tracker, data_lengths) = (FrameTracker::default(), VecDeque::new());
        Self { codec, preface_left: PREFACE.len(), tracker, data_lengths }
    }

    /// Takes bytes that follow the last ones. [`next`](Self::next) must have returned `None`. Returns false if the preface is wrong.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> bool {
        let of_preface = self.preface_left.min(bytes.len());
        let (preface, frames) = bytes.split_at(of_preface);
        let at = PREFACE.len() - self.preface_left;
        if preface != &PREFACE[at..at + of_preface] {
            return false;
        }
        self.preface_left -= of_preface;
        self.tracker.read(frames, |length| self.data_lengths.push_back(length));
        self.codec.get_mut().bytes.extend_from_slice(frames);
        true
    }

    /// The next whole frame.
    pub(super) fn next(&mut self) -> Option<Result<Received, proto::Error>> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.codec).poll_next(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let is_data = matches!(frame, frame::Frame::Data(_));
                let flow_bytes = is_data.then(|| self.data_lengths.pop_front()).flatten();
                Some(Ok(Received { frame, flow_bytes: flow_bytes.unwrap_or(0) }))
            }
            Poll::Ready(Some(Err(error))) => Some(Err(error)),
            Poll::Ready(None) | Poll::Pending => None,
        }
    }

    /// Whether a request head, or a frame that may be part of one, has begun to arrive and not ended.
    pub(super) fn is_within_head(&self) -> bool {
        self.preface_left > 0 || self.tracker.is_within_head()
    }
}

/// Memory that the codec reads from.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
}

impl AsyncRead for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = self.bytes.len().min(buf.remaining());
        if n == 0 {
            return Poll::Pending;
        }
        buf.put_slice(&self.bytes[..n]);
        if n == self.bytes.len() {
            self.bytes = Vec::new(); // an idle connection keeps no buffer
        } else {
            self.bytes.drain(..n);
        }
        Poll::Ready(Ok(()))
    }
}

/// The codec requires this trait. It is never given a frame to write.
impl AsyncWrite for Input {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
