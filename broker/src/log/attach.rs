//! Keeps the tail filled from an ephemeral push consumer, one per broker and channel.
//!
//! The ordered consumers of async-nats take up to 82 s to recover and may restart at the first message (docs/adr/0001). This one
//! starts at an anchor, the newest event of the tail. The consumer sequence proves that no message was lost. The anchor's timestamp
//! and the state of the stream prove that the stream is still the same one.

use std::time::Duration;

use async_nats::{
    Subscriber,
    jetstream::{
        consumer::{AckPolicy, DeliverPolicy, push},
        stream::Info,
    },
};
use eventcast_crds::{config::ChannelConfig, stream::epoch_of};
use eventcast_runtime::Chain;
use futures_util::{FutureExt, StreamExt};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

mod detach_reason;
mod reader;

pub(crate) use reader::age_seconds;

use super::{Incarnation, Log, retention::Remove, stream::StreamError, tail::Anchor};
use detach_reason::DetachReason;
use reader::Reader;

/// How many heartbeats long a consumer may be silent.
const MAX_SILENT_HEARTBEATS: f64 = 2.5;
/// How long the creation of a consumer may take. Short: the meta leader may place it on a server that has just died.
const CREATE_CONSUMER_TIMEOUT: Duration = Duration::from_millis(400);
/// How long one request for the state of the stream may take while attaching.
const ATTACH_INFO_TIMEOUT: Duration = Duration::from_millis(300);
/// How long the first request for the state of the stream may take, before there is a consumer.
const FIRST_INFO_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the deletion of a consumer may take.
const DELETE_CONSUMER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long requests for the state of the stream are repeated while attaching.
const ATTACH_INFO_RETRY_LIMIT: Duration = Duration::from_secs(5);
/// How long a stream leader may report an older last sequence than the tail has. After that, the stream lost its newest messages.
const STALE_LEADER_LIMIT: Duration = Duration::from_secs(10);

/// Attempts without an answer after which the connections for reading are replaced.
const UNANSWERED_BEFORE_RECONNECT: u32 = 4;
/// How long the server keeps a consumer without a subscriber.
const CONSUMER_INACTIVE_THRESHOLD: Duration = Duration::from_secs(10);
/// Messages that are pushed to the tail before subscribers are woken.
const MAX_UNANNOUNCED: usize = 64;

/// Attaches, and reattaches whenever an attachment ends. Never returns; cancel safe.
pub(super) async fn run(log: &Log, config: &ChannelConfig) {
    let (mut unanswered, mut behind_since) = (0u32, None::<Instant>);
    loop {
        log.nats.wait_for_connection().await;
        let reason = if log.nats.is_too_old() {
            DetachReason::TooOld
        } else {
            attach(log, config, &mut behind_since).await
        };
        log.tail.announce();
        log.set_live(false);
        log.metrics().tail_reset(reason.label());
        if unanswered == 0 {
            let channel = &*log.settings.channel;
            tracing::info!(channel, reason = reason.label(), "reattaching the tail consumer");
        }
        unanswered = if reason.is_unanswered() { unanswered + 1 } else { 0 };
        if unanswered % UNANSWERED_BEFORE_RECONNECT == UNANSWERED_BEFORE_RECONNECT - 1 {
            log.nats.reconnect_readers().await;
        }
        sleep(reason.retry_pause()).await;
    }
}

/// Creates a consumer and reads from it until something ends it.
async fn attach(
    log: &Log,
    config: &ChannelConfig,
    behind_since: &mut Option<Instant>,
) -> DetachReason {
    let attaching = log.nats.parking.attaching().await;
    let client = log.nats.tail.client();
    let anchor = log.tail.anchor();
    let mut connected = log.nats.connected.clone();
    connected.mark_unchanged();

    // Without an anchor, the state of the stream says where to start. Everything up to `known` is covered then.
    let (start, known) = match anchor {
        Some(Anchor { sequence, .. }) => (sequence.max(1), sequence),
        None => match first_info(log, config).await {
            Ok(info) => {
                let s = &info.state;
                let newest = s.last_sequence.saturating_sub(log.max_tail_events) + 1;
                (s.first_sequence.max(newest).max(1), s.last_sequence)
            }
            Err(end) => return end,
        },
    };

    let inbox = client.new_inbox();
    // Subscribe before the consumer exists. A literal subject: a wildcard subscription does not count as interest.
    let Ok(messages) = client.subscribe(inbox.clone()).await else {
        return DetachReason::Subscribe;
    };
    let idle_heartbeat = log.nats.parking.heartbeat();
    let name = format!("eventcast-{}", ulid::Ulid::generate());
    let consumer = push::Config {
        name: Some(name.clone()),
        deliver_subject: inbox,
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
        ack_policy: AckPolicy::None,
        max_deliver: 1,
        flow_control: true,
        idle_heartbeat,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: CONSUMER_INACTIVE_THRESHOLD,
        ..Default::default()
    };
    let _delete = DeleteConsumer { log, name };
    let created = log.nats.tail.create_consumer_on_stream(consumer, &log.settings.stream);
    let pending = match timeout(CREATE_CONSUMER_TIMEOUT, created).await {
        Ok(Ok(c)) => c.cached_info().num_pending,
        Ok(Err(_)) => match log.fetch_info(ATTACH_INFO_TIMEOUT).await {
            Err(StreamError::Missing) => return missing(log, config).await,
            _ => return DetachReason::Create,
        },
        Err(_) => return DetachReason::Create,
    };

    let info = match info_after(log, config, &mut connected).await {
        Ok(info) => info,
        Err(end) => return end,
    };
    let incarnation = match check_incarnation(log, anchor, &info, start, behind_since) {
        Ok(incarnation) => incarnation,
        Err(end) => return end,
    };
    // Before anything is served: deletions were not polled while the tail was detached.
    if log.remove_deleted(incarnation, &info, Remove::AtOnce).await.is_err() {
        return DetachReason::Info;
    }
    if pending == 0 {
        log.tail.set_ready(known);
        log.set_live(true);
    }

    let reader = Reader {
        log,
        metrics: log.metrics(),
        incarnation,
        anchor,
        known,
        target: info.state.last_sequence,
        expect: 1,
        caught_up: pending == 0,
        has_holes: false,
    };
    drop(attaching);
    read(reader, messages, connected, idle_heartbeat.mul_f64(MAX_SILENT_HEARTBEATS)).await
}

/// Reads messages until something detaches the tail.
async fn read(
    mut reader: Reader<'_>,
    mut messages: Subscriber,
    mut connected: watch::Receiver<u64>,
    max_silence: Duration,
) -> DetachReason {
    let tail = &reader.log.tail;
    let mut unannounced = 0;
    loop {
        // Messages that arrive together are announced together: a burst takes fewer writes.
        let at_once =
            if unannounced < MAX_UNANNOUNCED { messages.next().now_or_never() } else { None };
        let message = match at_once {
            Some(Some(m)) => m,
            Some(None) => return DetachReason::Connection,
            None => {
                if std::mem::take(&mut unannounced) > 0 {
                    tail.announce();
                }
                tokio::select! {
                    m = timeout(max_silence, messages.next()) => match m {
                        Ok(Some(m)) => m,
                        Ok(None) => return DetachReason::Connection,
                        Err(_) => return DetachReason::Silence,
                    },
                    _ = connected.changed() => return DetachReason::Connection,
                }
            }
        };
        let result = match message.status {
            Some(_) => reader.status(&message).await,
            None => {
                unannounced += 1;
                reader.message(message).await
            }
        };
        if let Err(end) = result {
            return end;
        }
    }
}

/// The state of the stream, for an attachment without an anchor.
async fn first_info(log: &Log, config: &ChannelConfig) -> Result<Info, DetachReason> {
    let mut info = log.fetch_info(FIRST_INFO_TIMEOUT).await;
    if matches!(info, Err(StreamError::Missing)) {
        log.withhold();
        if create_stream(log, config).await {
            info = log.fetch_info(FIRST_INFO_TIMEOUT).await;
        }
    }
    info.map_err(|error| match error {
        StreamError::Missing => DetachReason::Missing,
        _ => DetachReason::Info,
    })
}

/// Handles a missing stream. The tail keeps its events but serves none: if the stream comes back, its epoch says whether it is the
/// same one.
async fn missing(log: &Log, config: &ChannelConfig) -> DetachReason {
    log.withhold();
    create_stream(log, config).await;
    DetachReason::Missing
}

/// Creates the stream, if brokers create streams and it can be created.
async fn create_stream(log: &Log, config: &ChannelConfig) -> bool {
    if !log.nats.create_streams {
        return false;
    }
    let created = log.create(config).await;
    if let Err(error) = &created {
        tracing::warn!(channel = log.settings.channel, error = %Chain(error), "failed to create the stream");
    }
    created.is_ok()
}

/// The state of the stream, fetched after the consumer was created, so that it is not older than what the consumer sends.
async fn info_after(
    log: &Log,
    config: &ChannelConfig,
    connected: &mut watch::Receiver<u64>,
) -> Result<Info, DetachReason> {
    let began = Instant::now();
    loop {
        match log.fetch_info(ATTACH_INFO_TIMEOUT).await {
            Ok(info) => return Ok(info),
            Err(StreamError::Missing) => return Err(missing(log, config).await),
            Err(_) if began.elapsed() > ATTACH_INFO_RETRY_LIMIT => return Err(DetachReason::Info),
            Err(_) if connected.has_changed().unwrap_or(true) => {
                return Err(DetachReason::Connection);
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Checks that the stream is the one that the tail was read from. Starts a new incarnation if there is no anchor to compare with.
fn check_incarnation(
    log: &Log,
    anchor: Option<Anchor>,
    info: &Info,
    start: u64,
    behind_since: &mut Option<Instant>,
) -> Result<Incarnation, DetachReason> {
    let epoch = epoch_of(info);
    let Some(Anchor { incarnation, sequence, .. }) = anchor else {
        let number = log.tail.incarnation_number() + 1;
        let first_sequence = info.state.first_sequence.max(1);
        let incarnation = Incarnation { number, epoch, first_sequence };
        log.tail.begin(incarnation, start);
        return Ok(incarnation);
    };
    if incarnation.epoch != epoch {
        return Err(end_incarnation(log));
    }
    if info.state.last_sequence >= sequence {
        *behind_since = None;
        return Ok(incarnation);
    }
    let since = behind_since.get_or_insert_with(Instant::now);
    if info.config.num_replicas == 1 || since.elapsed() > STALE_LEADER_LIMIT {
        *behind_since = None;
        return Err(end_incarnation(log));
    }
    Err(DetachReason::Behind)
}

/// The stream was recreated, or lost its newest messages.
fn end_incarnation(log: &Log) -> DetachReason {
    tracing::warn!(
        channel = log.settings.channel,
        "the stream was recreated: subscribers restart from its first event"
    );
    log.invalidate();
    DetachReason::NewIncarnation
}

/// Deletes the consumer when its attachment ends. Best effort: the server deletes an inactive consumer by itself.
struct DeleteConsumer<'a> {
    log: &'a Log,
    name: String,
}

impl Drop for DeleteConsumer<'_> {
    fn drop(&mut self) {
        let (context, stream) = (self.log.nats.tail.clone(), self.log.settings.stream.clone());
        let name = std::mem::take(&mut self.name);
        tokio::spawn(async move {
            let deleted = context.delete_consumer_from_stream(name, stream);
            if let Ok(Err(error)) = timeout(DELETE_CONSUMER_TIMEOUT, deleted).await {
                tracing::debug!(error = %Chain(&error), "failed to delete a consumer");
            }
        });
    }
}
