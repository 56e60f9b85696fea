//! The sink that hyper polls: a subscriber as a response body. It serves HTTP/1.1 and HTTP/2 alike.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{CloseReason, Subscriber, jittered_heartbeat, jittered_retry, sessions::Admission};
use crate::{access::Grant, frame};

/// Readings in a row that pass nothing, before others have their turn.
const TURNS: u32 = 16;

/// How heartbeats look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HeartbeatStyle {
    /// A comment.
    #[default]
    Comment,
    /// An event that a script can see.
    Event,
}

/// The rhythm of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rhythm {
    pub(crate) heartbeat_seconds: u64,
    pub(crate) heartbeat: HeartbeatStyle,
    pub(crate) retry_ms: u64,
}

/// A stream of events. Ends by its session, its grant, or by being dropped when the client goes.
pub(crate) struct EventBody {
    subscriber: Subscriber,
    admission: Admission,
    listener: usize,
    grant: Grant,
    rhythm: Rhythm,
    frames: VecDeque<Bytes>,
    heartbeat: Duration,
    wrote: Instant,
    timer: Pin<Box<Sleep>>,
    ended: bool,
}

impl EventBody {
    /// A body that begins with `frames`.
    pub(crate) fn new(
        subscriber: Subscriber,
        admission: Admission,
        grant: Grant,
        rhythm: Rhythm,
        frames: VecDeque<Bytes>,
    ) -> Self {
        let listener = subscriber.log().tail().listen(Arc::clone(admission.session().waker()));
        let (wrote, heartbeat) = (Instant::now(), jittered_heartbeat(rhythm.heartbeat_seconds));
        let timer = Box::pin(sleep_until(wrote + heartbeat));
        Self {
            subscriber,
            admission,
            listener,
            grant,
            rhythm,
            frames,
            heartbeat,
            wrote,
            timer,
            ended: false,
        }
    }

    fn close(&mut self, reason: CloseReason) {
        let retry = jittered_retry(self.rhythm.retry_ms);
        // The client resumes from what it knows: what the filter held back need not be read again.
        if self.subscriber.untold() {
            self.frames.push_back(self.subscriber.tell_cursor());
        }
        self.frames.push_back(frame::closing(reason.as_str(), retry));
        self.admission.session().close(reason);
        self.ended = true;
    }

    /// What to send after a silence: to a client that its filter keeps waiting, its new cursor.
    fn beat(&mut self) -> Bytes {
        if self.subscriber.untold() {
            return self.subscriber.tell_cursor();
        }
        match self.rhythm.heartbeat {
            HeartbeatStyle::Comment => frame::HEARTBEAT,
            HeartbeatStyle::Event => frame::heartbeat(&jiff::Timestamp::now().to_string()),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = self.wrote + self.heartbeat;
            let next = self.grant.until().map_or(due, |until| due.min(until));
            // Moved only when it fires: a busy stream does not touch the timer wheel.
            if self.timer.deadline() > next {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= next {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(next);
        }
    }

    /// The next frame; `None` after the last.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        // Before anything is read: news that comes after the reading wakes us.
        self.admission.session().waker().register(cx.waker());
        let mut turns = 0;
        loop {
            if let Some(frame) = self.frames.pop_front() {
                self.wrote = Instant::now();
                return Poll::Ready(Some(frame));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(reason) = self.admission.session().closing() {
                self.close(reason);
                continue;
            }
            if self.grant.until().is_some_and(|until| Instant::now() >= until) {
                self.close(CloseReason::MaxAge);
                continue;
            }
            if self.subscriber.poll_read(cx, &mut self.frames).is_ready() {
                turns += 1;
                if turns == TURNS && self.frames.is_empty() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            if self.poll_timer(cx).is_pending() {
                return Poll::Pending;
            }
            if self.wrote + self.heartbeat <= Instant::now() {
                let beat = self.beat();
                self.heartbeat = jittered_heartbeat(self.rhythm.heartbeat_seconds);
                self.frames.push_back(beat);
            }
        }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.poll_next(cx);
        match &next {
            Poll::Ready(Some(_)) => self.admission.took(),
            Poll::Ready(None) | Poll::Pending => self.admission.asks(),
        }
        next.map(|frame| frame.map(|f| Ok(Frame::data(f))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.frames.is_empty()
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        self.subscriber.log().tail().unlisten(self.listener);
    }
}
