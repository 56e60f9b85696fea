//! What is known of each pool: which channels it serves and refuses, and what its brokers say. In memory; a reconciliation of a channel reads it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use eventcast_crds::channel::exposure::Exposure;
use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

use crate::owner::{ChannelKey, OwnerKey};

/// Why a pool does not serve a channel: reason and message of the condition `Accepted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One of [`reasons`](crate::status::reasons).
    pub reason: &'static str,
    /// What to do.
    pub message: String,
}

/// What one ready broker says about a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The generation that it serves; `None`: none.
    pub generation: Option<i64>,
    /// Whether it follows the log, or can at any time.
    pub live: bool,
    /// Why it cannot use the newest configuration of the channel.
    pub problem: Option<String>,
}

/// What is known of a pool.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// Its listeners.
    pub exposure: Exposure,
    /// URL for clients outside of the cluster, without a path.
    pub public: Option<String>,
    /// How long its brokers take to close their streams.
    pub drain: Duration,
    /// Image of its brokers.
    pub image: String,
    /// Selector of its pods.
    pub selector: String,
    /// The channels that it has admitted.
    pub admitted: HashSet<ChannelKey>,
    /// The channels that it refuses.
    pub refused: HashMap<ChannelKey, Refusal>,
    /// What each ready broker says about its channels. `None`: it does not answer.
    pub brokers: Vec<Option<HashMap<ChannelKey, Served>>>,
}

impl PoolView {
    /// What each ready broker says about one channel. A broker that does not answer, or does not know the channel, serves nothing.
    #[must_use]
    pub fn served(&self, channel: &ChannelKey) -> Vec<Served> {
        let of = |broker: &Option<HashMap<ChannelKey, Served>>| {
            broker.as_ref().and_then(|served| served.get(channel).cloned()).unwrap_or_default()
        };
        self.brokers.iter().map(of).collect()
    }

    /// Whether there are ready brokers, and all of them serve this generation of the channel.
    #[must_use]
    pub fn all_serve(&self, channel: &ChannelKey, generation: i64) -> bool {
        let served = self.served(channel);
        !served.is_empty() && served.iter().all(|served| served.generation == Some(generation))
    }
}

/// The views of all pools.
#[derive(Debug)]
pub struct PoolViews {
    views: Mutex<HashMap<OwnerKey, Arc<PoolView>>>,
    /// Whether all pools were looked at once.
    complete: watch::Sender<bool>,
}

impl Default for PoolViews {
    fn default() -> Self {
        Self { views: Mutex::default(), complete: watch::Sender::new(false) }
    }
}

impl PoolViews {
    /// The view of a pool. `None`: there is no such pool, or its spec was never valid.
    #[must_use]
    pub fn of(&self, pool: &OwnerKey) -> Option<Arc<PoolView>> {
        self.views.lock().get(pool).cloned()
    }

    /// Waits until all pools were looked at once, but no longer than `limit`. Returns whether they were.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn wait_complete(&self, limit: Duration) -> bool {
        let mut complete = self.complete.subscribe();
        timeout(limit, complete.wait_for(|complete| *complete)).await.is_ok_and(|seen| seen.is_ok())
    }

    /// Replaces the view of a pool. Returns the channels about which something has changed.
    pub fn set(&self, pool: &OwnerKey, new: PoolView) -> HashSet<ChannelKey> {
        let new = Arc::new(new);
        let old = self.views.lock().insert(pool.clone(), Arc::clone(&new));
        let of_brokers = |view: &PoolView| {
            let known = view.brokers.iter().flatten().flat_map(HashMap::keys).cloned();
            known.collect::<HashSet<_>>()
        };
        let mut all: HashSet<_> = new.admitted.iter().chain(new.refused.keys()).cloned().collect();
        let Some(old) = old else { return all };
        all.extend(old.admitted.iter().chain(old.refused.keys()).cloned());
        all.extend(of_brokers(&old));
        let is_other = old.exposure != new.exposure
            || (&old.public, old.drain, &old.image) != (&new.public, new.drain, &new.image);
        let differs = |channel: &ChannelKey| {
            is_other
                || old.admitted.contains(channel) != new.admitted.contains(channel)
                || old.refused.get(channel) != new.refused.get(channel)
                || old.served(channel) != new.served(channel)
        };
        all.retain(differs);
        all
    }

    /// All pools were looked at: forgets those that are not in `pools`. Returns their channels.
    pub fn complete(&self, pools: &HashSet<OwnerKey>) -> HashSet<ChannelKey> {
        let mut views = self.views.lock();
        let gone = views.iter().filter(|(pool, _)| !pools.contains(pool));
        let channels = gone.flat_map(|(_, view)| view.admitted.iter().chain(view.refused.keys()));
        let channels = channels.cloned().collect();
        views.retain(|pool, _| pools.contains(pool));
        self.complete.send_replace(true);
        channels
    }
}
