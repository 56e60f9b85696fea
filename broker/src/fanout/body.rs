//! The sink that hyper polls: a subscriber as a response body. It serves HTTP/2, whose streams share a socket, HTTP/1.0,
//! and HTTP/1.1 where there are no shards.

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

use super::{CloseReason, Opening, Rhythm, Step, Subscriber, sessions::Admission};
use crate::access::Grant;

/// Readings in a row that pass nothing, before others have their turn.
const TURNS: u32 = 16;

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
    /// A body that begins as `opening` says.
    pub(crate) fn new(opening: Opening) -> Self {
        let Opening { subscriber, admission, grant, rhythm, first } = opening;
        let listener = subscriber.log().tail().listen(Arc::clone(admission.session().waker()));
        let (wrote, heartbeat) = (Instant::now(), rhythm.next_beat());
        let timer = Box::pin(sleep_until(wrote + heartbeat));
        Self {
            subscriber,
            admission,
            listener,
            grant,
            rhythm,
            frames: VecDeque::from([first]),
            heartbeat,
            wrote,
            timer,
            ended: false,
        }
    }

    fn close(&mut self, reason: CloseReason) {
        let last = self.rhythm.last_words(&mut self.subscriber, reason);
        self.frames.push_back(last);
        self.admission.session().close(reason);
        self.ended = true;
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
            let step = self.subscriber.poll_read(cx, u64::MAX);
            if !matches!(step, Poll::Pending | Poll::Ready(Step::Head)) {
                match step {
                    Poll::Ready(Step::Run(run)) => self.subscriber.take(&run, &mut self.frames),
                    Poll::Ready(Step::Tell(frame)) => self.frames.push_back(frame),
                    _ => {}
                }
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
                let beat = self.rhythm.beat(&mut self.subscriber);
                self.heartbeat = self.rhythm.next_beat();
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
