//! One cluster for all tests of a process.

use std::env;

use anyhow::{Context as _, Result, anyhow};
use kube::config::Kubeconfig;
use tokio::sync::OnceCell;

use super::{ApiServer, Cluster, START, janitor::Janitor};
use crate::process;

#[derive(Debug)]
enum Shared {
    Own(Box<ApiServer>),
    Given(Box<Cluster>),
}

impl Shared {
    async fn start() -> Result<Self> {
        if env::var_os("KUBECONFIG").is_none_or(|paths| paths.is_empty()) {
            return Ok(Self::Own(Box::new(ApiServer::start().await?)));
        }
        let admin = Kubeconfig::read().context("failed to read what KUBECONFIG names")?;
        let cluster = Cluster::new(admin, process::folder("eventcast-cluster-")?)?;
        cluster.ready(START).await.context("the cluster that KUBECONFIG names")?;
        Ok(Self::Given(Box::new(cluster)))
    }

    fn cluster(&self) -> &Cluster {
        match self {
            Self::Own(server) => server,
            Self::Given(cluster) => cluster,
        }
    }
}

pub(super) async fn get() -> Result<&'static Cluster> {
    // what is static is never dropped: the children die by their signal, the folder needs somebody
    static SHARED: OnceCell<Result<(Shared, Option<Janitor>)>> = OnceCell::const_new();
    let start = || async {
        let shared = Shared::start().await?;
        let keep = env::var_os("EVENTCAST_TEST_KEEP").is_some();
        let janitor = if keep { None } else { Some(Janitor::hire(shared.cluster().folder())?) };
        Ok((shared, janitor))
    };
    // a failure is kept too: not every test shall wait for it again
    match SHARED.get_or_init(start).await {
        Ok((shared, _)) => Ok(shared.cluster()),
        Err(error) => Err(anyhow!("no cluster to share: {error:#}")),
    }
}
