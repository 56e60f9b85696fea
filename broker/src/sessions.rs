//! Every open stream of this process: the limits that admit it, its identity, a handle to close it, the stall timeout.

mod admission;
mod changes;
mod grant_end;
mod listing;
mod session;
mod shed;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use eventcast_crds::config::Limits;
use eventcast_wire::closing::CloseReason;
use parking_lot::Mutex;
use slab::Slab;
use tokio::time::{Instant, interval};

use crate::{client::Client, identity::RandomId, metrics::ChannelMetrics};

pub(crate) use admission::{Admission, AdmissionRequest, Refusal};
pub(crate) use grant_end::GrantEnd;
pub(crate) use listing::{ListRequest, Listing, MAX_LISTED, describe_topics};
pub(crate) use session::{Progress, Session, SessionInfo, SinkReport};
pub(crate) use shed::Shedder;

/// How often stalled streams are looked for.
const STALL_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// All open streams.
pub(crate) struct Sessions {
    registry: Mutex<Registry>,
    /// Streams of clients that were told to close and have not ended yet.
    ending: Arc<AtomicUsize>,
    /// Streams that were closed for balance.
    shed: AtomicU64,
    began: Instant,
}

#[derive(Default)]
struct Registry {
    /// New streams are refused.
    draining: bool,
    sessions: Slab<Arc<Session>>,
    /// How many of them are delivery probes.
    probes: usize,
    per_client: HashMap<Client, usize>,
    by_channel: HashMap<Arc<str>, ChannelSessions>,
    /// Ids of sessions and of tickets with the keys of their streams: nearly every id has one, which takes no set of its own.
    by_id: BTreeSet<(RandomId, usize)>,
}

/// The streams of one channel, as keys of the registry.
#[derive(Default)]
struct ChannelSessions {
    all: HashSet<usize>,
    /// How many of them are delivery probes, which the limit of the channel does not count.
    probes: usize,
    by_subject: HashMap<Arc<str>, HashSet<usize>>,
}

impl Sessions {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            registry: Mutex::default(),
            ending: Arc::default(),
            shed: AtomicU64::new(0),
            began: Instant::now(),
        })
    }

    /// Admits a stream within the limits.
    ///
    /// # Errors
    /// The limit that refuses it.
    pub(crate) fn admit(
        self: &Arc<Self>,
        request: AdmissionRequest,
        limits: &Limits,
        metrics: Arc<ChannelMetrics>,
    ) -> Result<Admission, Refusal> {
        let AdmissionRequest { session: info, client, connection, grant_left, limit, quota } =
            request;
        let mut registry = self.registry.lock();
        registry.check(&info.channel, &client, limits, limit)?;
        let stream = connection.open_stream().ok_or(Refusal::Connections)?;
        let grant_end = GrantEnd::new(self.began, grant_left);
        let admitted_at = self.now();
        let session = Session::new(info, client, connection, grant_end, admitted_at, &self.ending);
        let session = Arc::new(session);
        let key = registry.insert(Arc::clone(&session), client);
        drop(registry);
        Ok(Admission::new(Arc::clone(self), session, key, client, metrics, stream, quota))
    }

    /// How many streams a channel has.
    pub(crate) fn count_of(&self, channel: &str) -> usize {
        self.registry.lock().count_of(channel)
    }

    /// How many streams of clients there are.
    pub(crate) fn count_of_clients(&self) -> usize {
        self.registry.lock().count_of_clients()
    }

    /// How many streams of clients will remain once those that were told to close have ended.
    pub(crate) fn count_of_remaining(&self) -> usize {
        self.count_of_clients().saturating_sub(self.ending.load(Relaxed))
    }

    /// How many streams were closed for balance.
    pub(crate) fn shed_count(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    /// How many streams there are, delivery probes included.
    pub(crate) fn count(&self) -> usize {
        self.registry.lock().sessions.len()
    }

    /// Every open stream, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.registry.lock().sessions.iter().map(|(_, session)| Arc::clone(session)).collect()
    }

    /// The streams of one channel, or those of one subject on it.
    pub(crate) fn select(&self, channel: &str, subject: Option<&str>) -> Vec<Arc<Session>> {
        let registry = self.registry.lock();
        let of_channel = registry.by_channel.get(channel);
        let keys = of_channel.and_then(|sessions| match subject {
            Some(subject) => sessions.by_subject.get(subject),
            None => Some(&sessions.all),
        });
        keys.into_iter().flatten().map(|key| Arc::clone(&registry.sessions[*key])).collect()
    }

    /// The streams whose session, or whose ticket, has this id.
    pub(crate) fn with_id(&self, channel: &str, id: RandomId) -> Vec<Arc<Session>> {
        let registry = self.registry.lock();
        let keys = registry.by_id.range((id, 0)..=(id, usize::MAX));
        let found = keys.map(|(_, key)| &registry.sessions[*key]);
        found.filter(|session| **session.channel() == *channel).map(Arc::clone).collect()
    }

    /// The ticket with which the session `id` was opened.
    pub(crate) fn ticket_of(&self, channel: &str, id: RandomId) -> Option<RandomId> {
        let found = self.with_id(channel, id);
        let session = found.iter().find(|session| session.info().id == id)?;
        Some(session.info().renewal).filter(|renewal| *renewal != id)
    }

    /// Refuses new streams from now on. Returns every stream that was admitted, in no order.
    pub(crate) fn begin_drain(&self) -> Vec<Arc<Session>> {
        self.registry.lock().draining = true;
        self.all()
    }

    /// Ends the streams whose sockets accept nothing for longer than their stall timeout. Never returns.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn watch_stalls(&self) {
        let mut tick = interval(STALL_CHECK_INTERVAL);
        loop {
            tick.tick().await;
            let now = self.now();
            for session in self.all() {
                if session.is_stalled(now) {
                    session.close(CloseReason::Stalled);
                    session.kill();
                }
            }
        }
    }

    /// How long hyper has been unable to write a frame of a stream, if it is: its socket accepts nothing.
    pub(crate) fn unread_for(&self, session: &Session) -> Option<Duration> {
        let since = session.unread_since()?;
        Some(Duration::from_millis(self.now().saturating_sub(since)))
    }

    /// Milliseconds since the broker started, plus one: 0 stands for never.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn remove(&self, key: usize, client: &Client) {
        self.registry.lock().remove(key, client);
    }
}

impl Registry {
    /// The streams of clients.
    fn count_of_clients(&self) -> usize {
        self.sessions.len() - self.probes
    }

    /// The streams of clients of a channel.
    fn count_of(&self, channel: &str) -> usize {
        self.by_channel.get(channel).map_or(0, |sessions| sessions.all.len() - sessions.probes)
    }

    fn check(
        &self,
        channel: &str,
        client: &Client,
        limits: &Limits,
        channel_limit: usize,
    ) -> Result<(), Refusal> {
        let of_client = self.per_client.get(client).copied().unwrap_or(0);
        let of_channel = self.count_of(channel);
        if self.draining {
            Err(Refusal::Draining)
        } else if self.sessions.len() >= limits.subscribers {
            Err(Refusal::Process)
        } else if of_client >= limits.subscribers_per_address {
            Err(Refusal::Address)
        } else if channel_limit > 0 && of_channel >= channel_limit {
            Err(Refusal::Channel)
        } else {
            Ok(())
        }
    }

    fn insert(&mut self, session: Arc<Session>, client: Client) -> usize {
        *self.per_client.entry(client).or_default() += 1;
        let entry = self.sessions.vacant_entry();
        let key = entry.key();
        let of_channel = self.by_channel.entry(Arc::clone(session.channel())).or_default();
        of_channel.all.insert(key);
        of_channel.probes += usize::from(session.is_probe());
        self.probes += usize::from(session.is_probe());
        if let Some(subject) = session.subject() {
            of_channel.by_subject.entry(Arc::clone(subject)).or_default().insert(key);
        }
        for id in [session.info().id, session.info().renewal] {
            self.by_id.insert((id, key));
        }
        entry.insert(session);
        key
    }

    fn remove(&mut self, key: usize, client: &Client) {
        let Some(session) = self.sessions.try_remove(key) else { return };
        self.probes -= usize::from(session.is_probe());
        if let Some(count) = self.per_client.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                self.per_client.remove(client);
            }
        }
        for id in [session.info().id, session.info().renewal] {
            self.by_id.remove(&(id, key));
        }
        let Some(of_channel) = self.by_channel.get_mut(&**session.channel()) else { return };
        of_channel.all.remove(&key);
        of_channel.probes -= usize::from(session.is_probe());
        if let Some(subject) = session.subject()
            && let Some(keys) = of_channel.by_subject.get_mut(&**subject)
        {
            keys.remove(&key);
            if keys.is_empty() {
                of_channel.by_subject.remove(&**subject);
            }
        }
        if of_channel.all.is_empty() {
            self.by_channel.remove(&**session.channel());
        }
    }
}

#[cfg(test)]
mod tests;
