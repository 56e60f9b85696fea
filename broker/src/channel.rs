//! A channel that the broker serves: its configuration, which may change, and its log.

mod subscribers;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use eventcast_crds::config::ChannelConfig;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    access::{AccessControl, Tasks},
    cluster::{Cluster, Store},
    drain,
    log::Log,
    metrics::ChannelMetrics,
    probe::{ProbeContext, Prober},
    rate_limit::RateLimit,
    sessions::Sessions,
};

pub(crate) use subscribers::{DisconnectOutcome, Subscribers};

/// A channel that the broker serves.
pub(crate) struct Channel {
    key: Arc<str>,
    config: ArcSwap<ChannelConfig>,
    rate_limit: ArcSwap<RateLimit>,
    access: ArcSwap<AccessControl>,
    /// What the tasks of access control run under.
    tasks: Tasks,
    cluster: Cluster,
    subscribers: Subscribers,
    prober: Arc<Prober>,
    /// Stops closing the streams of a channel that is moving to other brokers.
    moving: Mutex<Option<DropGuard>>,
    log: Arc<Log>,
    /// Queries at once; `None`: as many as all channels together.
    queries: Option<Arc<Semaphore>>,
    stop: CancellationToken,
}

impl Channel {
    /// Opens a channel, which may run `queries` queries at once, and reads its log until [`Channel::close`]. The reading task is
    /// supervised: if it panicked unnoticed, the channel would deliver no more events.
    pub(crate) fn open(
        config: &Arc<ChannelConfig>,
        log: Arc<Log>,
        queries: Option<usize>,
        sessions: &Arc<Sessions>,
        store: Store,
        tasks: Tasks,
    ) -> Arc<Self> {
        let (supervisor, stop) = (tasks.supervisor.clone(), tasks.stop.clone());
        let (reader, until, of) = (Arc::clone(&log), stop.clone(), Arc::clone(config));
        let task = format!("log reader of {}", of.key());
        supervisor.spawn(task, &stop, async move { reader.run(of, until).await });
        let rate_limit = ArcSwap::from_pointee(RateLimit::new(&config.publishing));
        let key: Arc<str> = config.key().into();
        let cluster = Cluster::new(store);
        let state = &cluster.state;
        let used = Arc::clone(state);
        log.on_park(move |is_parked| used.set_attached(!is_parked));
        let access = AccessControl::new(config, state, None, &tasks);
        let access = ArcSwap::from_pointee(access);
        let subscribers = Subscribers {
            channel: Arc::clone(&key),
            sessions: Arc::clone(sessions),
            log: Arc::clone(&log),
            state: Arc::clone(state),
        };
        let following = Arc::clone(state).follow(cluster.store.clone(), {
            let (sessions, key) = (Arc::clone(sessions), Arc::clone(&key));
            move |record| sessions.apply(&key, record)
        });
        let answering = Arc::clone(&cluster.messages).run(Arc::clone(state), subscribers.clone());
        let task = format!("shared state of {key}");
        let following = Box::pin(following);
        supervisor.spawn(task, &stop, stop.clone().run_until_cancelled_owned(following));
        let task = format!("messages to other brokers of {key}");
        let answering = Box::pin(answering);
        supervisor.spawn(task, &stop, stop.clone().run_until_cancelled_owned(answering));
        let prober = Prober::new(config);
        let probing = Arc::clone(&prober).run(ProbeContext {
            tickets: Arc::clone(access.load().tickets()),
            probes: cluster.probes.clone(),
            log: Arc::clone(&log),
        });
        let task = format!("delivery probe of {key}");
        let probing = Box::pin(probing);
        supervisor.spawn(task, &stop, stop.clone().run_until_cancelled_owned(probing));
        let config = ArcSwap::new(Arc::clone(config));
        Arc::new(Self {
            key,
            config,
            rate_limit,
            access,
            tasks,
            cluster,
            subscribers,
            prober,
            moving: Mutex::default(),
            log,
            queries: queries.map(|queries| Arc::new(Semaphore::new(queries))),
            stop,
        })
    }

    /// `<namespace>/<name>`.
    pub(crate) fn key(&self) -> &Arc<str> {
        &self.key
    }

    pub(crate) fn config(&self) -> Arc<ChannelConfig> {
        self.config.load_full()
    }

    /// The rate limit for publishers.
    pub(crate) fn rate_limit(&self) -> Arc<RateLimit> {
        self.rate_limit.load_full()
    }

    /// Verifies the credentials of clients.
    pub(crate) fn access(&self) -> Arc<AccessControl> {
        self.access.load_full()
    }

    /// What the brokers of the channel share, and how they talk to each other.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The open streams of this broker.
    pub(crate) fn subscribers(&self) -> &Subscribers {
        &self.subscribers
    }

    /// The delivery probe, which checks that events reach clients.
    pub(crate) fn prober(&self) -> &Prober {
        &self.prober
    }

    /// The slots for queries of this channel alone.
    pub(crate) fn queries(&self) -> Option<&Arc<Semaphore>> {
        self.queries.as_ref()
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// See [`Log::metrics`].
    pub(crate) fn metrics(&self) -> Arc<ChannelMetrics> {
        self.log.metrics()
    }

    /// Applies `new`, unless it needs another log. Returns whether it was applied. If the channel begins to move to other brokers, its
    /// streams are closed over `drain`.
    pub(crate) fn reconfigure(&self, new: &Arc<ChannelConfig>, drain: Duration) -> bool {
        let old = self.config();
        if Arc::ptr_eq(&old, new) {
            return true;
        }
        let same_log = old.stream_name() == new.stream_name()
            && old.prefix() == new.prefix()
            && old.retention == new.retention
            && old.publishing.max_event_bytes == new.publishing.max_event_bytes
            && old.delivery.trace_comments == new.delivery.trace_comments;
        if same_log {
            if RateLimit::differs(&old.publishing, &new.publishing) {
                self.rate_limit.store(Arc::new(RateLimit::new(&new.publishing)));
            }
            if old.access != new.access || old.probe.is_some() != new.probe.is_some() {
                let access =
                    AccessControl::new(new, &self.cluster.state, Some(&self.access()), &self.tasks);
                self.access.store(Arc::new(access));
            }
            self.config.store(Arc::clone(new));
            self.prober.reconfigure(new);
            if old.leaving != new.leaving {
                *self.moving.lock() = new.leaving.then(|| self.move_away(drain));
            }
        }
        same_log
    }

    /// Closes the streams over `duration`, until the guard is dropped.
    fn move_away(&self, duration: Duration) -> DropGuard {
        let (stop, sessions) = (self.stop.child_token(), Arc::clone(&self.subscribers.sessions));
        let (key, until) = (Arc::clone(&self.key), stop.clone());
        tracing::info!(channel = %key, "the channel moves to other brokers: closing its streams");
        let closing = async move {
            until.run_until_cancelled(drain::move_away(&sessions, &key, duration)).await
        };
        let task = format!("move of {}", self.key);
        self.tasks.supervisor.spawn(task, &stop, closing);
        stop.drop_guard()
    }

    /// Stops reading the log and frees its pages.
    pub(crate) fn close(&self) {
        self.stop.cancel();
        self.log.close();
    }
}
