//! The sink that hyper polls: a subscription as a response body. It serves HTTP/1.0, and HTTP/1.1 with `fanout.shards: 0`.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Step, Subscription, batch::Batch};

/// How long one poll may read events that the filter excludes before other tasks run.
const TIME_SLICE: Duration = Duration::from_micros(250);

/// A stream of events. It ends with its session or at its end time, or when hyper drops it because the client has disconnected.
pub(crate) struct EventBody {
    subscription: Subscription,
    /// Our registration with the tail.
    listener: usize,
    /// A frame that is sent before events: the preamble, a heartbeat, a gap, the closing frames.
    control: Option<Bytes>,
    reading: Option<Reading>,
    heartbeat: Duration,
    last_write: Instant,
    timer: Pin<Box<Sleep>>,
    ended: bool,
}

/// The last batch, and how much of it hyper has taken. The position moves with each event that hyper takes.
struct Reading {
    batch: Batch,
    taken: usize,
    /// [`drops`](crate::log::Log::drops) of the log when the batch was read.
    drops: u64,
}

impl EventBody {
    pub(crate) fn new(mut subscription: Subscription) -> Self {
        let waker = Arc::clone(subscription.admission.session().waker());
        let listener = subscription.subscriber.log().tail().add_waker(waker);
        let (last_write, heartbeat) = (Instant::now(), subscription.heartbeat_interval());
        Self {
            control: Some(std::mem::take(&mut subscription.preamble)),
            subscription,
            listener,
            reading: None,
            heartbeat,
            last_write,
            timer: Box::pin(sleep_until(last_write + heartbeat)),
            ended: false,
        }
    }

    /// The next event of the last batch. Deletions since then make it outdated, and it is read again.
    fn next_event(&mut self) -> Option<Bytes> {
        let subscriber = &mut self.subscription.subscriber;
        let reading = self.reading.take().filter(|r| r.drops == subscriber.log().drops())?;
        let (frame, taken) = subscriber.take_one(&reading.batch, reading.taken)?;
        let sequence = subscriber.position().sequence;
        self.subscription.admission.session().reached(sequence);
        self.reading = Some(Reading { taken, ..reading });
        Some(frame)
    }

    fn heartbeat_due(&self) -> Instant {
        self.last_write + self.heartbeat
    }

    /// Ready when a heartbeat is due, or the end of the stream or of its grant needs attention.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = self.heartbeat_due();
            let next = self.subscription.next_deadline().map_or(due, |next| due.min(next));
            // Moved back only when it fires, so that a busy stream does not touch the timer wheel.
            if self.timer.deadline() > next {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if Instant::now() >= next {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(next);
        }
    }

    /// The next frame; `None` after the last.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        // Registered before anything is read, so that no wake-up is missed.
        self.subscription.admission.session().waker().register(cx.waker());
        let began = Instant::now();
        // hyper polls only when it can take the next frame, so the socket is not blocked.
        self.subscription.report_to_session(None);
        loop {
            if let Some(control) = self.control.take() {
                return Poll::Ready(Some(control));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(reason) = self.subscription.close_reason(Instant::now()) {
                self.ended = true;
                self.control = Some(self.subscription.close(reason));
                continue;
            }
            if let Some(notice) = self.subscription.notice(Instant::now()) {
                self.control = Some(notice);
                continue;
            }
            if let Some(frame) = self.next_event() {
                return Poll::Ready(Some(frame));
            }
            // Also during a long read of events that the filter excludes.
            if Instant::now() >= self.heartbeat_due() {
                self.heartbeat = self.subscription.heartbeat_interval();
                self.control = Some(self.subscription.heartbeat());
                continue;
            }
            let drops = self.subscription.subscriber.log().drops();
            match self.subscription.subscriber.poll_read(cx, u64::MAX) {
                Poll::Ready(Step::Events(batch)) => {
                    self.reading = Some(Reading { batch, taken: 0, drops });
                }
                Poll::Ready(Step::Gap(frame)) => self.control = Some(frame),
                Poll::Ready(Step::Advanced) => {}
                Poll::Ready(Step::AtHead) => {
                    self.subscription.admission.session().reached_head();
                    ready!(self.poll_timer(cx));
                    continue;
                }
                Poll::Pending => {
                    ready!(self.poll_timer(cx));
                    continue;
                }
            }
            if began.elapsed() >= TIME_SLICE {
                cx.waker().wake_by_ref();
                return Poll::Pending;
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
            Poll::Ready(Some(_)) => {
                self.last_write = Instant::now();
                self.subscription.span = None;
                self.subscription.admission.frame_taken();
            }
            Poll::Ready(None) | Poll::Pending => self.subscription.admission.wants_more(),
        }
        next.map(|frame| frame.map(|f| Ok(Frame::data(f))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.control.is_none()
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        self.subscription.subscriber.log().tail().remove_waker(self.listener);
    }
}
