//! Limits the publishes in progress, of one log and of all logs.

use std::time::Duration;

use tokio::{
    sync::{Semaphore, SemaphorePermit, TryAcquireError},
    time::timeout,
};

use super::PublishError;

/// How long a publish waits for a permit (`limits.publishesInFlight`).
const PUBLISH_PERMIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The publishes that one log may have in progress.
pub(in crate::log) struct Permits {
    semaphore: Semaphore,
    total: u32,
}

impl Permits {
    pub(in crate::log) fn new(total: usize) -> Self {
        let total = u32::try_from(total.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { semaphore: Semaphore::new(total as usize), total }
    }

    pub(super) async fn take(&self, wanted: u32) -> Result<SemaphorePermit<'_>, PublishError> {
        take(&self.semaphore, wanted.min(self.total)).await
    }
}

/// Takes permits, and waits for them for a limited time.
pub(super) async fn take(
    permits: &Semaphore,
    wanted: u32,
) -> Result<SemaphorePermit<'_>, PublishError> {
    match permits.try_acquire_many(wanted) {
        Ok(permits) => Ok(permits),
        Err(TryAcquireError::Closed) => Err(PublishError::Unavailable),
        Err(TryAcquireError::NoPermits) => {
            match timeout(PUBLISH_PERMIT_TIMEOUT, permits.acquire_many(wanted)).await {
                Ok(Ok(permits)) => Ok(permits),
                _ => Err(PublishError::Busy),
            }
        }
    }
}
