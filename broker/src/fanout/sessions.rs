//! Every open stream of this process: limits on the way in, the stall deadline while it lives, a handle to close it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use eventcast_crds::config::Limits;
use eventcast_wire::closing::CloseReason;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use slab::Slab;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    metrics::ChannelMetrics,
    sockets::{Connection, StreamPlace},
};

/// What the broker holds of one open stream, beside its body.
pub(crate) struct Session {
    channel: Arc<str>,
    waker: Arc<AtomicWaker>,
    closing: AtomicU8,
    /// When the sink last took a frame and has not asked for more since, in milliseconds of [`Sessions::now`]; 0: it asks.
    waiting_since: AtomicU64,
    stall: Duration,
    kill: CancellationToken,
}

impl Session {
    pub(crate) fn waker(&self) -> &Arc<AtomicWaker> {
        &self.waker
    }

    /// How long its socket may take nothing.
    pub(crate) fn stall(&self) -> Duration {
        self.stall
    }

    /// Why the stream is to end, if it is.
    pub(crate) fn closing(&self) -> Option<CloseReason> {
        CloseReason::from_code(self.closing.load(Relaxed))
    }

    /// Ends the stream: its body says goodbye at the next poll. The first reason stays.
    pub(crate) fn close(&self, reason: CloseReason) {
        if self.closing.compare_exchange(0, reason as u8, Relaxed, Relaxed).is_ok() {
            self.waker.wake();
        }
    }
}

struct Open {
    /// Nobody is taken any more.
    shut: bool,
    sessions: Slab<Arc<Session>>,
    per_client: HashMap<Client, usize>,
    per_channel: HashMap<Arc<str>, usize>,
}

/// All open streams.
pub(crate) struct Sessions {
    open: Mutex<Open>,
    began: Instant,
}

/// Why a subscriber is not taken; the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Draining,
    /// Streams have all the connections that they may take.
    Connections,
    Process,
    Address,
    Channel,
}

impl Refusal {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Connections => "limit-connections",
            Self::Process => "limit-process",
            Self::Address => "limit-address",
            Self::Channel => "limit-channel",
        }
    }

    /// What the client is told.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Connections | Self::Process | Self::Address | Self::Channel => "overloaded",
        }
    }
}

/// Who asks to be taken.
pub(crate) struct Candidate {
    pub(crate) channel: Arc<str>,
    pub(crate) client: Client,
    pub(crate) connection: Arc<Connection>,
    pub(crate) stall: Duration,
    /// Subscribers of the channel at most; 0: no limit of its own.
    pub(crate) max_of_channel: usize,
    /// Ends the connection or HTTP/2 stream under the body.
    pub(crate) kill: CancellationToken,
}

impl Sessions {
    pub(crate) fn new() -> Arc<Self> {
        let open = Open {
            shut: false,
            sessions: Slab::new(),
            per_client: HashMap::new(),
            per_channel: HashMap::new(),
        };
        Arc::new(Self { open: Mutex::new(open), began: Instant::now() })
    }

    /// Milliseconds since the broker began, and one: 0 means never.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Takes a subscriber, if the limits let it.
    pub(crate) fn admit(
        self: &Arc<Self>,
        candidate: Candidate,
        limits: &Limits,
        metrics: Arc<ChannelMetrics>,
    ) -> Result<Admission, Refusal> {
        let Candidate { channel, client, connection, stall, max_of_channel, kill } = candidate;
        let mut open = self.open.lock();
        if open.shut {
            return Err(Refusal::Draining);
        }
        if open.sessions.len() >= limits.subscribers {
            return Err(Refusal::Process);
        }
        if open.per_client.get(&client).is_some_and(|n| *n >= limits.subscribers_per_address) {
            return Err(Refusal::Address);
        }
        let of_channel = open.per_channel.get(&channel).copied().unwrap_or(0);
        if max_of_channel > 0 && of_channel >= max_of_channel {
            return Err(Refusal::Channel);
        }
        let place = connection.open_stream().ok_or(Refusal::Connections)?;
        *open.per_client.entry(client).or_default() += 1;
        *open.per_channel.entry(Arc::clone(&channel)).or_default() += 1;
        let session = Arc::new(Session {
            channel,
            waker: Arc::default(),
            closing: AtomicU8::new(0),
            waiting_since: AtomicU64::new(0),
            stall,
            kill,
        });
        let key = open.sessions.insert(Arc::clone(&session));
        drop(open);
        metrics.subscribers.inc();
        let sessions = Arc::clone(self);
        Ok(Admission { sessions, session, key, client, metrics, began: false, _place: place })
    }

    /// Subscribers of one channel.
    pub(crate) fn of_channel(&self, channel: &str) -> usize {
        self.open.lock().per_channel.get(channel).copied().unwrap_or(0)
    }

    /// Every open stream, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.open.lock().sessions.iter().map(|(_, s)| Arc::clone(s)).collect()
    }

    /// Takes nobody any more. Gives every stream that was taken, in no order: there will be no others.
    pub(crate) fn shut(&self) -> Vec<Arc<Session>> {
        self.open.lock().shut = true;
        self.all()
    }

    /// Ends the streams of one channel.
    pub(crate) fn close_channel(&self, channel: &str, reason: CloseReason) {
        self.all().iter().filter(|s| &*s.channel == channel).for_each(|s| s.close(reason));
    }

    /// Ends, twice a second, the streams whose sockets take nothing. Never returns; cancel safe.
    pub(crate) async fn watch_stalls(&self) {
        let mut tick = interval(Duration::from_millis(500));
        loop {
            tick.tick().await;
            let now = self.now();
            for session in self.all() {
                let since = session.waiting_since.load(Relaxed);
                let waited = Duration::from_millis(now.saturating_sub(since));
                if since != 0 && waited > session.stall {
                    session.close(CloseReason::Stalled);
                    session.kill.cancel();
                }
            }
        }
    }
}

/// A place among the open streams; gives it back when dropped.
pub(crate) struct Admission {
    sessions: Arc<Sessions>,
    session: Arc<Session>,
    key: usize,
    client: Client,
    metrics: Arc<ChannelMetrics>,
    began: bool,
    _place: StreamPlace,
}

impl Admission {
    /// The stream begins: from now on its end counts. `start` is the kind of its start position.
    pub(crate) fn begin(&mut self, start: &'static str) {
        self.began = true;
        self.metrics.connected(start);
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// The sink took a frame.
    pub(crate) fn took(&self) {
        self.session.waiting_since.store(self.sessions.now(), Relaxed);
    }

    /// The sink asks for more.
    pub(crate) fn asks(&self) {
        self.session.waiting_since.store(0, Relaxed);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.sessions.open.lock();
        open.sessions.try_remove(self.key);
        give_back(&mut open.per_client, &self.client);
        give_back(&mut open.per_channel, &self.session.channel);
        drop(open);
        self.metrics.subscribers.dec();
        if self.began {
            self.metrics.disconnected(self.session.closing().unwrap_or(CloseReason::Client));
        }
    }
}

fn give_back<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(n) = counts.get_mut(key) {
        *n -= 1;
        if *n == 0 {
            counts.remove(key);
        }
    }
}
