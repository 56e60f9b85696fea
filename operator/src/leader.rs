//! Leader election with a Lease, by the rules of client-go.
//!
//! A candidate measures on its own clock how long it has not seen the Lease change; it never compares timestamps of two
//! machines. A leader that cannot renew in time exits. Before that it stops writing: every write first checks the
//! [`Fence`], which closes before another replica may take over.

use std::{fmt, sync::Arc, time::Duration};

use eventcast_runtime::Chain;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::names::LEASE;

/// A candidate takes over a Lease that did not change for this long.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A leader that did not renew for this long stops leading. Shorter than [`LEASE_DURATION`], so that two replicas never
/// lead at once.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Interval of renewals by the leader, and of attempts by the other candidates.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// How long releasing the Lease at shutdown may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether this process may write to the API server and NATS. Clones share one state.
#[derive(Clone, Debug)]
pub struct Fence(Arc<Mutex<Option<Instant>>>);

/// This process is not the leader, or cannot be sure that it still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this operator is no longer the leader")]
pub struct NotLeader;

impl Fence {
    /// A fence that lets no write pass until an election is won.
    #[must_use]
    pub fn closed() -> Self {
        Self(Arc::default())
    }

    /// A fence that never closes, for an operator without leader election.
    #[must_use]
    pub fn open() -> Self {
        let fence = Self::closed();
        fence.open_until(Instant::now() + Duration::from_secs(1 << 32));
        fence
    }

    /// Checks that a write may begin now.
    ///
    /// # Errors
    /// This process is not the leader.
    pub fn check(&self) -> Result<(), NotLeader> {
        let until = *self.0.lock();
        until.filter(|until| Instant::now() < *until).map(|_| ()).ok_or(NotLeader)
    }

    fn open_until(&self, until: Instant) {
        *self.0.lock() = Some(until);
    }

    fn close(&self) {
        *self.0.lock() = None;
    }
}

/// The Lease, and when this process first saw it in this version.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedLease {
    holder: Option<String>,
    resource_version: Option<String>,
    first_seen: Instant,
}

/// What a candidate does with the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// No Lease exists.
    Create,
    /// The Lease has no holder, or it expired.
    Acquire,
    /// This candidate holds the Lease.
    Renew,
    /// Another candidate holds the Lease.
    Wait,
}

/// Decides for the candidate `identity`. Pure.
#[must_use]
pub fn decide(lease: Option<&ObservedLease>, identity: &str, now: Instant) -> LeaseAction {
    let Some(lease) = lease else {
        return LeaseAction::Create;
    };
    match lease.holder.as_deref().filter(|holder| !holder.is_empty()) {
        None => LeaseAction::Acquire,
        Some(holder) if holder == identity => LeaseAction::Renew,
        Some(_) if now.saturating_duration_since(lease.first_seen) >= LEASE_DURATION => {
            LeaseAction::Acquire
        }
        Some(_) => LeaseAction::Wait,
    }
}

/// A candidate in the election.
pub struct Election {
    api: Api<Lease>,
    identity: String,
    fence: Fence,
    observed: Option<ObservedLease>,
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("identity", &self.identity)
            .field("observed", &self.observed)
            .finish()
    }
}

impl Election {
    /// The candidate `identity` for the Lease in `namespace`. It opens `fence` while it leads.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String, fence: Fence) -> Self {
        Self { api: Api::namespaced(client, namespace), identity, fence, observed: None }
    }

    /// Waits until this candidate leads.
    pub async fn win(&mut self) {
        loop {
            match timeout(RENEW_DEADLINE, self.try_acquire_or_renew()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %Chain(&error), "cannot acquire the lease; retrying")
                }
                Err(_) => {
                    tracing::warn!(
                        "the API server did not answer in time; retrying to acquire the lease"
                    )
                }
            }
            sleep(jittered(RETRY_PERIOD)).await;
        }
    }

    /// Renews the Lease until `stop`, then releases it.
    ///
    /// # Errors
    /// The Lease is lost: the process must exit.
    pub async fn hold(&mut self, stop: CancellationToken) -> Result<(), NotLeader> {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = sleep(jittered(RETRY_PERIOD)) => {}
                () = stop.cancelled() => break,
            }
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let started = Instant::now();
            match timeout(left, self.try_acquire_or_renew()).await {
                Ok(Ok(true)) => renewed = started,
                Ok(Ok(false)) => {
                    self.fence.close();
                    return Err(NotLeader);
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = %Chain(&error), "cannot renew the lease; retrying")
                }
                Err(_) => {}
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                self.fence.close();
                return Err(NotLeader);
            }
        }
        self.release().await;
        Ok(())
    }

    /// Reads the Lease and writes it if [`decide`] says so. Returns whether this candidate leads.
    async fn try_acquire_or_renew(&mut self) -> Result<bool, kube::Error> {
        let started = Instant::now();
        let lease = self.api.get_opt(LEASE).await?;
        self.observe(lease.as_ref(), started);
        let action = decide(self.observed.as_ref(), &self.identity, started);
        let written = match (action, lease) {
            (LeaseAction::Wait, _) => return Ok(false),
            (LeaseAction::Create, _) | (_, None) => {
                let new = Lease {
                    metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() },
                    spec: Some(self.spec(None, true)),
                };
                self.api.create(&PostParams::default(), &new).await
            }
            (LeaseAction::Acquire | LeaseAction::Renew, Some(mut lease)) => {
                lease.spec = Some(self.spec(lease.spec.as_ref(), action == LeaseAction::Acquire));
                // The write carries the resourceVersion that was read: of two candidates one succeeds.
                self.api.replace(LEASE, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(lease) => {
                self.observe(Some(&lease), started);
                // Counted from before the write: other candidates count from its arrival, so they wait longer.
                self.fence.open_until(started + RENEW_DEADLINE);
                Ok(true)
            }
            // Another client wrote the Lease first. A leader reads it again before it concludes that it lost.
            Err(kube::Error::Api(e)) if e.is_conflict() || e.is_already_exists() => {
                if action == LeaseAction::Renew { Err(kube::Error::Api(e)) } else { Ok(false) }
            }
            Err(error) => Err(error),
        }
    }

    /// Remembers when each version of the Lease was first seen.
    fn observe(&mut self, lease: Option<&Lease>, now: Instant) {
        let Some(lease) = lease else {
            self.observed = None;
            return;
        };
        let resource_version = lease.metadata.resource_version.clone();
        if self.observed.as_ref().is_none_or(|o| o.resource_version != resource_version) {
            let holder = lease.spec.as_ref().and_then(|s| s.holder_identity.clone());
            self.observed = Some(ObservedLease { holder, resource_version, first_seen: now });
        }
    }

    fn spec(&self, old: Option<&LeaseSpec>, acquires: bool) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = old.and_then(|s| s.lease_transitions).unwrap_or(0);
        let acquired = old.and_then(|s| s.acquire_time.clone()).filter(|_| !acquires);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(acquires && old.is_some())),
            ..LeaseSpec::default()
        }
    }

    /// Clears the holder, so that the next leader need not wait for the Lease to expire.
    async fn release(&mut self) {
        self.fence.close();
        let release = async {
            let Some(mut lease) = self.api.get_opt(LEASE).await? else {
                return Ok(());
            };
            let held = lease.spec.as_ref().and_then(|s| s.holder_identity.as_ref())
                == Some(&self.identity);
            if let Some(spec) = lease.spec.as_mut().filter(|_| held) {
                spec.holder_identity = Some(String::new());
                self.api.replace(LEASE, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Ok(Err(error)) = timeout(RELEASE_TIMEOUT, release).await {
            tracing::warn!(error = %Chain(&error), "cannot release the lease; the next leader waits until it expires");
        }
    }
}

fn jittered(period: Duration) -> Duration {
    period.mul_f64(0.8 + 0.4 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_take_over_leases_that_are_free_or_expired() {
        let now = Instant::now() + Duration::from_secs(100);
        let observed = |holder: &str, age| ObservedLease {
            holder: (!holder.is_empty()).then(|| holder.to_owned()),
            resource_version: Some("1".into()),
            first_seen: now - Duration::from_secs(age),
        };
        for (lease, expected) in [
            (None, LeaseAction::Create),
            (Some(observed("", 0)), LeaseAction::Acquire),
            (Some(observed("me", 0)), LeaseAction::Renew),
            (Some(observed("me", 99)), LeaseAction::Renew),
            (Some(observed("you", 0)), LeaseAction::Wait),
            (Some(observed("you", 14)), LeaseAction::Wait),
            (Some(observed("you", 15)), LeaseAction::Acquire),
        ] {
            assert_eq!(decide(lease.as_ref(), "me", now), expected, "{lease:?}");
        }
        let released = ObservedLease { holder: Some(String::new()), ..observed("me", 0) };
        assert_eq!(decide(Some(&released), "me", now), LeaseAction::Acquire, "released");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fence_closes_before_another_replica_may_lead() {
        let fence = Fence::closed();
        assert_eq!(fence.check(), Err(NotLeader));
        fence.open_until(Instant::now() + RENEW_DEADLINE);
        assert_eq!(fence.check(), Ok(()));
        sleep(RENEW_DEADLINE).await;
        assert_eq!(fence.check(), Err(NotLeader));
        const { assert!(RENEW_DEADLINE.as_secs() < LEASE_DURATION.as_secs()) };
        assert_eq!(Fence::open().check(), Ok(()));
    }
}
