//! The sink that hyper polls: a subscriber as a response body. It serves HTTP/2, whose streams share a socket, HTTP/1.0,
//! and HTTP/1.1 where there are no shards.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use eventcast_wire::closing::CloseReason;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Opening, Rhythm, Step, Subscriber, run::Run, sessions::Admission};
use crate::access::Grant;

/// How long it reads what its filter holds back, before others have their turn.
const TURN: Duration = Duration::from_micros(250);

/// A stream of events. Ends by its session, its grant, or by being dropped when the client goes.
pub(crate) struct EventBody {
    subscriber: Subscriber,
    admission: Admission,
    listener: usize,
    grant: Grant,
    rhythm: Rhythm,
    /// What goes out before anything else.
    words: Option<Bytes>,
    reading: Option<Reading>,
    heartbeat: Duration,
    wrote: Instant,
    timer: Pin<Box<Sleep>>,
    ended: bool,
}

/// What was read last, and how much of it hyper has taken: the position moves with each event that it takes.
struct Reading {
    run: Run,
    taken: usize,
    /// [`drops`](crate::log::Log::drops) of the log when it was read.
    drops: u64,
}

impl EventBody {
    /// A body that begins as `opening` says.
    pub(crate) fn new(opening: Opening) -> Self {
        let Opening { subscriber, admission, grant, rhythm, first } = opening;
        let listener = subscriber.log().tail().add_waker(Arc::clone(admission.session().waker()));
        let (wrote, heartbeat) = (Instant::now(), rhythm.next_beat());
        let timer = Box::pin(sleep_until(wrote + heartbeat));
        Self {
            subscriber,
            admission,
            listener,
            grant,
            rhythm,
            words: Some(first),
            reading: None,
            heartbeat,
            wrote,
            timer,
            ended: false,
        }
    }

    /// Why the stream is to end now, if it is.
    fn is_over(&self) -> Option<CloseReason> {
        let aged = || self.grant.until().is_some_and(|until| Instant::now() >= until);
        self.admission.session().closing().or_else(|| aged().then_some(CloseReason::MaxAge))
    }

    fn close(&mut self, reason: CloseReason) -> Bytes {
        self.admission.session().close(reason);
        self.ended = true;
        self.rhythm.last_words(&mut self.subscriber, reason)
    }

    fn beat(&mut self) -> Bytes {
        self.heartbeat = self.rhythm.next_beat();
        self.rhythm.beat(&mut self.subscriber)
    }

    /// The next event of what was read last. What the log may have dropped since is read anew.
    fn next_event(&mut self) -> Option<Bytes> {
        let reading = self.reading.take().filter(|r| r.drops == self.subscriber.log().drops())?;
        let (frame, taken) = self.subscriber.take(&reading.run, reading.taken)?;
        self.reading = Some(Reading { taken, ..reading });
        Some(frame)
    }

    fn beat_is_due(&self) -> bool {
        Instant::now() >= self.wrote + self.heartbeat
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
        let began = Instant::now();
        loop {
            if let Some(words) = self.words.take() {
                return Poll::Ready(Some(words));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(reason) = self.is_over() {
                self.words = Some(self.close(reason));
                continue;
            }
            if let Some(frame) = self.next_event() {
                return Poll::Ready(Some(frame));
            }
            // Also while there is much to read that the filter holds back.
            if self.beat_is_due() {
                self.words = Some(self.beat());
                continue;
            }
            let drops = self.subscriber.log().drops();
            match self.subscriber.poll_read(cx, u64::MAX) {
                Poll::Ready(Step::Run(run)) => {
                    self.reading = Some(Reading { run, taken: 0, drops });
                }
                Poll::Ready(Step::Tell(frame)) => self.words = Some(frame),
                Poll::Ready(Step::On) => {}
                Poll::Ready(Step::Head) | Poll::Pending => {
                    ready!(self.poll_timer(cx));
                    continue;
                }
            }
            if began.elapsed() >= TURN {
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
                self.wrote = Instant::now();
                self.admission.took();
            }
            Poll::Ready(None) | Poll::Pending => self.admission.asks(),
        }
        next.map(|frame| frame.map(|f| Ok(Frame::data(f))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.words.is_none()
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        self.subscriber.log().tail().remove_waker(self.listener);
    }
}
