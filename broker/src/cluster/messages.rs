//! Messages between the brokers of a channel, over plain NATS: counts for quotas, lists of subscribers, and disconnections. Subjects
//! are `eventcast.ctl.<namespace>.<name>.{quota,list,disconnect}`.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use super::{
    quotas::{Counts, Quotas, SubjectHash},
    state::SharedState,
    store::Store,
};
use crate::identity::RandomId;

/// How often changed counts are published.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(500);
/// How often a message is published even if no count has changed, so that others know that this broker is there.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(2);
/// How often all counts are published.
const PUBLISH_ALL_INTERVAL: Duration = Duration::from_secs(30);
/// How long the other brokers may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Counts in one message.
const MAX_COUNTS: usize = 20_000;
/// Bytes of one count: a hash and three numbers.
const COUNT_BYTES: usize = 8 + 3 * 4;
/// Bytes before the counts: the id of the broker, and whether they are all.
const HEAD_BYTES: usize = 24 + 1;

/// Exchanges messages with the other brokers of one channel.
pub(crate) struct Messages {
    client: Client,
    store: Store,
    prefix: String,
    broker: RandomId,
    quotas: Arc<Quotas>,
    /// Since when this broker receives the messages of the others.
    subscribed_since: Mutex<Option<Instant>>,
}

/// Handles the requests of other brokers. Responses are JSON.
pub(crate) trait PeerRequestHandler: Send + Sync {
    /// Lists open streams.
    fn list(&self, request: &[u8]) -> Option<Vec<u8>>;
    /// Closes streams.
    fn disconnect(&self, request: &[u8]) -> Option<Vec<u8>>;
}

/// A request to the other brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerRequest {
    List,
    Disconnect,
}

impl PeerRequest {
    fn subject(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Disconnect => "disconnect",
        }
    }
}

impl Messages {
    pub(crate) fn new(store: &Store, quotas: &Arc<Quotas>) -> Self {
        Self {
            client: store.client(),
            prefix: store.control_prefix(),
            store: store.clone(),
            broker: RandomId::generate(),
            quotas: Arc::clone(quotas),
            subscribed_since: Mutex::default(),
        }
    }

    /// Whether others can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        self.store.nats().can_read()
    }

    /// Asks all other brokers, and returns the answers that arrive in time. Returns early when all known brokers have answered.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        request_kind: PeerRequest,
        request: &impl Serialize,
    ) -> Vec<T> {
        let (deadline, mut answers) = (Instant::now() + ANSWER_TIMEOUT, Vec::new());
        let known = self.known_peers(Instant::now());
        let inbox = self.client.new_inbox();
        let asked = async {
            let request = serde_json::to_vec(request).ok()?;
            let replies = self.client.subscribe(inbox.clone()).await.ok()?;
            let subject = format!("{}.{}", self.prefix, request_kind.subject());
            let mut headers = async_nats::HeaderMap::new();
            headers.insert(BROKER_HEADER, self.broker.to_string());
            let sent =
                self.client.publish_with_reply_and_headers(subject, inbox, headers, request.into());
            sent.await.ok()?;
            Some(replies)
        };
        let Some(mut replies) = asked.await else { return answers };
        while answers.len() < known {
            match timeout_at(deadline, replies.next()).await {
                // A status: there are no responders.
                Ok(Some(reply)) if reply.status.is_some() => break,
                Ok(Some(reply)) => answers.extend(serde_json::from_slice(&reply.payload).ok()),
                Ok(None) | Err(_) => break,
            }
        }
        answers
    }

    /// How many other brokers there are; `usize::MAX` while some may not have announced themselves yet.
    fn known_peers(&self, now: Instant) -> usize {
        let elapsed = self.subscribed_since.lock().map(|since| now.duration_since(since));
        match elapsed {
            Some(elapsed) if elapsed > 2 * PRESENCE_INTERVAL => self.quotas.peers(now),
            _ => usize::MAX,
        }
    }

    /// Answers requests and publishes counts until the future is dropped.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn run(
        self: Arc<Self>,
        state: Arc<SharedState>,
        handler: impl PeerRequestHandler,
    ) {
        loop {
            state.wait_for_need(|needed| needed.messages).await;
            let Ok(mut messages) = self.client.subscribe(format!("{}.*", self.prefix)).await else {
                sleep(PRESENCE_INTERVAL).await;
                continue;
            };
            *self.subscribed_since.lock() = Some(Instant::now());
            tokio::select! {
                () = Box::pin(self.serve(&mut messages, &handler)) => {}
                () = state.wait_for_need(|needed| !needed.messages) => {}
            }
            *self.subscribed_since.lock() = None;
        }
    }

    async fn serve(&self, messages: &mut Subscriber, handler: &impl PeerRequestHandler) {
        let mut tick = interval(PUBLISH_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last_published, mut last_published_all) = (None::<Instant>, None::<Instant>);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => {
                        if self.on_message(message, handler).await {
                            // A new broker does not have our counts yet.
                            last_published_all = None;
                        }
                    }
                    None => return,
                },
                _ = tick.tick() => {
                    let now = Instant::now();
                    let is_due = |at: Option<Instant>, every| at.is_none_or(|at| now - at >= every);
                    let all = is_due(last_published_all, PUBLISH_ALL_INTERVAL);
                    let counts = self.quotas.changed_counts(all, now);
                    if !counts.is_empty() || all || is_due(last_published, PRESENCE_INTERVAL) {
                        self.publish_counts(all, &counts).await;
                        last_published = Some(now);
                        last_published_all = if all { Some(now) } else { last_published_all };
                    }
                }
            }
        }
    }

    async fn publish_counts(&self, all: bool, counts: &[(SubjectHash, Counts)]) {
        let mut chunks = counts.chunks(MAX_COUNTS);
        let first = self.encode(all, chunks.next().unwrap_or_default());
        let rest = chunks.map(|chunk| self.encode(false, chunk));
        for message in std::iter::once(first).chain(rest) {
            if let Err(error) = self.client.publish(format!("{}.quota", self.prefix), message).await
            {
                tracing::debug!(%error, "failed to publish the counts of quotas to other brokers");
            }
        }
    }

    fn encode(&self, all: bool, counts: &[(SubjectHash, Counts)]) -> Bytes {
        let mut out = Vec::with_capacity(HEAD_BYTES + counts.len() * COUNT_BYTES);
        out.extend_from_slice(self.broker.to_string().as_bytes());
        out.push(u8::from(all));
        for (subject, counts) in counts {
            out.extend_from_slice(&subject.to_be_bytes());
            for number in [counts.streams, counts.connects, counts.publishes] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        out.into()
    }

    /// Handles a message. Returns whether it is the first of its broker.
    async fn on_message(&self, message: Message, handler: &impl PeerRequestHandler) -> bool {
        let kind = message.subject.rsplit('.').next().unwrap_or_default();
        if kind == "quota" {
            let Some(PublishedCounts { broker, all, counts }) = decode(&message.payload) else {
                return false;
            };
            if broker == self.broker {
                return false;
            }
            return self.quotas.update_peer(broker, all, &counts, Instant::now());
        }
        let from = message.headers.as_ref().and_then(|headers| headers.get(BROKER_HEADER));
        if from.is_some_and(|from| from.as_str() == self.broker.to_string()) {
            return false;
        }
        let answer = match kind {
            "list" => handler.list(&message.payload),
            "disconnect" => handler.disconnect(&message.payload),
            _ => None,
        };
        if let (Some(answer), Some(reply)) = (answer, message.reply)
            && let Err(error) = self.client.publish(reply, answer.into()).await
        {
            tracing::debug!(%error, "failed to answer another broker");
        }
        false
    }
}

/// The id of the broker that asks, which must not answer itself.
const BROKER_HEADER: &str = "Eventcast-Broker";

/// Counts that a broker has published, and whether they are all of its counts.
struct PublishedCounts {
    broker: RandomId,
    all: bool,
    counts: Vec<(SubjectHash, Counts)>,
}

fn decode(message: &[u8]) -> Option<PublishedCounts> {
    let (head, counts) = message.split_at_checked(HEAD_BYTES)?;
    let broker = std::str::from_utf8(&head[..HEAD_BYTES - 1]).ok()?.parse().ok()?;
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    let counts = counts.chunks_exact(COUNT_BYTES).map(|count| {
        let subject = SubjectHash::from_be_bytes(count[..8].try_into().ok()?);
        let (streams, connects, publishes) =
            (number(&count[8..12])?, number(&count[12..16])?, number(&count[16..])?);
        Some((subject, Counts { streams, connects, publishes }))
    });
    Some(PublishedCounts {
        broker,
        all: head[HEAD_BYTES - 1] == 1,
        counts: counts.collect::<Option<_>>()?,
    })
}
