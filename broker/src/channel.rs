//! One channel as it is served: its settings, which may change, and its log.

use std::sync::Arc;

use arc_swap::ArcSwap;
use eventcast_crds::config::ChannelConfig;
use eventcast_runtime::supervise::Supervisor;
use tokio_util::sync::CancellationToken;

use crate::{log::Log, metrics::ChannelMetrics, pace::Pace};

/// A channel that this broker serves.
pub(crate) struct Channel {
    key: Arc<str>,
    config: ArcSwap<ChannelConfig>,
    pace: ArcSwap<Pace>,
    log: Arc<Log>,
    metrics: Arc<ChannelMetrics>,
    stop: CancellationToken,
}

impl Channel {
    /// A channel whose log is read from now on, until [`Channel::close`]. A reader that panics would leave a channel that never
    /// moves, so it is supervised.
    pub(crate) fn open(
        config: &ChannelConfig,
        log: Arc<Log>,
        metrics: Arc<ChannelMetrics>,
        supervisor: &Supervisor,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (reader, until, of) = (Arc::clone(&log), stop.clone(), config.clone());
        let task = format!("log reader of {}", of.key());
        supervisor.spawn(task, &stop, async move { reader.run(of, until).await });
        let pace = ArcSwap::from_pointee(Pace::new(&config.publishing));
        let config = ArcSwap::from_pointee(config.clone());
        let key = config.load().key().into();
        Arc::new(Self { key, config, pace, log, metrics, stop })
    }

    /// `<namespace>/<name>`.
    pub(crate) fn key(&self) -> &Arc<str> {
        &self.key
    }

    pub(crate) fn config(&self) -> Arc<ChannelConfig> {
        self.config.load_full()
    }

    /// How fast events are taken.
    pub(crate) fn pace(&self) -> Arc<Pace> {
        self.pace.load_full()
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    pub(crate) fn metrics(&self) -> &Arc<ChannelMetrics> {
        &self.metrics
    }

    /// Takes settings over that need no new log; tells whether these are such.
    pub(crate) fn reconfigure(&self, new: &ChannelConfig) -> bool {
        let old = self.config();
        let same_log = old.stream_name() == new.stream_name()
            && old.prefix() == new.prefix()
            && old.retention == new.retention
            && old.publishing.max_event_bytes == new.publishing.max_event_bytes;
        if same_log {
            if Pace::differs(&old.publishing, &new.publishing) {
                self.pace.store(Arc::new(Pace::new(&new.publishing)));
            }
            self.config.store(Arc::new(new.clone()));
        }
        same_log
    }

    /// Stops reading the log, and frees its pages.
    pub(crate) fn close(&self) {
        self.stop.cancel();
        self.log.close();
    }
}
