//! What the push consumer sends, into the tail: contiguity, the anchor, what retention took.

use async_nats::{Message, jetstream};
use bytes::Bytes;
use tokio::time::Instant;

use super::{Anchor, End, INFO, renew};
use crate::log::{
    Incarnation, Log,
    message::{self, Stored},
};

/// One attachment's reading.
pub(super) struct Reader<'a> {
    pub(super) log: &'a Log,
    pub(super) incarnation: Incarnation,
    pub(super) anchor: Option<Anchor>,
    pub(super) known: u64,
    /// Last sequence of the stream after the consumer was created: the tail is warm when it was read.
    pub(super) target: u64,
    pub(super) expect: u64,
    pub(super) warm: bool,
    /// Sequences were missing before the tail was warm.
    pub(super) holes: bool,
}

impl Reader<'_> {
    pub(super) async fn status(&mut self, m: &Message) -> Result<(), End> {
        if m.status.map(|s| s.as_u16()) != Some(100) {
            return Err(End::Status);
        }
        let client = self.log.nats.tail.client();
        let header = |name: &str| m.headers.as_ref().and_then(|h| h.get_last(name));
        let stalled = header("Nats-Consumer-Stalled").map(|v| v.as_str().into());
        if let Some(subject) = m.reply.clone().or(stalled) {
            // Flow control: the consumer waits for an empty answer.
            client.publish(subject, Bytes::new()).await.map_err(|_| End::Connection)?;
        }
        match header("Nats-Last-Consumer").map(|v| v.as_str().parse::<u64>()) {
            Some(last) if last != Ok(self.expect - 1) => Err(End::Sequence),
            _ => Ok(()),
        }
    }

    /// Sequence and time come from the reply subject: headers can be forged by publishers.
    pub(super) async fn message(&mut self, message: Message) -> Result<(), End> {
        let log = self.log;
        let m = jetstream::Message { message, context: log.nats.tail.clone() };
        let Ok(info) = m.info() else { return Ok(()) };
        if info.consumer_sequence != self.expect {
            return Err(End::Sequence);
        }
        let nanos = i64::try_from(info.published.unix_timestamp_nanos()).unwrap_or(0);
        let sequence = info.stream_sequence;
        self.contiguous(sequence, nanos).await?;
        self.expect += 1;
        let stored = Stored {
            sequence,
            nanos,
            subject: &m.message.subject,
            headers: m.message.headers.as_ref(),
            payload: &m.message.payload,
        };
        let (event, bad) =
            message::event(&stored, &log.names, self.incarnation.epoch, Some(Instant::now()));
        if let Some(why) = bad {
            log.metrics.skipped(why);
            tracing::warn!(channel = log.names.channel, sequence, subject = ?stored.subject, %why, "skipped a message");
        }
        if self.warm {
            log.metrics.log_to_tail.observe(age_seconds(nanos));
        }
        log.tail.push(event);
        // It was deleted while it was on its way.
        if log.retained.lock().dropped.contains(sequence) {
            log.tail.forget(0, &[sequence]);
        }
        if !self.warm && (info.pending == 0 || sequence >= self.target) {
            return self.warmed(sequence).await;
        }
        Ok(())
    }

    /// Whether this is still the log that the anchor is of, and what became of the sequences between the head and this one: deleted
    /// one by one, or taken by retention while nobody read. Only the stream's state, asked after the message came, can tell.
    async fn contiguous(&mut self, sequence: u64, nanos: i64) -> Result<(), End> {
        let tail = &self.log.tail;
        let (_, high) = tail.bounds();
        if let Some((_, anchor, Some(at))) = self.anchor
            && self.expect == 1
            && sequence == anchor
            && at != nanos
        {
            return Err(renew(self.log));
        }
        if sequence <= high + 1 {
            return Ok(());
        }
        if self.anchor.is_none() && !self.warm {
            // Nobody reads yet: asked once, when the tail is warm.
            self.holes = true;
            return Ok(());
        }
        let first = self.first_sequence(sequence).await?;
        if first > high + 1 {
            tail.skip_to(sequence, first);
        }
        Ok(())
    }

    /// Where the stream begins, by a leader that knows of `sequence`.
    async fn first_sequence(&self, sequence: u64) -> Result<u64, End> {
        // What was pushed before does not wait for the answer.
        self.log.tail.announce();
        let state = self.log.ask_info(INFO).await.map_err(|_| End::Info)?.state;
        if state.last_sequence < sequence {
            return Err(End::Behind);
        }
        Ok(state.first_sequence)
    }

    async fn warmed(&mut self, sequence: u64) -> Result<(), End> {
        if self.holes {
            let first = self.first_sequence(sequence).await?;
            self.log.tail.forget(first, &[]);
        }
        self.warm = true;
        self.log.tail.set_ready(self.known);
        self.log.set_live(true);
        Ok(())
    }
}

/// Seconds since `nanos`, never negative: the clocks of two machines differ.
pub(crate) fn age_seconds(nanos: i64) -> f64 {
    let now = jiff::Timestamp::now().as_nanosecond();
    let age = (now - i128::from(nanos)).max(0);
    #[expect(clippy::cast_precision_loss, reason = "a latency")]
    let seconds = age as f64 / 1e9;
    seconds
}
