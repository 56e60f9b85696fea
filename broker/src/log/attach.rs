//! Keeps the tail filled: one push consumer of our own per broker and channel.
//!
//! The library's ordered consumers take up to 82 s to recover and may begin anew at the first message (docs/adr/0001).
//! Ours starts at an anchor, the newest event that the tail holds, proves contiguity by the consumer's own sequence, and
//! proves by the anchor's timestamp and the stream's state that the log is still the same.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, push},
    stream::Info,
};
use eventcast_crds::{config::ChannelConfig, stream::epoch_of};
use eventcast_runtime::Chain;
use futures_util::{FutureExt, StreamExt};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

mod reader;

pub(crate) use reader::age_seconds;

use super::{Incarnation, Log, retention::Forget, stream::StreamError};
use reader::Reader;

/// Incarnation, sequence and, where there is an event, timestamp of the newest that the tail holds.
type Anchor = (Incarnation, u64, Option<i64>);

const HEARTBEAT: Duration = Duration::from_millis(250);
const SILENCE: Duration = Duration::from_millis(625);
/// The meta leader places the consumer on any peer, also on one that died a second ago: short tries.
const CREATE: Duration = Duration::from_millis(400);
const INFO: Duration = Duration::from_millis(300);
const INFO_PATIENCE: Duration = Duration::from_secs(5);
/// An outdated leader may know less than we do for so long.
const OUTDATED_LEADER: Duration = Duration::from_secs(10);

/// Why an attachment ended; the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Subscribe,
    Create,
    Info,
    Missing,
    Behind,
    Silence,
    Connection,
    Sequence,
    Status,
    NewIncarnation,
    TooOld,
}

impl End {
    fn label(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Create => "create",
            Self::Info => "info",
            Self::Missing => "stream-missing",
            Self::Behind => "leader-behind",
            Self::Silence => "silence",
            Self::Connection => "connection",
            Self::Sequence => "sequence",
            Self::Status => "status",
            Self::NewIncarnation => "new-incarnation",
            Self::TooOld => "nats-too-old",
        }
    }

    /// NATS did not answer: perhaps the server hangs although the connection is up.
    fn unanswered(self) -> bool {
        matches!(self, Self::Create | Self::Info)
    }
}

/// Messages that are told together at most.
const TOGETHER: usize = 64;

/// Attaches again and again. Never returns; cancel safe.
pub(super) async fn keep(log: &Log, config: &ChannelConfig) {
    let (mut unanswered, mut behind_since) = (0u32, None::<Instant>);
    loop {
        log.nats.reachable().await;
        let end = if log.nats.too_old() {
            End::TooOld
        } else {
            attach(log, config, &mut behind_since).await
        };
        log.tail.announce();
        log.set_live(false);
        log.metrics.tail_reset(end.label());
        if unanswered == 0 {
            let channel = &*log.names.channel;
            tracing::info!(channel, reason = end.label(), "the tail attaches again");
        }
        unanswered = if end.unanswered() { unanswered + 1 } else { 0 };
        if unanswered % 4 == 3 {
            log.nats.leave_for_reading().await;
        }
        let pause = match end {
            End::Missing => 500,
            End::TooOld => 5000,
            End::Behind => 300,
            _ if end.unanswered() => 50,
            _ => 10,
        };
        sleep(Duration::from_millis(fastrand::u64(pause / 2 + 1..=pause))).await;
    }
}

/// One life of the push consumer.
async fn attach(log: &Log, config: &ChannelConfig, behind_since: &mut Option<Instant>) -> End {
    let client = log.nats.tail.client();
    let anchor = log.tail.anchor();
    let mut connected = log.nats.connected.clone();
    connected.mark_unchanged();

    // Without an anchor the state of the stream says where to begin; it covers everything up to `known`.
    let (start, known) = match anchor {
        Some((_, high, _)) => (high.max(1), high),
        None => match first_info(log, config).await {
            Ok(info) => {
                let s = &info.state;
                let newest = s.last_sequence.saturating_sub(log.warm) + 1;
                (s.first_sequence.max(newest).max(1), s.last_sequence)
            }
            Err(end) => return end,
        },
    };

    let inbox = client.new_inbox();
    // Before the consumer exists, and literally: a wildcard does not count as interest.
    let Ok(mut messages) = client.subscribe(inbox.clone()).await else {
        return End::Subscribe;
    };
    let name = format!("eventcast-{}", ulid::Ulid::generate());
    let consumer = push::Config {
        name: Some(name.clone()),
        deliver_subject: inbox,
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
        ack_policy: AckPolicy::None,
        max_deliver: 1,
        flow_control: true,
        idle_heartbeat: HEARTBEAT,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: Duration::from_secs(10),
        ..Default::default()
    };
    let _discard = Discard { log, name };
    let created = log.nats.tail.create_consumer_on_stream(consumer, &log.names.stream);
    let pending = match timeout(CREATE, created).await {
        Ok(Ok(c)) => c.cached_info().num_pending,
        Ok(Err(_)) => match log.ask_info(INFO).await {
            Err(StreamError::Missing) => return missing(log, config).await,
            _ => return End::Create,
        },
        Err(_) => return End::Create,
    };

    let info = match info_after(log, config, &mut connected).await {
        Ok(info) => info,
        Err(end) => return end,
    };
    let incarnation = match same_log(log, anchor, &info, start, behind_since) {
        Ok(incarnation) => incarnation,
        Err(end) => return end,
    };
    // Before anybody is served again: nobody followed the stream while the tail was detached.
    if log.forget_dropped(incarnation, &info, Forget::AtOnce).await.is_err() {
        return End::Info;
    }
    if pending == 0 {
        log.tail.set_ready(known);
        log.set_live(true);
    }

    let mut reader = Reader {
        log,
        incarnation,
        anchor,
        known,
        target: info.state.last_sequence,
        expect: 1,
        warm: pending == 0,
        holes: false,
    };
    let mut untold = 0;
    loop {
        // What came together is told together: a burst goes out in fewer writes.
        let at_once = if untold < TOGETHER { messages.next().now_or_never() } else { None };
        let message = match at_once {
            Some(Some(m)) => m,
            Some(None) => return End::Connection,
            None => {
                if std::mem::take(&mut untold) > 0 {
                    log.tail.announce();
                }
                tokio::select! {
                    m = timeout(SILENCE, messages.next()) => match m {
                        Ok(Some(m)) => m,
                        Ok(None) => return End::Connection,
                        Err(_) => return End::Silence,
                    },
                    _ = connected.changed() => return End::Connection,
                }
            }
        };
        let result = match message.status {
            Some(_) => reader.status(&message).await,
            None => {
                untold += 1;
                reader.message(message).await
            }
        };
        if let Err(end) = result {
            return end;
        }
    }
}

async fn first_info(log: &Log, config: &ChannelConfig) -> Result<Info, End> {
    match log.ask_info(Duration::from_secs(1)).await {
        Ok(info) => Ok(info),
        Err(StreamError::Missing) => Err(missing(log, config).await),
        Err(_) => Err(End::Info),
    }
}

/// What the tail holds stays, but is served to nobody: a stream that comes back proves by its epoch whether it is the same.
async fn missing(log: &Log, config: &ChannelConfig) -> End {
    log.withhold();
    if log.nats.create_streams
        && let Err(error) = log.create(config).await
    {
        tracing::warn!(channel = log.names.channel, error = %Chain(&error), "cannot create the stream");
    }
    End::Missing
}

/// The state of the stream, asked after the consumer was created: what it says is not older than what we will be sent.
async fn info_after(
    log: &Log,
    config: &ChannelConfig,
    connected: &mut watch::Receiver<u64>,
) -> Result<Info, End> {
    let asked = Instant::now();
    loop {
        match log.ask_info(INFO).await {
            Ok(info) => return Ok(info),
            Err(StreamError::Missing) => return Err(missing(log, config).await),
            Err(_) if asked.elapsed() > INFO_PATIENCE => return Err(End::Info),
            Err(_) if connected.has_changed().unwrap_or(true) => return Err(End::Connection),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Whether the stream is the log that the tail was read from; begins a new incarnation where there is none to compare.
fn same_log(
    log: &Log,
    anchor: Option<Anchor>,
    info: &Info,
    start: u64,
    behind_since: &mut Option<Instant>,
) -> Result<Incarnation, End> {
    let epoch = epoch_of(info);
    let Some((incarnation, high, _)) = anchor else {
        let number = log.tail.last_number() + 1;
        let first_sequence = info.state.first_sequence.max(1);
        let incarnation = Incarnation { number, epoch, first_sequence };
        log.tail.begin(incarnation, start);
        return Ok(incarnation);
    };
    if incarnation.epoch != epoch {
        return Err(renew(log));
    }
    if info.state.last_sequence >= high {
        *behind_since = None;
        return Ok(incarnation);
    }
    let since = behind_since.get_or_insert_with(Instant::now);
    if info.config.num_replicas == 1 || since.elapsed() > OUTDATED_LEADER {
        *behind_since = None;
        return Err(renew(log));
    }
    Err(End::Behind)
}

fn renew(log: &Log) -> End {
    tracing::warn!(
        channel = log.names.channel,
        "the log is another one now: subscribers are told and begin anew"
    );
    log.invalidate();
    End::NewIncarnation
}

/// Deletes the consumer when its attachment ends; best effort: the server forgets it after ten seconds anyway.
struct Discard<'a> {
    log: &'a Log,
    name: String,
}

impl Drop for Discard<'_> {
    fn drop(&mut self) {
        let (context, stream) = (self.log.nats.tail.clone(), self.log.names.stream.clone());
        let name = std::mem::take(&mut self.name);
        tokio::spawn(async move {
            let deleted = context.delete_consumer_from_stream(name, stream);
            if let Ok(Err(error)) = timeout(Duration::from_secs(1), deleted).await {
                tracing::debug!(error = %Chain(&error), "could not delete a consumer");
            }
        });
    }
}
