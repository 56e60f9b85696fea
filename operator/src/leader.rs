//! One operator at a time: a Lease, by the rules of client-go.
//!
//! What another replica wrote into the Lease is judged by *when we saw it change*, on our own clock: the clocks of two machines are
//! never compared. Whoever cannot renew in time ends its process, and writes nothing more before that: the [`Fence`] is asked
//! before each write, and closes before anybody else may take over.

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

/// Nobody takes over before the record has stood still for so long.
const DURATION: Duration = Duration::from_secs(15);
/// Whoever has not renewed for so long is not the leader any more. Less than [`DURATION`]: there is never a moment with two.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often the leader renews, and the others look.
const PERIOD: Duration = Duration::from_secs(2);

/// Whether this process may write. Cheap to ask and to clone.
#[derive(Clone, Debug)]
pub struct Fence(Arc<Mutex<Option<Instant>>>);

/// This process is not the leader, or cannot be sure of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this operator is not the leader any more")]
pub struct Fenced;

impl Fence {
    /// Closed.
    #[must_use]
    pub fn closed() -> Self {
        Self(Arc::default())
    }

    /// Open for ever: for an operator without leader election.
    #[must_use]
    pub fn open() -> Self {
        let fence = Self::closed();
        fence.open_until(Instant::now() + Duration::from_secs(1 << 32));
        fence
    }

    /// Whether a write may begin now.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self) -> Result<(), Fenced> {
        let until = *self.0.lock();
        until.filter(|until| Instant::now() < *until).map(|_| ()).ok_or(Fenced)
    }

    fn open_until(&self, until: Instant) {
        *self.0.lock() = Some(until);
    }

    fn close(&self) {
        *self.0.lock() = None;
    }
}

/// The Lease as it was last seen to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    holder: Option<String>,
    version: Option<String>,
    seen: Instant,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is no Lease.
    Create,
    /// Nobody holds it, or its holder has not moved for too long.
    Acquire,
    /// It is ours.
    Renew,
    /// It is somebody else's.
    Wait,
}

/// Decides from what was seen. Pure.
#[must_use]
pub fn decide(record: Option<&Record>, me: &str, now: Instant) -> Decision {
    let Some(record) = record else {
        return Decision::Create;
    };
    match record.holder.as_deref().filter(|holder| !holder.is_empty()) {
        None => Decision::Acquire,
        Some(holder) if holder == me => Decision::Renew,
        Some(_) if now.saturating_duration_since(record.seen) >= DURATION => Decision::Acquire,
        Some(_) => Decision::Wait,
    }
}

/// A candidate.
pub struct Election {
    api: Api<Lease>,
    me: String,
    fence: Fence,
    record: Option<Record>,
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election").field("me", &self.me).field("record", &self.record).finish()
    }
}

impl Election {
    /// A candidate called `me` for the Lease in `namespace`, who opens `fence` while it leads.
    #[must_use]
    pub fn new(client: Client, namespace: &str, me: String, fence: Fence) -> Self {
        Self { api: Api::namespaced(client, namespace), me, fence, record: None }
    }

    /// Waits until this candidate leads.
    pub async fn win(&mut self) {
        loop {
            match timeout(DEADLINE, self.turn()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %Chain(&error), "cannot take part in the election")
                }
                Err(_) => tracing::warn!("the API server does not answer in the election"),
            }
            sleep(jittered(PERIOD)).await;
        }
    }

    /// Renews until `stop`, then gives the Lease up. Returns earlier when the Lease is lost; the process must end then.
    ///
    /// # Errors
    /// The Lease is lost.
    pub async fn hold(&mut self, stop: CancellationToken) -> Result<(), Fenced> {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = sleep(jittered(PERIOD)) => {}
                () = stop.cancelled() => break,
            }
            let left = DEADLINE.saturating_sub(renewed.elapsed());
            let began = Instant::now();
            match timeout(left, self.turn()).await {
                Ok(Ok(true)) => renewed = began,
                Ok(Ok(false)) => {
                    self.fence.close();
                    return Err(Fenced);
                }
                Ok(Err(error)) => tracing::warn!(error = %Chain(&error), "cannot renew the lease"),
                Err(_) => {}
            }
            if renewed.elapsed() >= DEADLINE {
                self.fence.close();
                return Err(Fenced);
            }
        }
        self.release().await;
        Ok(())
    }

    /// One look at the Lease, and one write if that is due. True: we lead.
    async fn turn(&mut self) -> Result<bool, kube::Error> {
        let began = Instant::now();
        let lease = self.api.get_opt(LEASE).await?;
        self.see(lease.as_ref(), began);
        let decision = decide(self.record.as_ref(), &self.me, began);
        let written = match (decision, lease) {
            (Decision::Wait, _) => return Ok(false),
            (Decision::Create, _) | (_, None) => {
                let new = Lease {
                    metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() },
                    spec: Some(self.spec(None, true)),
                };
                self.api.create(&PostParams::default(), &new).await
            }
            (Decision::Acquire | Decision::Renew, Some(mut lease)) => {
                lease.spec = Some(self.spec(lease.spec.as_ref(), decision == Decision::Acquire));
                // carries the resourceVersion that was read: of two who try, one succeeds
                self.api.replace(LEASE, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(lease) => {
                self.see(Some(&lease), began);
                // from before the write: when others count from its arrival they count longer
                self.fence.open_until(began + DEADLINE);
                Ok(true)
            }
            // Somebody was quicker; look again before anything is concluded.
            Err(kube::Error::Api(e)) if e.is_conflict() || e.is_already_exists() => {
                if decision == Decision::Renew { Err(kube::Error::Api(e)) } else { Ok(false) }
            }
            Err(error) => Err(error),
        }
    }

    /// Notes when the Lease was seen to change.
    fn see(&mut self, lease: Option<&Lease>, now: Instant) {
        let Some(lease) = lease else {
            self.record = None;
            return;
        };
        let version = lease.metadata.resource_version.clone();
        if self.record.as_ref().is_none_or(|r| r.version != version) {
            let holder = lease.spec.as_ref().and_then(|s| s.holder_identity.clone());
            self.record = Some(Record { holder, version, seen: now });
        }
    }

    fn spec(&self, old: Option<&LeaseSpec>, acquires: bool) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = old.and_then(|s| s.lease_transitions).unwrap_or(0);
        let acquired = old.and_then(|s| s.acquire_time.clone()).filter(|_| !acquires);
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(acquires && old.is_some())),
            ..LeaseSpec::default()
        }
    }

    /// So that the next one need not wait.
    async fn release(&mut self) {
        self.fence.close();
        let give_up = async {
            let Some(mut lease) = self.api.get_opt(LEASE).await? else {
                return Ok(());
            };
            let ours =
                lease.spec.as_ref().and_then(|s| s.holder_identity.as_ref()) == Some(&self.me);
            if let Some(spec) = lease.spec.as_mut().filter(|_| ours) {
                spec.holder_identity = Some(String::new());
                self.api.replace(LEASE, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Ok(Err(error)) = timeout(Duration::from_secs(2), give_up).await {
            tracing::warn!(error = %Chain(&error), "cannot give the lease up: the next leader waits for its end");
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
    fn the_table_of_decisions() {
        let now = Instant::now() + Duration::from_secs(100);
        let record = |holder: &str, age| {
            let holder = (!holder.is_empty()).then(|| holder.to_owned());
            Record { holder, version: Some("1".into()), seen: now - Duration::from_secs(age) }
        };
        for (record, expected) in [
            (None, Decision::Create),
            (Some(record("", 0)), Decision::Acquire),
            (Some(record("me", 0)), Decision::Renew),
            (Some(record("me", 99)), Decision::Renew),
            (Some(record("you", 0)), Decision::Wait),
            (Some(record("you", 14)), Decision::Wait),
            (Some(record("you", 15)), Decision::Acquire),
        ] {
            assert_eq!(decide(record.as_ref(), "me", now), expected, "{record:?}");
        }
        let emptied = Record { holder: Some(String::new()), version: None, seen: now };
        assert_eq!(decide(Some(&emptied), "me", now), Decision::Acquire, "given up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fence_closes_by_itself_before_another_may_lead() {
        let fence = Fence::closed();
        assert_eq!(fence.check(), Err(Fenced));
        fence.open_until(Instant::now() + DEADLINE);
        assert_eq!(fence.check(), Ok(()));
        sleep(DEADLINE).await;
        assert_eq!(fence.check(), Err(Fenced));
        const { assert!(DEADLINE.as_secs() < DURATION.as_secs()) };
        assert_eq!(Fence::open().check(), Ok(()));
    }
}
