//! A real API server with its etcd: [`ApiServer`], which is also a [`Cluster`], a way in.
//!
//! There is no controller-manager and no node. So nothing is garbage-collected, Deployments get neither pods nor a status, a
//! deleted namespace stays `Terminating`, and a new one has no ServiceAccount `default`: suites look at `ownerReferences`
//! and write statuses themselves.

mod audit;
mod cluster;
mod plan;
mod program;
mod shared;

pub use audit::AuditEvent;
pub use cluster::{Cluster, temp_namespace};
pub use program::program;

use std::{ops::Deref, time::Duration};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use self::plan::Plan;
use crate::{
    eventually,
    process::{self, Process, tail},
};

/// Time until a started server answers.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// An etcd and a kube-apiserver on loopback. Their ports and data stay over a kill. Dropping it kills both.
#[derive(Debug)]
pub struct ApiServer {
    apiserver: Option<Process>,
    etcd: Option<Process>,
    plan: Plan,
    cluster: Cluster, // last: it holds the folder
}

/// A server is a cluster that can be hurt.
impl Deref for ApiServer {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl ApiServer {
    /// A server of this test alone.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn start() -> Result<Self> {
        let folder = process::folder("eventcast-apiserver-")?;
        let plan = Plan::prepare(folder.path())?;
        let cluster = Cluster::new(plan.kubeconfig()?, folder)?;
        let mut server = Self { apiserver: None, etcd: None, plan, cluster };
        server.restart().await?;
        Ok(server)
    }

    /// The cluster of all tests that do not hurt it: the one that `KUBECONFIG` names, where that is set, else a server that is
    /// started once in a run. Tests share it, so each has its own [`temp_namespace`].
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn shared() -> Result<Cluster> {
        shared::get().await
    }

    /// `kill -9` of both. The ports and the data are kept.
    ///
    /// # Errors
    /// When one cannot be killed.
    pub fn kill9(&mut self) -> Result<()> {
        for mut process in [self.apiserver.take(), self.etcd.take()].into_iter().flatten() {
            process.kill9()?;
        }
        Ok(())
    }

    /// Starts both again, after `kill -9` where they still run, and waits until the API server is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill9()?;
        let folder = self.cluster.folder();
        self.etcd = Some(Process::spawn("etcd", &program("etcd"), &self.plan.etcd, folder)?);
        let apiserver =
            Process::spawn("apiserver", &program("kube-apiserver"), &self.plan.apiserver, folder)?;
        let log = || format!("the log of the API server ends:\n{}", tail(&apiserver.stderr(), 20));
        self.cluster.ready(START_TIMEOUT).await.with_context(log)?;
        self.apiserver = Some(apiserver);
        Ok(())
    }

    /// Pauses the API server (`SIGSTOP`): connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> Result<()> {
        self.apiserver.as_ref().context("the API server does not run")?.pause()
    }

    /// Ends [`pause`](Self::pause).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Every request that was answered, oldest first. A watch is here when it has ended. An answer may be with its reader a
    /// moment before it is here: ask again ([`audited`](Self::audited)).
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn audit(&self) -> Result<Vec<AuditEvent>> {
        audit::read(&self.plan.audit)
    }

    /// Waits for an answered request.
    ///
    /// # Errors
    /// When there is none `within`.
    pub async fn audited(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&AuditEvent) -> bool,
    ) -> Result<AuditEvent> {
        eventually(&format!("audited: {what}"), within, || async {
            self.audit()?.into_iter().find(|event| wanted(event)).context("no such request")
        })
        .await
    }

    /// Names and ids of its running processes.
    pub fn pids(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let all = [("kube-apiserver", &self.apiserver), ("etcd", &self.etcd)];
        all.into_iter().filter_map(|(name, process)| Some((name, process.as_ref()?.pid())))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.apiserver.as_ref().context("the API server does not run")?.signal(signal)
    }
}
