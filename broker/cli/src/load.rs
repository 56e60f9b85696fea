//! A small load generator: subscribers and a publisher over the public API, in one process, so that both have the same clock.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    answers::Stored,
    channel::{Channel, Query},
    failure::Failure,
    latencies::Latencies,
    stream::{Follower, StreamUpdate},
};

/// How long a stream may be silent before it is replaced.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// How long a stream may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Streams that are opened at a time.
const OPENING: usize = 50;
/// Publishes in progress. More are late, and counted from when they were due.
const PUBLISHING: usize = 64;
/// How long the last events may take to arrive.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) subscribers: usize,
    pub(crate) events: usize,
    /// Time between two events.
    pub(crate) interval: Duration,
    /// Bytes of data of an event, at least.
    pub(crate) bytes: usize,
    pub(crate) topic: String,
    pub(crate) event_type: String,
    /// How long events are kept, as `pub --ttl` takes it.
    pub(crate) ttl: String,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) published: u64,
    /// Publishes without an acknowledgement, and the first reason.
    pub(crate) failed: u64,
    pub(crate) why: Option<String>,
    /// Deliveries of different events to subscribers.
    pub(crate) delivered: u64,
    /// Acknowledged events that subscribers have not got.
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) gaps: u64,
    pub(crate) reconnects: u64,
    /// From the start of a publish to its acknowledgement.
    pub(crate) publishing: Latencies,
    /// From the start of a publish to the arrival at a subscriber.
    pub(crate) delivery: Latencies,
    /// From the first publish to the last acknowledgement.
    pub(crate) elapsed: Duration,
}

/// The data of an event.
#[derive(Serialize, Deserialize)]
struct Marked {
    run: String,
    number: usize,
}

/// When each event was sent.
type Sent = Arc<Vec<OnceLock<Instant>>>;

/// What one subscriber has got.
struct Tally {
    seen: Vec<bool>,
    left: usize,
    duplicates: u64,
    gaps: u64,
    reconnects: u64,
    latencies: Latencies,
}

/// Opens the streams, publishes, and waits for what was published.
///
/// # Errors
/// A stream cannot be opened.
pub(crate) async fn run(channel: &Channel, plan: &Plan) -> Result<Outcome, Failure> {
    let id = format!("{:016x}", fastrand::u64(..));
    let sent: Sent = Arc::new((0..plan.events).map(|_| OnceLock::new()).collect());
    let mut query = Query::default();
    query.add("topic", &plan.topic);
    query.add("from", "latest");
    let opening = (0..plan.subscribers).map(|_| open(channel.clone(), query.clone()));
    let mut opening = stream::iter(opening).buffer_unordered(OPENING);
    let (stop, stopped) = watch::channel(false);
    let mut subscribers = JoinSet::new();
    while let Some(follower) = opening.next().await {
        let (sent, stopped) = (Arc::clone(&sent), stopped.clone());
        subscribers.spawn(read(follower?, id.clone(), sent, stopped));
    }
    let (mut outcome, acknowledged) = publish(channel, plan, &id, &sent).await;
    let mut tallies = Vec::new();
    let settled = timeout(SETTLE_TIMEOUT, async {
        while let Some(tally) = subscribers.join_next().await {
            tallies.extend(tally.ok());
        }
    });
    if settled.await.is_err() {
        stop.send_replace(true);
        while let Some(tally) = subscribers.join_next().await {
            tallies.extend(tally.ok());
        }
    }
    for tally in &tallies {
        let missing =
            acknowledged.iter().zip(&tally.seen).filter(|(stored, seen)| **stored && !**seen);
        outcome.lost += missing.count() as u64;
        outcome.delivered += tally.latencies.count();
        outcome.duplicates += tally.duplicates;
        outcome.gaps += tally.gaps;
        outcome.reconnects += tally.reconnects;
        outcome.delivery.merge(&tally.latencies);
    }
    Ok(outcome)
}

/// A stream that has begun.
async fn open(channel: Channel, query: Query) -> Result<Follower, Failure> {
    let mut follower = Follower::new(channel, query, MAX_SILENCE);
    let begun = timeout(OPEN_TIMEOUT, async {
        loop {
            match follower.next().await? {
                StreamUpdate::Position(_) | StreamUpdate::Gap(_) => return Ok(()),
                StreamUpdate::Stop => {
                    return Err(Failure::failed("the broker asks clients to stay away (204)"));
                }
                StreamUpdate::Event(_) | StreamUpdate::Notice(_) => {}
            }
        }
    });
    let late = || Failure::failed(format!("a stream did not begin within {OPEN_TIMEOUT:?}"));
    begun.await.map_err(|_| late())??;
    Ok(follower)
}

/// Reads until all events of the run are there, or it is stopped.
async fn read(
    mut follower: Follower,
    run: String,
    sent: Sent,
    mut stopped: watch::Receiver<bool>,
) -> Tally {
    let mut tally = Tally {
        seen: vec![false; sent.len()],
        left: sent.len(),
        duplicates: 0,
        gaps: 0,
        reconnects: 0,
        latencies: Latencies::default(),
    };
    while tally.left > 0 {
        let happening = tokio::select! {
            happening = follower.next() => happening,
            _ = stopped.changed() => break,
        };
        match happening {
            Ok(StreamUpdate::Event(event)) => {
                let marked = serde_json::from_str::<Marked>(&event.data).ok();
                let of_run =
                    marked.filter(|marked| marked.run == run && marked.number < sent.len());
                let Some(Marked { number, .. }) = of_run else { continue };
                if std::mem::replace(&mut tally.seen[number], true) {
                    tally.duplicates += 1;
                } else {
                    tally.left -= 1;
                    tally
                        .latencies
                        .add(sent[number].get().map(Instant::elapsed).unwrap_or_default());
                }
            }
            Ok(StreamUpdate::Gap(_)) => tally.gaps += 1,
            Ok(StreamUpdate::Notice(notice)) => {
                tally.reconnects += u64::from(notice.contains("reconnecting"));
            }
            Ok(StreamUpdate::Position(_)) => {}
            Ok(StreamUpdate::Stop) | Err(_) => break,
        }
    }
    tally
}

/// Publishes all events, and returns which were acknowledged.
async fn publish(channel: &Channel, plan: &Plan, run: &str, sent: &Sent) -> (Outcome, Vec<bool>) {
    let mut query = Query::default();
    query.add("topic", &plan.topic);
    query.add("type", &plan.event_type);
    query.add("ttl", &plan.ttl);
    let mut outcome = Outcome {
        published: 0,
        failed: 0,
        why: None,
        delivered: 0,
        lost: 0,
        duplicates: 0,
        gaps: 0,
        reconnects: 0,
        publishing: Latencies::default(),
        delivery: Latencies::default(),
        elapsed: Duration::ZERO,
    };
    let mut acknowledged = vec![false; plan.events];
    let mut tick = interval(plan.interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    let due = stream::unfold((0, tick), |(number, mut tick)| async move {
        if number == plan.events {
            return None;
        }
        let at = tick.tick().await;
        Some(((number, at), (number + 1, tick)))
    });
    let publishes = due.map(|(number, at)| {
        let query = &query;
        async move {
            // A publish that has to wait for others is late: its subscribers wait, too.
            sent[number].get_or_init(|| at);
            let body = data(run, number, plan.bytes);
            let stored = channel.post::<Stored>("/events", query, headers(), body).await;
            (number, stored.map(|_| at.elapsed()))
        }
    });
    let mut publishes = Box::pin(publishes.buffer_unordered(PUBLISHING));
    while let Some((number, stored)) = publishes.next().await {
        match stored {
            Ok(latency) => {
                acknowledged[number] = true;
                outcome.published += 1;
                outcome.publishing.add(latency);
            }
            Err(error) => {
                outcome.failed += 1;
                outcome.why.get_or_insert_with(|| error.to_string());
            }
        }
    }
    outcome.elapsed = began.elapsed();
    (outcome, acknowledged)
}

fn headers() -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    HeaderMap::from_iter([(header::CONTENT_TYPE, json)])
}

/// The data of an event, filled up to so many bytes.
fn data(run: &str, number: usize, bytes: usize) -> Bytes {
    let bare = json!({"run": run, "number": number, "fill": ""}).to_string();
    let fill = "x".repeat(bytes.saturating_sub(bare.len()));
    json!({"run": run, "number": number, "fill": fill}).to_string().into()
}
