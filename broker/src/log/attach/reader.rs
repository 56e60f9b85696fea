//! Reads what the push consumer sends into the tail, and proves that nothing is missing.

use std::sync::Arc;

use async_nats::{Message, jetstream};
use bytes::Bytes;
use tokio::time::Instant;

use super::{ATTACH_INFO_TIMEOUT, DetachReason, end_incarnation};
use crate::log::{
    Incarnation, Log,
    message::{self, Stored},
    tail::Anchor,
};
use crate::metrics::ChannelMetrics;

/// Reads the messages of one attachment.
pub(super) struct Reader<'a> {
    pub(super) log: &'a Log,
    /// The series of the channel, which stay the same while the log is attached.
    pub(super) metrics: Arc<ChannelMetrics>,
    pub(super) incarnation: Incarnation,
    pub(super) anchor: Option<Anchor>,
    /// Everything up to this sequence is covered, even if no message arrives for it.
    pub(super) known: u64,
    /// Last sequence of the stream when the consumer was created. At this sequence the tail has caught up.
    pub(super) target: u64,
    /// The next consumer sequence.
    pub(super) expect: u64,
    /// Whether the tail has reached `target`, and may be served.
    pub(super) caught_up: bool,
    /// Whether sequences were missing before the tail caught up.
    pub(super) has_holes: bool,
}

impl Reader<'_> {
    /// Handles a heartbeat or a flow control request.
    pub(super) async fn status(&mut self, m: &Message) -> Result<(), DetachReason> {
        if m.status.map(|s| s.as_u16()) != Some(100) {
            return Err(DetachReason::Status);
        }
        let client = self.log.nats.tail.client();
        let header = |name: &str| m.headers.as_ref().and_then(|h| h.get_last(name));
        let stalled = header("Nats-Consumer-Stalled").map(|v| v.as_str().into());
        if let Some(subject) = m.reply.clone().or(stalled) {
            // Flow control: the consumer waits for an empty reply.
            client.publish(subject, Bytes::new()).await.map_err(|_| DetachReason::Connection)?;
        }
        match header("Nats-Last-Consumer").map(|v| v.as_str().parse::<u64>()) {
            Some(last) if last != Ok(self.expect - 1) => Err(DetachReason::Sequence),
            _ => Ok(()),
        }
    }

    /// Pushes a message to the tail. Sequence and time are read from the reply subject, because publishers can forge headers.
    pub(super) async fn message(&mut self, message: Message) -> Result<(), DetachReason> {
        let log = self.log;
        let m = jetstream::Message { message, context: log.nats.tail.clone() };
        let Ok(info) = m.info() else { return Ok(()) };
        if info.consumer_sequence != self.expect {
            return Err(DetachReason::Sequence);
        }
        let nanos = i64::try_from(info.published.unix_timestamp_nanos()).unwrap_or(0);
        let sequence = info.stream_sequence;
        self.check_contiguity(sequence, nanos).await?;
        self.expect += 1;
        let stored = Stored {
            sequence,
            nanos,
            subject: &m.message.subject,
            headers: m.message.headers.as_ref(),
            payload: &m.message.payload,
        };
        let (event, bad) =
            message::event(&stored, &log.settings, self.incarnation.epoch, Some(Instant::now()));
        if let Some(why) = bad {
            self.metrics.skipped(why);
            tracing::warn!(channel = log.settings.channel, sequence, nats_subject = stored.subject, reason = %why, "skipped an invalid message");
        }
        if self.caught_up {
            self.metrics.log_to_tail.observe(age_seconds(nanos));
        }
        log.tail.push(event);
        // The message was deleted while it was in transit.
        if log.retention.lock().deletions.contains(sequence) {
            log.tail.remove(0, &[sequence]);
        }
        if !self.caught_up && (info.pending == 0 || sequence >= self.target) {
            return self.catch_up(sequence).await;
        }
        Ok(())
    }

    /// Checks that the anchor is still the same message, and finds out why the sequences between the head and this one are missing:
    /// deleted one by one, or deleted from the front by retention. The state of the stream, fetched after the message arrived, says
    /// which.
    async fn check_contiguity(&mut self, sequence: u64, nanos: i64) -> Result<(), DetachReason> {
        let tail = &self.log.tail;
        let (_, high) = tail.bounds();
        if let Some(Anchor { sequence: anchor, nanos: Some(anchor_nanos), .. }) = self.anchor
            && self.expect == 1
            && sequence == anchor
            && nanos != anchor_nanos
        {
            return Err(end_incarnation(self.log));
        }
        if sequence <= high + 1 {
            return Ok(());
        }
        if self.anchor.is_none() && !self.caught_up {
            // Nothing is served yet. One request is enough, when the tail has caught up.
            self.has_holes = true;
            return Ok(());
        }
        let first = self.first_sequence(sequence).await?;
        if first > high + 1 {
            tail.skip_to(sequence, first);
        }
        Ok(())
    }

    /// The first sequence of the stream, from a leader that knows `sequence`.
    async fn first_sequence(&self, sequence: u64) -> Result<u64, DetachReason> {
        // Earlier messages do not wait for the reply.
        self.log.tail.announce();
        let state =
            self.log.fetch_info(ATTACH_INFO_TIMEOUT).await.map_err(|_| DetachReason::Info)?.state;
        if state.last_sequence < sequence {
            return Err(DetachReason::Behind);
        }
        Ok(state.first_sequence)
    }

    async fn catch_up(&mut self, sequence: u64) -> Result<(), DetachReason> {
        if self.has_holes {
            let first = self.first_sequence(sequence).await?;
            self.log.tail.remove(first, &[]);
        }
        self.caught_up = true;
        self.log.tail.set_ready(self.known);
        self.log.set_live(true);
        Ok(())
    }
}

/// Seconds since `nanos` (since 1970). Never negative, although the clocks of two machines differ.
pub(crate) fn age_seconds(nanos: i64) -> f64 {
    let now = jiff::Timestamp::now().as_nanosecond();
    let age = (now - i128::from(nanos)).max(0);
    #[expect(clippy::cast_precision_loss, reason = "a latency")]
    let seconds = age as f64 / 1e9;
    seconds
}
