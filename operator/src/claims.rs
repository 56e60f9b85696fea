//! The claims of this operator, and what it knows of other operators: their Leases, which say whether they still run.

use std::{collections::HashMap, time::Duration};

use eventcast_crds::channel::status::OperatorStatus;
use eventcast_runtime::Chain;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, core::ObjectMeta};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    claim::{self, LeaseState, OtherOperator},
    names::LEASE,
};

/// A Lease is read again after this time.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// Claims channels, and finds those of other operators.
pub struct Claims {
    client: Client,
    own: String,
    resync: Option<Duration>,
    /// The Leases of other operators by the names of these, and when they were read.
    leases: Mutex<HashMap<String, (LeaseState, Instant)>>,
}

impl Claims {
    /// `own` is the name of this operator. `resync`: it has no Lease, and reconciles each channel at least so often.
    #[must_use]
    pub fn new(client: Client, own: String, resync: Option<Duration>) -> Self {
        Self { client, own, resync, leases: Mutex::default() }
    }

    /// The claim of this operator on an object that has the claim `old`.
    #[must_use]
    pub fn claim(&self, old: Option<&OperatorStatus>) -> OperatorStatus {
        claim::claim(old, &self.own, self.resync, Timestamp::now())
    }

    /// The other operator that reconciles the object, as far as is known. One whose Lease was not read yet runs.
    #[must_use]
    pub fn other(
        &self,
        object: &ObjectMeta,
        claim: Option<&OperatorStatus>,
    ) -> Option<OtherOperator> {
        claim::other_operator(object, claim, &self.own, Timestamp::now(), |name| {
            self.leases.lock().get(name).map_or(LeaseState::Unknown, |(state, _)| *state)
        })
    }

    /// As [`other`](Self::other), after reading the Lease on which the claim depends, if it was not read lately.
    pub async fn read_other(
        &self,
        object: &ObjectMeta,
        claim: Option<&OperatorStatus>,
    ) -> Option<OtherOperator> {
        if let Some(claim) = claim.filter(|claim| claim.name != self.own && claim.until.is_none()) {
            self.refresh(&claim.name).await;
        }
        self.other(object, claim)
    }

    async fn refresh(&self, name: &str) {
        let is_recent = |(_, at): &(LeaseState, Instant)| at.elapsed() < REFRESH_INTERVAL;
        if self.leases.lock().get(name).is_some_and(is_recent) {
            return;
        }
        let state = match Api::<Lease>::namespaced(self.client.clone(), name).get_opt(LEASE).await {
            Ok(Some(lease)) => {
                let renewed = lease.spec.and_then(|spec| spec.renew_time);
                renewed.map_or(LeaseState::Missing, |time| LeaseState::Renewed(time.0))
            }
            Ok(None) => LeaseState::Missing,
            Err(error) => {
                tracing::warn!(operator = name, error = %Chain(&error), "cannot read the Lease of another operator: its channels are left alone");
                LeaseState::Unknown
            }
        };
        self.leases.lock().insert(name.to_owned(), (state, Instant::now()));
    }
}
