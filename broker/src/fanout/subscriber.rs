//! What a subscriber does: reads the log from its position with its filter, and declares what it cannot have.
//!
//! Live, replay, a slow reader and a reconnect differ in nothing but the position. It moves only over what was delivered,
//! held back by the filter, declared lost, or proven not to exist.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    cursor::{Check, Epoch},
    event::{Event, Kind},
    filter::Filter,
    frame::{self, Gap, GapReason},
    log::{Incarnation, Log, Page, PageError, Position, Reading, age_seconds},
    metrics::ChannelMetrics,
};

type Load = Pin<Box<dyn Future<Output = Result<Arc<Page>, PageError>> + Send>>;

/// How long to wait after a page could not be read.
const RETRY: Duration = Duration::from_millis(500);

/// A cursor on the log, and a filter.
pub(crate) struct Subscriber {
    log: Arc<Log>,
    metrics: Arc<ChannelMetrics>,
    filter: Filter,
    position: Position,
    epoch: Epoch,
    /// The position that the client knows, from an event or a cursor event.
    told: Position,
    load: Option<Load>,
    live: bool,
}

impl Subscriber {
    pub(crate) fn new(
        log: Arc<Log>,
        metrics: Arc<ChannelMetrics>,
        filter: Filter,
        position: Position,
        incarnation: Incarnation,
    ) -> Self {
        let epoch = incarnation.epoch;
        Self { log, metrics, filter, position, epoch, told: position, load: None, live: false }
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Frames that tell a gap found before the first reading.
    pub(crate) fn tell(&mut self, gap: &Gap, out: &mut VecDeque<Bytes>) {
        self.metrics.gap(gap.reason, gap.lost);
        out.push_back(frame::gap(gap, &self.position.cursor(self.epoch)));
        self.told = self.position;
    }

    /// A cursor event for the present position.
    pub(crate) fn tell_cursor(&mut self) -> Bytes {
        self.told = self.position;
        frame::cursor(&self.position.cursor(self.epoch))
    }

    /// Whether the position has moved past what the client knows.
    pub(crate) fn untold(&self) -> bool {
        self.position != self.told
    }

    /// Reads on, and puts what is to be written into `out`. Ready where the position moved; pending at the head, or
    /// while a page is on its way. The tail wakes listeners, a page wakes `cx`.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut VecDeque<Bytes>,
    ) -> Poll<()> {
        if let Some(load) = &mut self.load {
            let Poll::Ready(page) = load.as_mut().poll(cx) else {
                return Poll::Pending;
            };
            self.load = None;
            match page {
                Ok(page) => {
                    self.metrics.from_pages.inc();
                    self.take_page(&page, out);
                }
                Err(PageError::Renewed) => {}
                Err(PageError::Unreadable) => self.load_after(RETRY),
            }
            return Poll::Ready(());
        }
        match self.log.tail().read(&self.position) {
            Reading::NotReady => Poll::Pending,
            Reading::Events(events) if events.is_empty() => {
                self.live = true;
                Poll::Pending
            }
            Reading::Events(events) => {
                if !self.live {
                    self.metrics.from_tail.inc();
                }
                let last = events.last().map_or(self.position, |e| self.at(e));
                self.take(&events, last, out);
                Poll::Ready(())
            }
            Reading::Renewed(first) => {
                self.renew(first, out);
                Poll::Ready(())
            }
            Reading::Below => {
                self.live = false;
                self.load_after(Duration::ZERO);
                Poll::Ready(())
            }
        }
    }

    fn load_after(&mut self, pause: Duration) {
        let log = Arc::clone(&self.log);
        let Position { incarnation, sequence, .. } = self.position;
        self.load = Some(Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            log.page(incarnation, sequence + 1).await
        }));
    }

    fn take_page(&mut self, page: &Page, out: &mut VecDeque<Bytes>) {
        if page.first_sequence > self.position.sequence + 1 {
            let lost = page.first_sequence - self.position.sequence - 1;
            let to = Position {
                sequence: page.first_sequence - 1,
                check: Check::ABSENT,
                ..self.position
            };
            self.declare(to, Some(lost), GapReason::Expired, out);
        }
        let from = page.events.partition_point(|e| e.sequence <= self.position.sequence);
        let end = match page.events.last().filter(|e| e.sequence == page.high) {
            Some(e) => self.at(e),
            None => Position { sequence: page.high, check: Check::ABSENT, ..self.position },
        };
        if end.sequence > self.position.sequence {
            self.take(&page.events[from..], end, out);
        }
    }

    /// Delivers what passes of `events` and moves to `end`.
    fn take(&mut self, events: &[Arc<Event>], end: Position, out: &mut VecDeque<Bytes>) {
        let (mut delivered, mut bytes, mut first) = (0, 0, None);
        let (mut held_back, mut told) = (0, 0);
        for event in events {
            if event.expired() {
                continue;
            }
            if self.filter.passes(event) {
                if event.kind == Kind::Invalid {
                    self.metrics.gap(GapReason::InvalidEvent, Some(1));
                    told += 1;
                } else {
                    delivered += 1;
                    first = first.or(Some(event));
                }
                bytes += event.frame.len();
                self.told = self.at(event);
                out.push_back(event.frame.clone());
            } else {
                held_back += 1;
            }
        }
        let passed = end.sequence - self.position.sequence;
        self.metrics.delivered.inc_by(delivered);
        self.metrics.filtered.inc_by(held_back);
        self.metrics.absent.inc_by(passed - delivered - held_back - told);
        self.metrics.bytes_out.inc_by(bytes as u64);
        // Of a batch the first has waited longest. What is replayed is not late.
        if let Some(event) = first.filter(|_| self.live)
            && let Some(received) = event.received
        {
            self.metrics.tail_to_write.observe((Instant::now() - received).as_secs_f64());
            self.metrics.log_to_write.observe(age_seconds(event.nanos));
        }
        self.position = end;
    }

    fn renew(&mut self, first: Position, out: &mut VecDeque<Bytes>) {
        // Not yet read means not ready, and then there is no renewal to read.
        let Some(incarnation) = self.log.tail().incarnation() else {
            return;
        };
        let requested = self.position.cursor(self.epoch).to_string();
        self.epoch = incarnation.epoch;
        self.live = false;
        self.declare_from(requested, first, None, GapReason::NewIncarnation, out);
    }

    fn declare(
        &mut self,
        to: Position,
        lost: Option<u64>,
        reason: GapReason,
        out: &mut VecDeque<Bytes>,
    ) {
        let requested = self.position.cursor(self.epoch).to_string();
        self.declare_from(requested, to, lost, reason, out);
    }

    fn declare_from(
        &mut self,
        requested: String,
        to: Position,
        lost: Option<u64>,
        reason: GapReason,
        out: &mut VecDeque<Bytes>,
    ) {
        self.position = to;
        let resumed_at = to.cursor(self.epoch).to_string();
        self.tell(&Gap { requested, resumed_at, lost, reason }, out);
    }

    fn at(&self, event: &Event) -> Position {
        Position { sequence: event.sequence, check: Check::of(event.nanos), ..self.position }
    }
}
