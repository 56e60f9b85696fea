//! A subscriber: reads the log from its position with its filter, and declares what cannot be delivered.
//!
//! Live delivery, replay, a slow reader and a reconnect differ only in the position. It moves over sequences that a sink took,
//! that the filter excludes, that were declared lost, or that are proven to hold no event.

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
    cursor::{Check, Cursor, Epoch},
    event::Event,
    filter::Filter,
    frame,
    gap::{Gap, GapReason},
    trace_context::TraceContext,
};
use tokio::time::Instant;

use super::batch::{Batch, Taken};
use crate::{
    delivery::{DeliveryLedger, Sent},
    log::{Incarnation, Log, LogLease, Page, PageError, Position, TailRead, age_seconds},
    metrics::{ChannelMetrics, GaugeGuard},
};

type Load = Pin<Box<dyn Future<Output = Result<Arc<Page>, PageError>> + Send>>;

/// How long to wait before a page that could not be read is requested again.
const PAGE_RETRY_DELAY: Duration = Duration::from_millis(500);

/// The outcome of reading once.
pub(crate) enum Step {
    /// Events for the sink. It reports what it took with [`Subscriber::wrote`] or [`Subscriber::take_one`].
    Events(Batch),
    /// The position moved over sequences that cannot be delivered. The frame tells the client.
    Gap(Bytes),
    /// The position moved, and nothing needs to be sent.
    Advanced,
    /// There is nothing after the position yet. The tail wakes its listeners when there is.
    AtHead,
}

/// A cursor on the log, and a filter.
pub(crate) struct Subscriber {
    /// Keeps the log attached.
    log: LogLease,
    metrics: Arc<ChannelMetrics>,
    filter: Arc<Filter>,
    position: Position,
    epoch: Epoch,
    /// The position that the client resumes from: of the last event or cursor that was sent to it.
    acknowledged: Position,
    /// What was written to the client.
    sent: Sent,
    /// A page that was requested, and [`Log::drops`] at that time.
    load: Option<(Load, u64)>,
    /// Counts it among those catching up while it is not at the head.
    behind: Option<GaugeGuard>,
    /// Its span, if it is in a sampled trace.
    trace: Option<Box<TraceContext>>,
}

impl Subscriber {
    pub(crate) fn new(
        log: LogLease,
        metrics: Arc<ChannelMetrics>,
        filter: Arc<Filter>,
        position: Position,
        incarnation: Incarnation,
    ) -> Self {
        let epoch = incarnation.epoch;
        let behind = Some(GaugeGuard::new(&metrics.catching_up));
        Self {
            log,
            metrics,
            filter,
            position,
            epoch,
            acknowledged: position,
            sent: Sent::default(),
            load: None,
            behind,
            trace: None,
        }
    }

    /// Sets the sampled trace that it belongs to.
    pub(crate) fn set_trace(&mut self, trace: TraceContext) {
        self.trace = Some(Box::new(trace));
    }

    pub(crate) fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_deref()
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    pub(crate) fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Whether it waits for a page.
    pub(crate) fn is_loading(&self) -> bool {
        self.load.is_some()
    }

    /// What was written to the client.
    pub(crate) fn sent(&self) -> Sent {
        self.sent
    }

    /// A channel's fan-out has written for this subscriber.
    pub(crate) fn add_sent(&mut self, sent: Sent) {
        self.sent += sent;
    }

    /// The cursor that the client resumes from.
    pub(crate) fn acknowledged_cursor(&self) -> Cursor {
        self.acknowledged.cursor(self.epoch)
    }

    /// Sets the position after a channel's fan-out has delivered for this subscriber.
    pub(crate) fn resume_at(&mut self, position: Position) {
        self.position = position;
    }

    /// The client's cursor is `position` now.
    pub(crate) fn set_acknowledged(&mut self, position: Position) {
        self.acknowledged = position;
    }

    /// The client's cursor is at least `position`.
    pub(crate) fn raise_acknowledged(&mut self, position: Option<Position>) {
        if let Some(position) = position.filter(|p| p.sequence > self.acknowledged.sequence) {
            self.acknowledged = position;
        }
    }

    /// Whether the position is ahead of the client's cursor: the filter excluded the events in between.
    pub(crate) fn is_ahead_of_client(&self) -> bool {
        self.position != self.acknowledged
    }

    /// Declares a gap that ends at the present position.
    pub(crate) fn gap_frame(&mut self, gap: &Gap) -> Bytes {
        self.metrics.gap(gap.reason);
        self.metrics.record(&DeliveryLedger::gap(gap.lost.unwrap_or(0)));
        self.acknowledged = self.position;
        frame::gap(gap, &self.position.cursor(self.epoch))
    }

    /// A cursor event for the present position.
    pub(crate) fn cursor_frame(&mut self) -> Bytes {
        self.acknowledged = self.position;
        frame::cursor(&self.position.cursor(self.epoch))
    }

    /// Reads what follows the position, up to the sequence `limit`.
    ///
    /// Pending while it waits for a page, which wakes `cx`, or while the log is being attached, after which the tail wakes its
    /// listeners.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, limit: u64) -> Poll<Step> {
        if let Some((load, drops)) = &mut self.load {
            let Poll::Ready(page) = load.as_mut().poll(cx) else {
                return Poll::Pending;
            };
            let is_outdated = *drops != self.log.drops();
            self.load = None;
            match page {
                // Events may have been deleted since it was read: it is requested again.
                Ok(_) if is_outdated => {}
                Ok(page) => {
                    self.metrics.from_pages.inc();
                    return Poll::Ready(self.read_page(page));
                }
                Err(PageError::Recreated) => return Poll::Ready(Step::Advanced),
                Err(PageError::Unreadable) => self.load_after(PAGE_RETRY_DELAY),
            }
            return self.poll_read(cx, limit);
        }
        match self.log.tail().read(&self.position, limit) {
            TailRead::NotReady => Poll::Pending,
            TailRead::Events(events) => Poll::Ready(self.read_ring(events)),
            TailRead::Recreated(first) => Poll::Ready(self.restart(first)),
            TailRead::Expired(to) => {
                let lost = to.sequence - self.position.sequence;
                let requested = self.position.cursor(self.epoch).to_string();
                Poll::Ready(self.declare(requested, to, Some(lost), GapReason::Expired))
            }
            reading => {
                self.fall_behind();
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

    fn fall_behind(&mut self) {
        self.behind.get_or_insert_with(|| GaugeGuard::new(&self.metrics.catching_up));
    }

    fn load_after(&mut self, pause: Duration) {
        let log = Arc::clone(&self.log);
        let Position { incarnation, sequence, .. } = self.position;
        let drops = log.drops();
        let trace = self.trace().copied();
        let load: Load = Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            log.page_in_trace(incarnation, sequence + 1, trace.as_ref()).await
        });
        self.load = Some((load, drops));
    }

    fn read_ring(&mut self, events: Vec<Arc<Event>>) -> Step {
        let Some(last) = events.last() else {
            self.behind = None;
            return Step::AtHead;
        };
        if self.behind.is_some() {
            self.metrics.from_tail.inc();
        }
        let end = self.position.at(last);
        Step::Events(Batch::of_ring(events, end))
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
            return Step::Advanced;
        }
        let from = page.events.partition_point(|e| e.sequence <= self.position.sequence);
        Step::Events(Batch::of_page(page, from, end))
    }

    /// The sink wrote the first `count` events of `batch`, the last of them perhaps only in part.
    pub(crate) fn wrote(&mut self, batch: &Batch, count: usize) {
        self.advance(batch, 0..count, Taken::All);
    }

    /// Takes the next event of `batch` that passes the filter. The events before `from` are taken already. Returns its frame
    /// and where the rest of the batch begins; `None` if no event is left, and then the position is the end of the batch.
    pub(crate) fn take_one(&mut self, batch: &Batch, from: usize) -> Option<(Bytes, usize)> {
        let events = batch.events();
        let at = self.advance(batch, from..events.len(), Taken::UpToOne)?;
        Some((events[at].chunk.frame(), at + 1))
    }

    /// Moves the position over the events in `range`. Returns the last event that was sent.
    fn advance(&mut self, batch: &Batch, range: Range<usize>, taken: Taken) -> Option<usize> {
        let account = batch.account(&self.position, range, &self.filter, taken);
        self.metrics.record(&account.ledger);
        self.sent += Sent::from(&account.ledger);
        let events = batch.events();
        // The first event of a batch has waited longest. Replayed events are not measured.
        if let Some(first) = account.first_sent.filter(|_| self.behind.is_none())
            && let Some(received) = events[first].received
        {
            let waited = Instant::now() - Instant::from_std(received);
            self.metrics.tail_to_write.observe(waited.as_secs_f64());
            self.metrics.log_to_write.observe(age_seconds(events[first].nanos));
        }
        if let Some(last) = account.last_sent {
            self.acknowledged = self.position.at(&events[last]);
        }
        self.position = account.position;
        account.last_sent
    }

    fn restart(&mut self, first: Position) -> Step {
        // The tail is not attached yet. It wakes its listeners when it is.
        let Some(incarnation) = self.log.tail().incarnation() else {
            return Step::Advanced;
        };
        let requested = self.position.cursor(self.epoch).to_string();
        self.epoch = incarnation.epoch;
        self.fall_behind();
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
        Step::Gap(self.gap_frame(&Gap { requested, resumed_at, lost, reason }))
    }
}
