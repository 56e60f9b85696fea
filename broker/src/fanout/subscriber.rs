//! What a subscriber does: reads the log from its position with its filter, and declares what it cannot have.
//!
//! Live, replay, a slow reader and a reconnect differ in nothing but the position. It moves only over what a sink took, was
//! held back by the filter, declared lost, or proven not to exist.

use std::{
    future::Future,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use eventcast_wire::{
    cursor::{Check, Epoch},
    event::{Event, Kind},
    filter::Filter,
    frame,
    gap::{Gap, GapReason},
};
use tokio::time::Instant;

use super::run::Run;
use crate::{
    log::{Incarnation, Log, Page, PageError, Position, TailRead, age_seconds},
    metrics::{ChannelMetrics, Counted},
};

type Load = Pin<Box<dyn Future<Output = Result<Arc<Page>, PageError>> + Send>>;

/// How long to wait after a page could not be read.
const RETRY: Duration = Duration::from_millis(500);

/// What the next reading comes to.
pub(crate) enum Step {
    /// Events to offer to the sink; [`Subscriber::wrote`] or [`Subscriber::take`] says which it took.
    Run(Run),
    /// The position moved over what is not to be had; this frame tells it.
    Tell(Bytes),
    /// The position moved; nothing is to be told.
    On,
    /// There is nothing after the position yet. The tail wakes its listeners.
    Head,
}

/// A cursor on the log, and a filter.
pub(crate) struct Subscriber {
    log: Arc<Log>,
    metrics: Arc<ChannelMetrics>,
    filter: Arc<Filter>,
    position: Position,
    epoch: Epoch,
    /// The position that the client knows, from an event or a cursor event.
    told: Position,
    /// A page on its way, and [`Log::drops`] when it was asked for.
    load: Option<(Load, u64)>,
    /// While it is not at the head.
    behind: Option<Counted>,
}

impl Subscriber {
    pub(crate) fn new(
        log: Arc<Log>,
        metrics: Arc<ChannelMetrics>,
        filter: Filter,
        position: Position,
        incarnation: Incarnation,
    ) -> Self {
        let (epoch, filter) = (incarnation.epoch, Arc::new(filter));
        let behind = Some(Counted::new(&metrics.catching_up));
        Self { log, metrics, filter, position, epoch, told: position, load: None, behind }
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    pub(crate) fn metrics(&self) -> &Arc<ChannelMetrics> {
        &self.metrics
    }

    pub(crate) fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Whether a page is on its way.
    pub(crate) fn loads(&self) -> bool {
        self.load.is_some()
    }

    /// Moves to `position`: all up to it was taken while somebody else read for this subscriber.
    pub(crate) fn resume(&mut self, position: Position) {
        self.position = position;
    }

    /// The client knows `position` now.
    pub(crate) fn told(&mut self, position: Position) {
        self.told = position;
    }

    /// The client knows `position`, if it did not know more.
    pub(crate) fn told_at_least(&mut self, position: Option<Position>) {
        if let Some(position) = position.filter(|p| p.sequence > self.told.sequence) {
            self.told = position;
        }
    }

    /// Frames that tell a gap found before the first reading.
    pub(crate) fn tell(&mut self, gap: &Gap) -> Bytes {
        self.metrics.gap(gap.reason, gap.lost);
        self.told = self.position;
        frame::gap(gap, &self.position.cursor(self.epoch))
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

    /// Reads on, over sequences up to `limit`. Pending while a page is on its way, which wakes `cx`, or while the log is
    /// read anew, whose end the tail tells its listeners.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, limit: u64) -> Poll<Step> {
        if let Some((load, drops)) = &mut self.load {
            let Poll::Ready(page) = load.as_mut().poll(cx) else {
                return Poll::Pending;
            };
            let is_outdated = *drops != self.log.drops();
            self.load = None;
            match page {
                // It came a while ago, for somebody who did not read: it is cached, or asked for again.
                Ok(_) if is_outdated => {}
                Ok(page) => {
                    self.metrics.from_pages.inc();
                    return Poll::Ready(self.read_page(page));
                }
                Err(PageError::Recreated) => return Poll::Ready(Step::On),
                Err(PageError::Unreadable) => self.load_after(RETRY),
            }
            return self.poll_read(cx, limit);
        }
        match self.log.tail().read(&self.position, limit) {
            TailRead::NotReady => Poll::Pending,
            TailRead::Events(events) => Poll::Ready(self.read_ring(events)),
            TailRead::Recreated(first) => Poll::Ready(self.renew(first)),
            TailRead::Expired(to) => {
                let lost = to.sequence - self.position.sequence;
                let requested = self.position.cursor(self.epoch).to_string();
                Poll::Ready(self.declare(requested, to, Some(lost), GapReason::Expired))
            }
            reading => {
                self.falls_behind();
                let Position { incarnation, sequence, .. } = self.position;
                match self.log.page_in_memory(incarnation, sequence + 1) {
                    Some(page) => {
                        let from = if matches!(reading, TailRead::PageInMemory) {
                            &self.metrics.from_tail
                        } else {
                            &self.metrics.from_pages
                        };
                        from.inc();
                        Poll::Ready(self.read_page(page))
                    }
                    None => {
                        self.load_after(Duration::ZERO);
                        self.poll_read(cx, limit)
                    }
                }
            }
        }
    }

    fn falls_behind(&mut self) {
        self.behind.get_or_insert_with(|| Counted::new(&self.metrics.catching_up));
    }

    fn load_after(&mut self, pause: Duration) {
        let log = Arc::clone(&self.log);
        let Position { incarnation, sequence, .. } = self.position;
        let drops = log.drops();
        let load: Load = Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            log.page(incarnation, sequence + 1).await
        });
        self.load = Some((load, drops));
    }

    fn read_ring(&mut self, events: Vec<Arc<Event>>) -> Step {
        let Some(last) = events.last() else {
            self.behind = None;
            return Step::Head;
        };
        if self.behind.is_some() {
            self.metrics.from_tail.inc();
        }
        let end = self.position.at(last);
        Step::Run(Run::of_ring(events, end))
    }

    fn read_page(&mut self, page: Arc<Page>) -> Step {
        if page.first_sequence > self.position.sequence + 1 {
            let lost = page.first_sequence - self.position.sequence - 1;
            let to = Position {
                sequence: page.first_sequence - 1,
                check: Check::ABSENT,
                ..self.position
            };
            let requested = self.position.cursor(self.epoch).to_string();
            return self.declare(requested, to, Some(lost), GapReason::Expired);
        }
        let end = match page.events.last().filter(|e| e.sequence == page.high) {
            Some(e) => self.position.at(e),
            None => Position { sequence: page.high, check: Check::ABSENT, ..self.position },
        };
        if end.sequence <= self.position.sequence {
            return Step::On;
        }
        let from = page.events.partition_point(|e| e.sequence <= self.position.sequence);
        Step::Run(Run::of_page(page, from, end))
    }

    /// The sink takes the events of `run` in `range`, which follow the position, the last of them perhaps only in part; or only
    /// as far as `one` that passes the filter. With the run's last event the position is the run's end. Gives the last that passed.
    fn advance(&mut self, run: &Run, range: Range<usize>, one: bool) -> Option<usize> {
        let events = run.events();
        let (mut taken, mut last, mut first) = (range.end, None, None);
        let (mut delivered, mut held_back, mut invalid, mut bytes) = (0, 0, 0, 0);
        for at in range {
            let event = &events[at];
            if event.kind == Kind::Marker || !run.holds(event) {
                continue;
            }
            if !self.filter.passes(event) {
                held_back += 1;
                continue;
            }
            if event.kind == Kind::Invalid {
                self.metrics.gap(GapReason::InvalidEvent, Some(1));
                invalid += 1;
            } else {
                delivered += 1;
                first = first.or(Some(event));
            }
            bytes += event.chunk.wire().len();
            last = Some(at);
            if one {
                taken = at + 1;
                break;
            }
        }
        let end = self.after(run, taken);
        let passed = end.sequence - self.position.sequence;
        self.metrics.delivered.inc_by(delivered);
        self.metrics.filtered.inc_by(held_back);
        self.metrics.absent.inc_by(passed - delivered - held_back - invalid);
        self.metrics.bytes_out.inc_by(bytes as u64);
        // Of a batch the first has waited longest. What is replayed is not late.
        if let Some(event) = first.filter(|_| self.behind.is_none())
            && let Some(received) = event.received
        {
            self.metrics
                .tail_to_write
                .observe((Instant::now() - Instant::from_std(received)).as_secs_f64());
            self.metrics.log_to_write.observe(age_seconds(event.nanos));
        }
        if let Some(at) = last {
            self.told = self.position.at(&events[at]);
        }
        self.position = end;
        last
    }

    /// The sink was written the first `count` events of `run`, the last of them perhaps only in part.
    pub(crate) fn wrote(&mut self, run: &Run, count: usize) {
        let Some((bytes, last)) = run.whole_until(&self.filter, count) else {
            self.advance(run, 0..count, false);
            return;
        };
        let end = self.after(run, count);
        let passed = end.sequence - self.position.sequence;
        self.metrics.delivered.inc_by(count as u64);
        self.metrics.absent.inc_by(passed - count as u64);
        self.metrics.bytes_out.inc_by(bytes as u64);
        (self.told, self.position) = (self.position.at(last), end);
    }

    /// The position after the first `count` events of `run`.
    fn after(&self, run: &Run, count: usize) -> Position {
        let events = run.events();
        if count == events.len() { run.end } else { self.position.at(&events[count - 1]) }
    }

    /// Takes the next frame of `run`, whose events before `from` are taken, and gives where the rest of it begins. Without a
    /// frame all of the run is behind the position.
    pub(crate) fn take(&mut self, run: &Run, from: usize) -> Option<(Bytes, usize)> {
        let events = run.events();
        let at = self.advance(run, from..events.len(), true)?;
        Some((events[at].chunk.frame(), at + 1))
    }

    fn renew(&mut self, first: Position) -> Step {
        // Not yet read means not ready, and then there is no renewal to read.
        let Some(incarnation) = self.log.tail().incarnation() else {
            return Step::On;
        };
        let requested = self.position.cursor(self.epoch).to_string();
        self.epoch = incarnation.epoch;
        self.falls_behind();
        self.declare(requested, first, None, GapReason::NewIncarnation)
    }

    fn declare(
        &mut self,
        requested: String,
        to: Position,
        lost: Option<u64>,
        reason: GapReason,
    ) -> Step {
        self.position = to;
        let resumed_at = to.cursor(self.epoch).to_string();
        Step::Tell(self.tell(&Gap { requested, resumed_at, lost, reason }))
    }
}
