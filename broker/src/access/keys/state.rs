//! The state of an issuer's keys: the last good ones, and why newer ones could not be loaded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use eventcast_crds::broker_status::AccessReason;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::KeySet;

/// How long keys remain in use while they cannot be loaded again.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// The age from which keys that cannot be loaded again are reported as a problem.
const STALE_AGE: Duration = Duration::from_secs(15 * 60);

/// Why keys could not be loaded. The detail names hosts, files and kinds of errors, and nothing of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: AccessReason,
    pub(super) detail: String,
}

struct Loaded {
    keys: Arc<KeySet>,
    /// SHA-256 of the content, to tell whether it changed.
    digest: [u8; 32],
}

#[derive(Default)]
struct Progress {
    /// When the keys were last known to be those of the issuer.
    confirmed: Option<Instant>,
    failure: Option<Failure>,
}

/// The keys of one issuer.
#[derive(Default)]
pub(super) struct KeyState {
    /// Whether every change of the source is noticed at once, so that keys do not grow old while it does not change.
    is_watched: bool,
    loaded: ArcSwapOption<Loaded>,
    progress: Mutex<Progress>,
    generation: AtomicU64,
}

impl KeyState {
    /// The keys of a source whose changes are noticed at once.
    pub(super) fn watched() -> Self {
        Self { is_watched: true, ..Self::default() }
    }

    /// The keys; `None` if they were never loaded, or too long ago.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        let loaded = self.loaded.load();
        let loaded = loaded.as_ref()?;
        self.age().filter(|age| *age < MAX_AGE).map(|_| Arc::clone(&loaded.keys))
    }

    /// How long ago the keys were known to be those of the issuer; `None` if they were never loaded.
    pub(super) fn age(&self) -> Option<Duration> {
        let progress = self.progress.lock();
        let is_current = self.is_watched && progress.failure.is_none();
        progress.confirmed.map(|at| if is_current { Duration::ZERO } else { at.elapsed() })
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the last attempt to load the keys was successful, so that a key that is missing is no key of the issuer.
    pub(super) fn is_certain(&self) -> bool {
        self.progress.lock().failure.is_none()
    }

    /// The keys were loaded from `content`. They replace the earlier ones: a key that was removed is no longer accepted.
    pub(super) fn succeeded(&self, keys: KeySet, content: &[u8]) {
        let digest: [u8; 32] = Sha256::digest(content).into();
        let is_same = self.loaded.load().as_ref().is_some_and(|loaded| loaded.digest == digest);
        if !is_same {
            self.loaded.store(Some(Arc::new(Loaded { keys: Arc::new(keys), digest })));
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        *self.progress.lock() = Progress { confirmed: Some(Instant::now()), failure: None };
    }

    /// The keys could not be loaded: the last good ones are kept for a time.
    pub(super) fn failed(&self, failure: Failure) {
        let mut progress = self.progress.lock();
        if self.is_watched && progress.failure.is_none() && progress.confirmed.is_some() {
            progress.confirmed = Some(Instant::now());
        }
        progress.failure = Some(failure);
    }

    /// The problem to report, if there is one: the keys cannot be used, or have not been confirmed for a long time.
    pub(super) fn problem(&self) -> Option<(AccessReason, String)> {
        let progress = self.progress.lock();
        let failure = progress.failure.clone()?;
        let reason = match progress.confirmed.map(|at| at.elapsed()) {
            // A file stays wrong until it is corrected; a server may be back at the next fetch.
            Some(age) if !self.is_watched && age < STALE_AGE => return None,
            Some(age) if !self.is_watched && age < MAX_AGE => AccessReason::KeysStale,
            _ => failure.reason,
        };
        Some((reason, failure.detail))
    }
}
