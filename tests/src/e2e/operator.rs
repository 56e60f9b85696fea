//! The replicas of the operator.

use anyhow::{Context as _, Result, ensure};

use super::{Cluster, SYSTEM, WAIT_TIMEOUT};
use crate::eventually;

impl Cluster {
    /// The pod that leads the operators.
    ///
    /// # Errors
    /// When none does.
    pub async fn leader(&self) -> Result<String> {
        let lease = self.get(SYSTEM, "lease/eventcast-operator").await?;
        let holder = lease["spec"]["holderIdentity"].as_str().context("nobody holds the lease")?;
        Ok(holder.to_owned())
    }

    /// Waits until another pod than this one leads.
    ///
    /// # Errors
    /// When none does in time.
    pub async fn another_leader(&self, than: &str) -> Result<()> {
        eventually("another operator leads", WAIT_TIMEOUT, || async {
            let leader = self.leader().await?;
            ensure!(leader != than && !leader.is_empty(), "it is {leader:?} still");
            anyhow::Ok(())
        })
        .await
    }

    /// Waits until all replicas of the operator are ready.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn operators_are_ready(&self) -> Result<()> {
        let deployment = ["rollout", "status", "deployment/eventcast-operator", "--timeout=120s"];
        self.kubectl(&[&["-n", SYSTEM], &deployment[..]].concat()).await?;
        Ok(())
    }
}
